//! Stored files on their way in and out: received in pieces, looked at whole, each on threads that may wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::web::{self, Bytes};
use auth::Principal;
use inference::{InputKind, Model, Ticket};
use serde::Deserialize;
use serde::de::IgnoredAny;
use storage::StoredFile;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::error::{ApiError, Code, Result};
use crate::extract::{FileBody, Picture, PredictBody, require_type, unreadable};
use crate::guard::Caller;
use crate::guard::permission::FilesWrite;
use crate::transport::encodings::too_large;

/// How long a look at a picture may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// Receives a file: into quarantine as it comes, sealed; looked at, whole; stored under what `name` makes of the name
/// that its form gives it.
pub async fn receive(
    app: &App,
    caller: &Caller<FilesWrite>,
    mut body: FileBody,
    name: impl FnOnce(Option<String>) -> String,
) -> Result<StoredFile> {
    let limit = app.settings.sizes.upload_bytes();
    let time = app.settings.sizes.body_timeout();
    let upload = app.auth.begin_upload(&caller.principal).await?;
    let received = tokio::time::timeout(time, save(upload, &mut body, limit)).await;
    let received = received.map_err(|_| ApiError::slow_body())??;
    let FileBody { declared, filename, .. } = body;
    let (registry, name) = (app.registry.clone(), name(filename));
    let look = move || -> Result<_> {
        let bytes = received.bytes()?;
        let media_type = registry.decoder().media_type(&bytes)?;
        require_type(&declared, media_type.trim_start_matches("image/"))?;
        Ok((received, Bytes::from(bytes), media_type))
    };
    let room = app.bodies.reserve(Some(caller.principal.account), limit)?;
    let deadline = Instant::now() + PATIENCE;
    let (received, bytes, media_type) = app.bodies.work(limit, deadline, look).await??;
    let ticket = Ticket { deadline, ..app.ticket(&caller.principal, Instant::now()) };
    app.registry.decoder().validate(bytes, ticket).await?;
    let (auth, principal, origin) =
        (Arc::clone(&app.auth), Arc::clone(&caller.principal), caller.origin.clone());
    // In a task of its own, so that a caller who goes away meanwhile leaves no bytes that nobody counts.
    let storing = actix_web::rt::spawn(async move {
        let stored = auth.store_file(&principal, received, name, media_type, &origin).await;
        drop(room);
        stored
    });
    Ok(storing.await.map_err(ApiError::internal)??)
}

async fn save(mut upload: auth::Upload, body: &mut FileBody, limit: usize) -> Result<auth::Received> {
    let mut size = 0;
    while let Some(chunk) = body.next().await? {
        size += chunk.len();
        if size > limit {
            return Err(too_large(limit));
        }
        upload = blocking(move || upload.push(&chunk).map(|()| upload)).await?;
    }
    blocking(move || upload.finish()).await
}

/// One of the caller's files, with its bytes.
pub async fn read(app: &App, principal: &Principal, id: Uuid) -> Result<(StoredFile, Bytes)> {
    bytes_of(app, principal, app.auth.stored_file(principal, id).await?, 0).await
}

/// `beside` is how many bytes the call has of other files.
async fn bytes_of(
    app: &App,
    principal: &Principal,
    file: StoredFile,
    beside: usize,
) -> Result<(StoredFile, Bytes)> {
    let size = usize::try_from(file.size).unwrap_or(usize::MAX);
    let mut arriving = app.bodies.expect_beside(Some(principal.account), size, beside)?;
    arriving.reserve(size)?;
    let (auth, sealed) = (Arc::clone(&app.auth), app.auth.sealed_file(&file).await?);
    let (file, bytes) = blocking(move || auth.open_file(&file, &sealed).map(|bytes| (file, bytes))).await?;
    arriving.push(&bytes)?;
    Ok((file, arriving.whole()))
}

/// Stored files to predict from: one, or several at a time.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StoredPictures {
    /// The id of one of one's own stored files.
    file: Option<Uuid>,
    /// The ids of several; at most MAX_IMAGES_PER_REQUEST.
    files: Option<Vec<Uuid>>,
}

/// What to predict from: stored files become the pictures that they are, within the bounds of pictures that are sent.
pub async fn resolve(
    app: &App,
    principal: &Principal,
    model: &Model,
    body: PredictBody,
    file: Option<&str>,
) -> Result<PredictBody> {
    let ids = match &body {
        PredictBody::Stored => {
            vec![file.and_then(auth::parse_id).ok_or(auth::Error::NotFound)?]
        }
        PredictBody::Json(bytes) if model.input_kind() == Some(InputKind::Images) => {
            match named(app, bytes).await? {
                Some(ids) => ids,
                None => return Ok(body),
            }
        }
        _ => return Ok(body),
    };
    let most = app.settings.sizes.max_content_length;
    let mut room = most;
    let mut pictures = Vec::with_capacity(ids.len());
    for id in ids {
        let (file, limit) =
            (app.auth.stored_file(principal, id).await?, app.settings.sizes.image_bytes().min(room));
        if usize::try_from(file.size).map_or(true, |size| size > limit) {
            return Err(too_large(limit));
        }
        let (file, bytes) = bytes_of(app, principal, file, most - room).await?;
        room -= bytes.len();
        pictures.push(Picture { filename: Some(file.name), bytes });
    }
    Ok(PredictBody::Images(pictures))
}

/// The ids that a body names; none where it is meant for another kind of model: its parser then reports what to send
/// instead.
async fn named(app: &App, body: &Bytes) -> Result<Option<Vec<Uuid>>> {
    let (most_bytes, most) = (app.settings.sizes.json_bytes(), app.settings.sizes.max_images_per_request);
    if body.len() > most_bytes {
        return Err(too_large(most_bytes));
    }
    let (length, body) = (body.len(), body.clone());
    let read = move || stored_pictures(&body);
    let read = app.bodies.work(length, Instant::now() + PATIENCE, read).await?;
    let Some(read) = read.map_err(|error| unreadable(&error))? else { return Ok(None) };
    let ids = match read {
        StoredPictures { file: Some(id), files: None } => vec![id],
        StoredPictures { file: None, files: Some(ids) } if !ids.is_empty() => ids,
        _ => {
            return Err(ApiError::field(
                "file",
                "send file, the id of one stored file, or files, a list of ids",
            ));
        }
    };
    if ids.len() > most {
        return Err(ApiError::new(Code::TooLarge, format!("Send at most {most} pictures at a time.")));
    }
    Ok(Some(ids))
}

fn stored_pictures(body: &[u8]) -> serde_json::Result<Option<StoredPictures>> {
    let members: BTreeMap<String, IgnoredAny> = serde_json::from_slice(body)?;
    let is_for_another = members.contains_key("rows") || members.contains_key("texts");
    // A member that no kind has is named by the reader.
    if is_for_another { Ok(None) } else { serde_json::from_slice(body).map(Some) }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> auth::Result<T> + Send + 'static) -> Result<T> {
    Ok(web::block(work).await.map_err(ApiError::internal)??)
}
