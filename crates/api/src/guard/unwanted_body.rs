//! Bodies of requests to routes that take none.

use actix_web::HttpMessage;
use actix_web::dev::{Payload, ServiceRequest};
use futures_util::StreamExt;

use super::signed_body::broken;
use crate::app::App;
use crate::error::{ApiError, Code, Result};

/// Most bytes of a body that says nothing.
const NOTHING: usize = 64;

/// Refuses a body where the route takes none: what it asks for must not be passed over. An empty object, which some
/// clients send with every request, asks for nothing.
pub async fn refuse(request: &mut ServiceRequest) -> Result<()> {
    let mut payload = request.take_payload();
    if matches!(payload, Payload::None) {
        return Ok(());
    }
    let time = App::of(request.request())?.settings.sizes.body_timeout();
    let says_nothing = tokio::time::timeout(time, says_nothing(&mut payload));
    if says_nothing.await.unwrap_or_else(|_| Err(ApiError::slow_body()))? {
        return Ok(());
    }
    let detail = "This route takes no body; what it is to do goes into its path and query.";
    Err(ApiError::new(Code::MalformedRequest, detail))
}

async fn says_nothing(payload: &mut Payload) -> Result<bool> {
    let mut text = Vec::new();
    while let Some(chunk) = payload.next().await {
        text.extend_from_slice(&chunk.map_err(|error| broken(&error))?);
        if text.len() > NOTHING {
            return Ok(false);
        }
    }
    text.retain(|byte| !byte.is_ascii_whitespace());
    Ok(matches!(text.as_slice(), b"" | b"{}" | b"null"))
}
