//! What to predict from: pictures, which are the body itself or the `file` parts of a form, or JSON.

use std::future::Future;
use std::pin::Pin;

use actix_multipart::{Field, Multipart, MultipartError};
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::web::{Bytes, Data};
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use futures_util::StreamExt;
use url::form_urlencoded;
use uuid::Uuid;

use super::body;
use crate::app::App;
use crate::error::{ApiError, Code, Result};
use crate::guard;
use crate::transport::encodings::too_large;

/// One picture as it was sent.
pub struct Picture {
    /// The name that a form gives it; never used as a path.
    pub filename: Option<String>,
    /// Its bytes; the format is found in them.
    pub bytes: Bytes,
}

/// What a request has to predict from.
pub enum PredictBody {
    /// All its pictures, at least one.
    Images(Vec<Picture>),
    /// JSON, unread: what it must hold depends on the model.
    Json(Bytes),
    /// A stored file of the caller's, in place of a body.
    Stored,
}

/// Bytes of a form that are in none of its files, such as boundaries and names.
const AROUND_PARTS: usize = 64 << 10;
/// Longest file name kept, in characters.
const MAX_FILENAME: usize = 255;

impl FromRequest for PredictBody {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, mut payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let app = App::of(&request)?;
            if form_urlencoded::parse(request.query_string().as_bytes()).any(|(name, _)| name == "file") {
                return nothing(&app, &request, &mut payload).await.map(|()| Self::Stored);
            }
            match request.content_type().to_ascii_lowercase().as_str() {
                "application/json" => {
                    let limit = app.settings.sizes.max_content_length;
                    body::read(&request, &mut payload, limit, app.settings.sizes.body_timeout())
                        .await
                        .map(Self::Json)
                }
                "multipart/form-data" => read_form(&app, &request, payload).await.map(Self::Images),
                kind if kind.starts_with("image/")
                    || kind == "application/octet-stream"
                    || kind.is_empty() =>
                {
                    read_single(&app, &request, payload, kind).await.map(Self::Images)
                }
                _ => Err(ApiError::new(
                    Code::UnsupportedMediaType,
                    "Send a picture as the body with an image/… Content-Type or as multipart/form-data with a part named file, \
                     or rows or texts as application/json.",
                )),
            }
        })
    }
}

/// A file that `?file=` names takes the place of a body.
async fn nothing(app: &Data<App>, request: &HttpRequest, payload: &mut Payload) -> Result<()> {
    let read = body::read(request, payload, 0, app.settings.sizes.body_timeout()).await;
    read.map(drop).map_err(|error| match error.code {
        Code::TooLarge => ApiError::field("file", "send either a body or the id of a stored file"),
        _ => error,
    })
}

async fn read_single(
    app: &Data<App>,
    request: &HttpRequest,
    mut payload: Payload,
    kind: &str,
) -> Result<Vec<Picture>> {
    let limit = app.settings.sizes.image_bytes();
    let bytes = body::read(request, &mut payload, limit, app.settings.sizes.body_timeout()).await?;
    let picture = checked(Picture { filename: None, bytes }, kind)?;
    Ok(vec![picture])
}

async fn read_form(app: &Data<App>, request: &HttpRequest, payload: Payload) -> Result<Vec<Picture>> {
    body::require_plain(request.headers())?;
    let mut room = app.settings.sizes.max_content_length.saturating_add(AROUND_PARTS);
    let bounded = payload.map(move |chunk| {
        let chunk = chunk?;
        room = room.checked_sub(chunk.len()).ok_or(PayloadError::Overflow)?;
        Ok(chunk)
    });
    body::require_model(app, request)?;
    let form = Multipart::new(request.headers(), bounded);
    let parts = read_parts(app, guard::account(request), form);
    let parts = tokio::time::timeout(app.settings.sizes.body_timeout(), parts).await;
    parts.unwrap_or_else(|_| Err(ApiError::slow_body()))
}

async fn read_parts(app: &Data<App>, account: Option<Uuid>, mut form: Multipart) -> Result<Vec<Picture>> {
    let sizes = &app.settings.sizes;
    let mut pictures = Vec::new();
    let mut room = sizes.max_content_length;
    while let Some(part) = form.next().await {
        let mut part = part.map_err(broken_form)?;
        if part.name() != Some("file") {
            return Err(ApiError::new(Code::MalformedRequest, "The form may have parts named file only."));
        }
        if pictures.len() == sizes.max_images_per_request {
            let most = sizes.max_images_per_request;
            return Err(ApiError::new(Code::TooLarge, format!("Send at most {most} pictures at a time.")));
        }
        let (filename, kind) = (filename(&part), media_type(&part));
        let limit = sizes.image_bytes().min(room);
        let mut bytes = app.bodies.expect_beside(account, 0, sizes.max_content_length - room)?;
        while let Some(chunk) = part.next().await {
            let chunk = chunk.map_err(broken_form)?;
            if bytes.len() + chunk.len() > limit {
                return Err(too_large(limit));
            }
            bytes.push(&chunk)?;
        }
        room -= bytes.len();
        pictures.push(checked(Picture { filename, bytes: bytes.whole() }, &kind)?);
    }
    if pictures.is_empty() {
        return Err(ApiError::new(Code::InvalidImage, "No file selected: the form has no part named file."));
    }
    Ok(pictures)
}

/// The name that a part gives its file.
pub(super) fn filename(part: &Field) -> Option<String> {
    let name = part.content_disposition()?.get_filename()?;
    Some(name.chars().filter(|c| !c.is_control()).take(MAX_FILENAME).collect())
}

/// The media type that a part says it has, without its parameters; empty where it says none.
pub(super) fn media_type(part: &Field) -> String {
    part.content_type().map(|kind| kind.essence_str().to_ascii_lowercase()).unwrap_or_default()
}

pub(super) fn broken_form(error: MultipartError) -> ApiError {
    if matches!(error, MultipartError::Payload(PayloadError::Overflow)) {
        return ApiError::new(Code::TooLarge, "The form is too large.");
    }
    ApiError::new(Code::MalformedRequest, format!("The form cannot be read: {error}."))
}

fn checked(picture: Picture, declared: &str) -> Result<Picture> {
    if picture.bytes.is_empty() {
        return Err(ApiError::new(Code::InvalidImage, "No file selected: the picture is empty."));
    }
    if let Some(found) = signature(&picture.bytes) {
        require_type(declared, found)?;
    }
    Ok(picture)
}

/// A picture whose header says another format than its bytes is refused: one of the two is a mistake or a lie.
/// `found` is what `image/` is followed by.
pub fn require_type(declared: &str, found: &str) -> Result<()> {
    match declared.strip_prefix("image/") {
        Some(declared) if declared != "*" && usual_name(declared) != found => Err(ApiError::new(
            Code::InvalidImage,
            format!("Invalid file type: Content-Type says image/{declared}, the bytes are image/{found}."),
        )),
        _ => Ok(()),
    }
}

/// Older names that clients still use.
fn usual_name(declared: &str) -> &str {
    match declared {
        "jpg" | "pjpeg" => "jpeg",
        "x-png" => "png",
        "x-ms-bmp" | "x-bmp" => "bmp",
        declared => declared,
    }
}

/// The format that the first bytes tell.
fn signature(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("png"),
        [0xff, 0xd8, 0xff, ..] => Some("jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("gif"),
        [b'B', b'M', ..] => Some("bmp"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("webp"),
        _ => None,
    }
}
