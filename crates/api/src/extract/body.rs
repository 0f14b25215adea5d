//! Reading a body: bounded in size and time.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderValue};
use actix_web::web::Bytes;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use futures_util::StreamExt;

use crate::app::App;
use crate::error::{ApiError, Result};
use crate::guard;
use crate::request_context::RequestContext;
use crate::settings::SizeSettings;
use crate::transport::IncomingBody;
use crate::transport::bodies::SMALL;
use crate::transport::encodings::{self, Encoding, too_large};

/// The whole body, of at most `limit` bytes, arriving within `time`.
pub async fn read(
    request: &HttpRequest,
    payload: &mut Payload,
    limit: usize,
    time: Duration,
) -> Result<Bytes> {
    require_plain(request.headers())?;
    as_sent(request, payload, limit, time).await
}

/// Refuses a body that is encoded. Names of encodings are the same in either case (RFC 9110, section 8.4.1).
pub(super) fn require_plain(headers: &HeaderMap) -> Result<()> {
    let is_plain = |encoding: &HeaderValue| encoding.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).all(is_plain) {
        Ok(())
    } else {
        Err(encodings::unsupported("identity"))
    }
}

async fn as_sent(
    request: &HttpRequest,
    payload: &mut Payload,
    limit: usize,
    time: Duration,
) -> Result<Bytes> {
    let announced =
        request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > limit) {
        return Err(too_large(limit));
    }
    let app = App::of(request)?;
    if announced.is_none_or(|length| length > SMALL) {
        require_model(&app, request)?;
    }
    let body = app.bodies.expect(guard::account(request), announced.unwrap_or(0))?;
    tokio::time::timeout(time, collect(payload, limit, body))
        .await
        .unwrap_or_else(|_| Err(ApiError::slow_body()))
}

/// Nobody sends a large body for a model that they may not use. It is looked up again once the body is there.
pub(super) fn require_model(app: &App, request: &HttpRequest) -> Result<()> {
    let name = request.match_info().get("name");
    match name.zip(guard::infers(request)) {
        Some((name, principal)) => app.require_model(&principal, name),
        None => Ok(()),
    }
}

async fn collect(payload: &mut Payload, limit: usize, mut body: IncomingBody) -> Result<Bytes> {
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| guard::broken(&error))?;
        if body.len() + chunk.len() > limit {
            return Err(too_large(limit));
        }
        body.push(&chunk)?;
    }
    Ok(body.whole())
}

/// The body of an inference, of at most `MAX_INFER_BODY_MB`, also once it is unpacked; or of another request of `/v2`,
/// of at most `MOST` bytes.
pub struct InferBody<const MOST: usize = { usize::MAX }>(pub Bytes);

impl<const MOST: usize> FromRequest for InferBody<MOST> {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, mut payload) = (request.clone(), payload.take());
        Box::pin(async move { unpacked(&request, &mut payload, MOST).await.map(Self) })
    }
}

/// A small body may become a large one: it is never unpacked by a web worker.
async fn unpacked(request: &HttpRequest, payload: &mut Payload, most: usize) -> Result<Bytes> {
    let encoding = Encoding::of_request(request.headers())?;
    let app = App::of(request)?;
    let limit = app.settings.sizes.infer_bytes().min(most);
    let body = as_sent(request, payload, limit, app.settings.sizes.body_timeout()).await?;
    let Some(encoding) = encoding else { return Ok(body) };
    let deadline = app.deadline(RequestContext::arrival(&request.extensions()));
    let room = app.bodies.expect_beside(guard::account(request), 0, body.len())?;
    app.bodies.work(usize::MAX, deadline, move || encoding.decode(&body, room, limit)).await?
}

/// The whole body, within a limit of the settings.
pub(super) fn whole(
    request: &HttpRequest,
    payload: &mut Payload,
    limit: fn(&SizeSettings) -> usize,
) -> impl Future<Output = Result<Bytes>> + use<> {
    let (request, mut payload) = (request.clone(), payload.take());
    async move {
        let app = App::of(&request)?;
        let limit = limit(&app.settings.sizes);
        read(&request, &mut payload, limit, app.settings.sizes.body_timeout()).await
    }
}
