//! Stored files on their way in and out: received in pieces, looked at whole, each on threads that may wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::web::{self, Bytes};
use auth::Principal;
use futures_util::StreamExt;
use storage::StoredFile;
use uuid::Uuid;

use crate::app::App;
use crate::error::{ApiError, Code, Result};
use crate::extract::{FileBody, Picture, PredictBody};
use crate::guard::permission::FilesWrite;
use crate::guard::{Caller, broken};

/// How long a look at a picture may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// Receives a file: into quarantine as it comes, sealed; looked at; stored.
pub async fn receive(
    app: &App,
    caller: &Caller<FilesWrite>,
    body: FileBody,
    name: String,
) -> Result<StoredFile> {
    let limit = app.settings.sizes.upload_bytes();
    let time = Duration::from_secs(app.settings.sizes.body_timeout_seconds);
    let upload = app.auth.begin_upload(&caller.principal).await?;
    let received = tokio::time::timeout(time, save(upload, body, limit)).await;
    let received = received
        .map_err(|_| ApiError::new(Code::MalformedRequest, "The body took too long to arrive."))??;
    let registry = app.registry.clone();
    let look = move || -> Result<_> {
        let media_type = registry.picture_type(&received.bytes()?)?;
        Ok((received, media_type))
    };
    let room = app.bodies.expect(limit)?;
    let (received, media_type) = app.bodies.work(limit, Instant::now() + PATIENCE, look).await??;
    let stored = app.auth.store_file(&caller.principal, received, name, media_type, &caller.origin).await?;
    drop(room);
    Ok(stored)
}

async fn save(mut upload: auth::Upload, mut body: FileBody, limit: usize) -> Result<auth::Received> {
    let mut size = 0;
    while let Some(chunk) = body.payload.next().await {
        let chunk = chunk.map_err(|error| broken(&error))?;
        size += chunk.len();
        if size > limit {
            return Err(ApiError::new(
                Code::TooLarge,
                format!("File too large: the limit is {limit} bytes."),
            ));
        }
        upload = blocking(move || upload.push(&chunk).map(|()| upload)).await?;
    }
    blocking(move || upload.finish()).await
}

/// One of the caller's files, with its bytes.
pub async fn read(app: &App, principal: &Principal, id: Uuid) -> Result<(StoredFile, Bytes)> {
    let file = app.auth.stored_file(principal, id).await?;
    let mut arriving = app.bodies.expect(usize::try_from(file.size).unwrap_or(usize::MAX))?;
    let (auth, sealed) = (Arc::clone(&app.auth), app.auth.sealed_file(&file).await?);
    let (file, bytes) = blocking(move || auth.open_file(&file, &sealed).map(|bytes| (file, bytes))).await?;
    arriving.push(&bytes)?;
    Ok((file, arriving.whole()))
}

/// What to predict from: a stored file becomes the picture that it is.
pub async fn resolve(
    app: &App,
    principal: &Principal,
    body: PredictBody,
    file: Option<&str>,
) -> Result<PredictBody> {
    if !matches!(body, PredictBody::Stored) {
        return Ok(body);
    }
    let id = file.and_then(|id| Uuid::parse_str(id).ok()).ok_or(auth::Error::NotFound)?;
    let (file, bytes) = read(app, principal, id).await?;
    Ok(PredictBody::Images(vec![Picture { filename: Some(file.name), bytes }]))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> auth::Result<T> + Send + 'static) -> Result<T> {
    Ok(web::block(work).await.map_err(ApiError::internal)??)
}
