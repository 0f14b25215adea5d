//! Hidden clients, plain HTTP and foreign host names are refused before anything is read.

use actix_web::ResponseError;
use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::HOST;
use actix_web::middleware::Next;
use actix_web::web;

use super::RequestContext;
use crate::app::App;
use crate::error::{ApiError, Code};
use crate::health;

/// Lets through what came over loopback, over a trusted proxy that says https, or to a health probe.
///
/// It is never redirected: a client that sent its credential in the clear must notice (ASVS 4.1.2).
pub async fn protect<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, BoxBody>>, actix_web::Error> {
    match refusal(&request) {
        Some(error) => Ok(request.into_response(error.error_response()).map_into_right_body()),
        None => Ok(next.call(request).await?.map_into_left_body()),
    }
}

fn refusal(request: &ServiceRequest) -> Option<ApiError> {
    let context = RequestContext::of(request);
    if context.hidden {
        return Some(ApiError::new(
            Code::MalformedRequest,
            "X-Forwarded-For does not tell the client's address; proxies must append it.",
        ));
    }
    let is_probe = health::PATHS.contains(&request.path());
    if !is_probe && !context.protected {
        return Some(ApiError::new(Code::HttpsRequired, "Use HTTPS; nothing is served in the clear."));
    }
    let app = request.app_data::<web::Data<App>>()?;
    let allowed = &app.settings.program.allowed_hosts;
    if is_probe || allowed.is_empty() || allowed.iter().any(|host| names(request, host)) {
        return None;
    }
    Some(ApiError::new(Code::UnknownHost, "The Host header names a host that is not served here."))
}

fn names(request: &ServiceRequest, allowed: &str) -> bool {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host = if host.starts_with('[') { host.split_inclusive(']').next() } else { host.split(':').next() };
    host.is_some_and(|host| host.eq_ignore_ascii_case(allowed.trim()))
}
