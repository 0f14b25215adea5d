//! ONNX Runtime: the only folder that names it.

mod arena;
mod division;
mod initializers;
mod library;
mod outputs;
mod providers;
mod ranks;
mod session;
mod values;
mod weights;

pub(crate) use library::Library;
pub(crate) use session::Options;
