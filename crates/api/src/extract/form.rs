//! A form as the OAuth specifications want it, or the same as JSON.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use serde::de::DeserializeOwned;
use validator::Validate;

use super::{body, json, urlencoded};
use crate::error::{ApiError, Code, Result};

/// A checked form.
pub struct Form<T>(pub T);

impl<T: DeserializeOwned + Validate + 'static> FromRequest for Form<T> {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let kind = request.content_type().to_ascii_lowercase();
        let whole = body::whole(request, payload, |sizes| sizes.max_json_length);
        Box::pin(async move {
            let bytes = whole.await?;
            match kind.as_str() {
                "application/x-www-form-urlencoded" => parse(&bytes).map(Self),
                "application/json" => json::parse(&bytes).map(Self),
                _ => Err(ApiError::new(
                    Code::UnsupportedMediaType,
                    "Send a form, with Content-Type: application/x-www-form-urlencoded, or JSON.",
                )),
            }
        })
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| ApiError::new(Code::MalformedRequest, "The form is not UTF-8."))?;
    urlencoded::read(text)
}
