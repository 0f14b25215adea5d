//! What every request passes on its way in, and every answer on its way out.
//!
//! From the outside in: [`context`] (request id, client address, access log), [`headers`], [`errors`], [`transport`]
//! (HTTPS, host names), CORS, [`guard`] (actix-governor). actix-web runs the middleware that is wrapped last first.

mod context;
mod cors;
mod detection;
mod errors;
mod guard;
mod headers;
mod request_ids;
mod transport;

pub use context::{Endpoint, REQUEST_ID, RequestContext, accompany};
pub use cors::cors;
pub use detection::{count, report};
pub use errors::{Problem, is_v2, log_error, write_errors};
pub use guard::{FORGET_INTERVAL, Guard};
pub use headers::secure;
pub use transport::{protect, refuse};
