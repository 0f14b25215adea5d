//! The body of a signed request: what passes is digested on its way, and at its end it is what was signed or an
//! error. Nothing is copied; whoever reads to the end reads what was signed.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::HttpMessage;
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::error::PayloadError;
use actix_web::web::Bytes;
use auth::BodyDigest;
use futures_util::{Stream, StreamExt};

use crate::error::{ApiError, Code};

/// Has the handler read the body through its digest.
pub fn hold(request: &mut ServiceRequest, expected: [u8; 32]) {
    let inner = request.take_payload();
    let held = HeldBody { inner, digest: Some(BodyDigest::new()), expected };
    request.set_payload(Payload::Stream { payload: Box::pin(held) });
}

struct HeldBody {
    inner: Payload,
    /// None: the end was reached.
    digest: Option<BodyDigest>,
    expected: [u8; 32],
}

/// The body is not what was signed.
#[derive(Debug, thiserror::Error)]
#[error("the body is not what was signed")]
struct Changed;

impl Stream for HeldBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(next) = std::task::ready!(self.inner.poll_next_unpin(context)) else {
            let expected = self.expected;
            let right = self.digest.take().is_none_or(|digest| digest.is(&expected));
            return Poll::Ready((!right).then(|| Err(PayloadError::Io(std::io::Error::other(Changed)))));
        };
        if let (Ok(chunk), Some(digest)) = (&next, &mut self.digest) {
            digest.update(chunk);
        }
        Poll::Ready(Some(next))
    }
}

/// Why a body could not be read to its end.
pub fn broken(error: &PayloadError) -> ApiError {
    let changed = matches!(error, PayloadError::Io(cause) if cause.get_ref().is_some_and(|cause| cause.is::<Changed>()));
    if changed {
        return auth::Error::InvalidCredential("the body is not what was signed").into();
    }
    ApiError::new(Code::MalformedRequest, "The body broke off.")
}
