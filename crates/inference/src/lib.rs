//! What the model says: ONNX models from a repository on disk, pictures and tensors in, answers out.
//!
//! [`Registry::open`] loads every model it finds and never fails: a model that cannot be served stays listed with the
//! reason. [`Registry::prepare`] and [`Registry::publish`] change what is served while it is. [`Registry::find`]
//! gives a [`Model`]; [`Model::infer`] takes tensors, [`Model::predict`] pictures, rows of named columns or texts.
//! Pictures are decoded and models run on threads of this crate's own, behind bounded queues, so that a web worker
//! never blocks; the futures need no particular runtime.
//!
//! This crate knows no users and no HTTP. Only the folder `onnx` names ONNX Runtime.

mod desired_state;
mod engine;
mod entry;
mod error;
mod examination;
mod image;
mod incoming;
mod inspection;
mod integrity;
mod loading;
mod manifest;
mod memory;
mod model;
mod named;
mod onnx;
mod operators;
mod predict;
mod provider;
mod registry;
mod repository;
mod scheduling;
mod settings;
mod signature;
mod sources;
mod statistics;
mod tensor;
mod trial;
mod warm_up;
mod watch;

pub use desired_state::{DesiredState, Revision};
pub use error::{Error, Problem};
pub use examination::Examination;
pub use incoming::{Admitted, Incoming, IncomingError, Origin, is_file_name};
pub use inspection::Inspection;
pub use integrity::{Digests, Violation, is_sha256};
pub use manifest::{
    Access, Activation, Batching, Cache, Classification, Color, Column, ColumnKind, Encoding, Filter,
    ImageInput, Layout, Manifest, Price, Regression, Resize, Runtime, Serve, Source, SourceFile, SourceFiles,
    TableInput, TextInput, WarmUp, WarmUpInput,
};
pub use memory::give_back as give_memory_back;
pub use model::{InferRequest, InferResponse, Model};
pub use onnx::note_ends;
pub use operators::OperatorLibrary;
pub use predict::{
    Cell, InputKind, Outcome, PredictInput, PredictResponse, Prediction, RowReader, Rows, Table, TextBatch,
    Texts, Values,
};
pub use provider::{Execution, Provider};
pub use registry::{KnownFiles, ModelStatus, Prepared, Registry, State};
pub use repository::{MODEL_FILE, is_name};
pub use scheduling::{Decoder, Ticket, Timing};
pub use settings::Settings;
pub use signature::SigningKey;
pub use sources::SourcedVersion;
pub use statistics::{BatchStatistics, Measure, Statistics};
pub use tensor::{DataType, NamedTensor, Tensor, TensorData, TensorSpec, element_count};
pub use trial::{REFUSED, TrialSettings, try_model};
