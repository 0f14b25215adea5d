//! What every request passes on its way in, and every answer on its way out.
//!
//! From the outside in: [`surround`], which is [`context`] (request id, client address, access log), [`headers`],
//! [`errors`] and [`ingress`] (HTTPS, host names); then CORS and [`address_limit`] (actix-governor).

mod address_limit;
mod context;
mod cors;
mod errors;
mod headers;
mod ingress;

use actix_web::ResponseError;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;

pub use address_limit::{AddressLimit, FORGET_INTERVAL};
pub use context::Endpoint;
pub use cors::cors;
pub use errors::{Problem, is_v2, log_error};
pub use ingress::refuse;

/// What surrounds everything else. One function, because the framework boxes a future of each middleware for each
/// request.
pub async fn surround<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let context = context::begin(&request);
    let response = match ingress::refusal(&request, &context) {
        Some(error) => request.into_response(error.error_response()).map_into_right_body(),
        None => next.call(request).await?.map_into_left_body(),
    };
    let mut response = headers::secure(errors::write(response, &context));
    context::end(&mut response, &context);
    Ok(response)
}
