//! Security headers, on every answer: errors and preflights too. And nothing but headers where only they are asked for.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, EitherBody, MessageBody};
use actix_web::dev::ServiceResponse;
use actix_web::http::Method;
use actix_web::http::header::{CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue};
use actix_web::web::Bytes;

/// Nothing of the API is a page: nothing may be loaded, framed or sniffed.
static ALWAYS: [(HeaderName, HeaderValue); 10] = [
    header("x-content-type-options", "nosniff"),
    header("x-frame-options", "DENY"),
    header("x-xss-protection", "1; mode=block"),
    header("referrer-policy", "strict-origin-when-cross-origin"),
    header("permissions-policy", "geolocation=(), microphone=(), camera=()"),
    header("cross-origin-resource-policy", "same-origin"),
    header("cross-origin-opener-policy", "same-origin"),
    header("x-permitted-cross-domain-policies", "none"),
    header("strict-transport-security", "max-age=31536000; includeSubDomains"),
    header("cache-control", "no-store"),
];
const API_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
);
/// Swagger UI is a page with scripts and styles of its own.
const DOCS_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'self'; form-action 'self'",
);

/// The body of an answer to HEAD: as long as the one to GET, and never sent. The framework would go on making the
/// real one, which for a stream takes as long as the stream lasts, and nothing that is sent would tell that nobody
/// listens.
pub struct HeadBody(BodySize);

impl HeadBody {
    /// Of a stream not even the end is sent.
    fn instead_of(body: &impl MessageBody) -> Self {
        Self(match body.size() {
            BodySize::Stream => BodySize::None,
            size => size,
        })
    }
}

impl MessageBody for HeadBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        self.0
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(None)
    }
}

/// Adds the headers; what a handler set itself, such as `Cache-Control` on public keys, stays.
pub fn secure<B: MessageBody>(mut response: ServiceResponse<B>) -> ServiceResponse<EitherBody<B, HeadBody>> {
    let is_head = response.request().method() == Method::HEAD;
    let policy = if response.request().path().starts_with("/docs") { DOCS_POLICY } else { API_POLICY };
    let headers = response.headers_mut();
    for (name, value) in &ALWAYS {
        put(headers, name, value);
    }
    put(headers, &CONTENT_SECURITY_POLICY, &policy);
    response.map_body(|_, body| match is_head {
        true => EitherBody::right(HeadBody::instead_of(&body)),
        false => EitherBody::left(body),
    })
}

/// Made when the program is built: they are put into every answer.
const fn header(name: &'static str, value: &'static str) -> (HeaderName, HeaderValue) {
    (HeaderName::from_static(name), HeaderValue::from_static(value))
}

fn put(headers: &mut HeaderMap, name: &HeaderName, value: &HeaderValue) {
    if !headers.contains_key(name) {
        headers.insert(name.clone(), value.clone());
    }
}
