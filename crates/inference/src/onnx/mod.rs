//! ONNX Runtime: the only folder that names it.

mod arena;
mod cleared;
mod division;
mod ending;
mod initializers;
mod library;
mod maps;
mod outputs;
mod providers;
mod ranks;
mod refusal;
mod session;
mod status;
mod texts;
mod values;
mod weights;

pub use ending::note_ends;
pub(crate) use library::Library;
pub(crate) use outputs::KEYS;
pub(crate) use session::Options;
