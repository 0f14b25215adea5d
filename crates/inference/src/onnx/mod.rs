//! ONNX Runtime: the only folder that names it.

mod library;
mod session;
mod values;

pub(crate) use library::Library;
