//! Handler arguments read from the request, each with the documented error when it is wrong.

mod body;
mod form;
mod images;
mod json;
mod parameters;

pub use body::InferBody;
pub use form::Form;
pub use images::Images;
pub use json::Json;
pub use parameters::{Id, KeyId, ModelVersion, Name, PageParameters, Parameters, RoleName, page};
