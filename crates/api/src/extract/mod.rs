//! Handler arguments read from the request, each with the documented error when it is wrong.

mod body;
mod file;
mod form;
mod images;
mod json;
mod model_body;
mod moment;
mod number;
mod parameters;
mod rows;
mod urlencoded;

pub use body::InferBody;
pub use file::FileBody;
pub use form::Form;
pub use images::{Picture, PredictBody, require_type};
pub use json::{Json, TOO_LARGE, unreadable};
pub use model_body::ModelBody;
pub use moment::Moment;
pub use number::{PageLimit, WholeNumber};
pub use parameters::{
    EntryId, Id, IdentityId, KeyId, ModelVersion, Name, PageParameters, Parameters, RoleName, named, page,
};
pub use rows::{read_rows, read_texts};
