//! The body of a file to be stored, not read yet.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use actix_web::{FromRequest, HttpMessage, HttpRequest};

use crate::app::App;
use crate::encodings::{self, too_large};
use crate::error::{ApiError, Code, Result};

/// A body that is not read yet, and not announced as too large.
pub struct FileBody {
    /// Its bytes.
    pub payload: Payload,
}

impl FromRequest for FileBody {
    type Error = ApiError;
    type Future = Ready<Result<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        ready(check(request).map(|()| Self { payload: payload.take() }))
    }
}

fn check(request: &HttpRequest) -> Result<()> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    if header(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(encodings::unsupported("identity"));
    }
    let kind = request.content_type().to_ascii_lowercase();
    if !kind.starts_with("image/") && kind != "application/octet-stream" {
        let detail =
            "Send the picture as the body, with an image/… Content-Type or application/octet-stream.";
        return Err(ApiError::new(Code::UnsupportedMediaType, detail));
    }
    let limit = App::of(request)?.settings.sizes.upload_bytes();
    let announced = header(CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|announced| announced > limit) { Err(too_large(limit)) } else { Ok(()) }
}
