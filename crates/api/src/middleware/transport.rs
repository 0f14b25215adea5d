//! Hidden clients, plain HTTP, foreign host names and addresses that rules shut out are refused before anything is read.

use actix_web::ResponseError;
use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web;
use storage::IpPlace;

use super::RequestContext;
use crate::app::App;
use crate::error::{ApiError, Code};
use crate::header_lines::HeaderLines;
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
    let Some(app) = request.app_data::<web::Data<App>>() else {
        return Some(ApiError::internal("the app has no state"));
    };
    let is_probe = health::PATHS.contains(&request.path());
    refuse(app, &RequestContext::of(request), is_probe, request.headers().text("host"))
}

/// Why a request to this host is refused, if it is.
pub fn refuse(app: &App, context: &RequestContext, is_probe: bool, host: Option<&str>) -> Option<ApiError> {
    if context.hidden {
        return Some(ApiError::new(
            Code::MalformedRequest,
            "X-Forwarded-For does not tell the client's address; proxies must append it.",
        ));
    }
    if !is_probe && !context.protected {
        return Some(ApiError::new(Code::HttpsRequired, "Use HTTPS; nothing is served in the clear."));
    }
    if is_probe {
        return None;
    }
    if let Err(error) = app.auth.require_address(context.address, IpPlace::All) {
        return Some(error.into());
    }
    let allowed = &app.settings.program.allowed_hosts;
    if allowed.is_empty() || allowed.iter().any(|served| names(host, served)) {
        return None;
    }
    Some(ApiError::new(Code::UnknownHost, "The Host header names a host that is not served here."))
}

fn names(host: Option<&str>, allowed: &str) -> bool {
    let host = host.unwrap_or_default();
    let host = if host.starts_with('[') { host.split_inclusive(']').next() } else { host.split(':').next() };
    host.is_some_and(|host| host.eq_ignore_ascii_case(allowed.trim()))
}
