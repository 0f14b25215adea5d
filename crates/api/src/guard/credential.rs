//! Where a credential may stand: `Authorization: Bearer` or `X-API-Key`, once, and never in a URL.

use std::convert::Infallible;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};

use secrecy::SecretString;

use crate::error::{ApiError, Code, Result};
use crate::transport::HeaderLines;

/// The header of API keys.
pub const API_KEY: &str = "x-api-key";
/// The header of bearer tokens.
pub const AUTHORIZATION: &str = "authorization";

/// The one credential of a request.
pub fn read(headers: &impl HeaderLines) -> Result<&str> {
    let keys = headers.lines(API_KEY);
    let tokens = headers.lines(AUTHORIZATION);
    let mut all = keys.map(|value| (false, value)).chain(tokens.map(|value| (true, value)));
    let (is_bearer, value) = all.next().ok_or(auth::Error::MissingCredential)?;
    if all.next().is_some() {
        return Err(ApiError::new(
            Code::AmbiguousCredentials,
            "Send either one Authorization header or one X-API-Key header, not several.",
        ));
    }
    let unreadable = auth::Error::InvalidCredential("the credential has characters that none of ours has");
    let text = std::str::from_utf8(value).ok().filter(|text| text.is_ascii()).ok_or(unreadable)?;
    if is_bearer { bearer(text) } else { key(text.trim()) }
}

/// A token in this header would be missed by whatever hides `Authorization` in logs.
fn key(text: &str) -> Result<&str> {
    let wrong =
        auth::Error::InvalidCredential("X-API-Key takes an API key; send a token as Authorization: Bearer");
    if text.starts_with(auth::API_KEY_PREFIX) { Ok(text) } else { Err(wrong.into()) }
}

/// RFC 6750, section 2.1; the scheme's case does not matter (RFC 9110, section 11.1).
pub(crate) fn bearer(text: &str) -> Result<&str> {
    let (scheme, credential) = text.split_once(' ').unwrap_or((text, ""));
    let credential = credential.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || credential.is_empty() {
        return Err(
            auth::Error::InvalidCredential("write the header as: Authorization: Bearer <token>").into()
        );
    }
    Ok(credential)
}

/// The credential that a request to a public route carries though it need not; none also where it cannot be read.
pub struct OptionalToken(pub Option<SecretString>);

impl FromRequest for OptionalToken {
    type Error = Infallible;
    type Future = Ready<std::result::Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(read(request.headers()).ok().map(Into::into))))
    }
}
