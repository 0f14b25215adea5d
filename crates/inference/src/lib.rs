//! What the model says: ONNX models from a repository on disk, pictures and tensors in, answers out.
//!
//! [`Registry::open`] loads every model it finds and never fails: a model that cannot be served stays listed with the
//! reason. [`Registry::prepare`] and [`Registry::publish`] change what is served while it is. [`Registry::find`]
//! gives a [`Model`]; [`Model::infer`] takes tensors, [`Model::predict`] pictures, rows of named columns or texts.
//! Pictures are decoded and models run on threads of this crate's own, behind bounded queues, so that a web worker
//! never blocks; the futures need no particular runtime.
//!
//! This crate knows no users and no HTTP. Only the folder `onnx` names ONNX Runtime.

mod engine;
mod error;
mod image;
mod loading;
mod manifest;
mod memory;
mod model;
mod named;
mod onnx;
mod operators;
mod ownership;
mod predict;
mod printable;
mod provider;
mod ranking;
mod registry;
mod repository;
mod scheduling;
mod settings;
mod statistics;
mod tensor;

pub use error::{Error, Problem};
pub use loading::{Examination, Inspection, REFUSED, TrialSettings, try_model};
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
    AnyPlace, Cell, InputKind, MAX_EXACT, MAX_PROBLEMS, Outcome, PredictInput, PredictResponse, Prediction,
    RowReader, Rows, Table, TextBatch, Texts, Values, Workplace,
};
pub use printable::printable;
pub use provider::{Execution, Provider};
pub use ranking::highest;
pub use registry::{
    Admissible, Admitted, DesiredState, Incoming, IncomingError, ModelStatus, Origin, Prepared, Registry,
    Revision, SourcedVersion, State,
};
pub use repository::{
    Digests, KnownFiles, MODEL_FILE, SIGNATURE_FILE, SigningKey, Violation, is_file_name, is_name, is_sha256,
};
pub use scheduling::{Decoder, Ticket, Timing};
pub use settings::Settings;
pub use statistics::{BatchStatistics, Measure, Statistics};
pub use tensor::{DataType, NamedTensor, Raw, Tensor, TensorData, TensorSpec, element_count};
