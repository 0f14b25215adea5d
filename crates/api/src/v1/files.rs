//! Stored files: pictures of one's own, to predict from later.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};
use actix_web::{HttpResponse, Responder, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use storage::StoredFile;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::lists::List;
use crate::app::App;
use crate::error::Result;
use crate::extract::{FileBody, Id, PageParameters, Parameters};
use crate::files;
use crate::guard::permission::FilesWrite;
use crate::guard::{Authenticated, Caller};

/// Longest name kept, in characters.
const MAX_NAME: usize = 200;

/// A stored file.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StoredFile)]
pub struct FileView {
    id: Uuid,
    /// What its owner calls it; nothing is found by it.
    name: String,
    /// Its media type, detected from its content.
    #[schema(example = "image/png")]
    media_type: String,
    /// Its bytes.
    size: i64,
    /// Their SHA-256, in hexadecimal.
    sha256: String,
    created_at: DateTime<Utc>,
}

impl From<StoredFile> for FileView {
    fn from(file: StoredFile) -> Self {
        let StoredFile { id, name, media_type, size, sha256, created_at, .. } = file;
        Self { id, name, media_type, size, sha256, created_at }
    }
}

/// The name of a file.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FileParameters {
    /// What to call it, whatever a form calls it; only what is harmless in a name stays of it, at most 200 characters.
    name: Option<String>,
}

/// A picture.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "documentation only: the body is written to a file as it streams in")]
pub struct FileBytes(Vec<u8>);

/// A form with one picture.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documentation only: the form is read as it streams in")]
pub struct FileForm {
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

/// Store a picture (JPEG, PNG, GIF, BMP or WebP, by its content). It is kept until it is deleted, its account is, or
/// FILE_RETENTION_DAYS are over.
#[utoipa::path(post, path = "/api/v1/files", tag = "files", params(FileParameters),
    request_body(content((FileBytes = "application/octet-stream"), (FileBytes = "image/*"), (FileForm = "multipart/form-data"))),
    responses((status = 201, body = FileView), (status = 400, description = "No picture, or not the one that its Content-Type says"),
              (status = 409, description = "As many files, or bytes, as may be"), (status = 413, description = "Too large"),
              (status = 415, description = "Neither an octet stream nor an image nor a form")))]
pub async fn create(
    caller: Caller<FilesWrite>,
    app: web::Data<App>,
    parameters: Parameters<FileParameters>,
    body: FileBody,
) -> Result<impl Responder> {
    let name = |form: Option<String>| harmless(&parameters.0.name.or(form).unwrap_or_default());
    let file = files::receive(&app, &caller, body, name).await?;
    Ok((web::Json(FileView::from(file)), StatusCode::CREATED))
}

/// One's own files, newest first.
#[utoipa::path(get, path = "/api/v1/files", tag = "files", params(PageParameters),
    responses((status = 200, body = List<FileView>)))]
pub async fn list(
    caller: Caller<Authenticated>,
    app: web::Data<App>,
    page: Parameters<PageParameters>,
) -> Result<web::Json<List<FileView>>> {
    Ok(web::Json(List::of(app.auth.stored_files(&caller.principal, &page.0.request()?).await?)))
}

/// The bytes of one of one's own files, to be saved and never to be shown as a page.
#[utoipa::path(get, path = "/api/v1/files/{id}", tag = "files", params(("id" = Uuid, Path)),
    responses((status = 200, body = FileBytes, content_type = "image/*"), (status = 404, description = "No file of yours")))]
pub async fn download(caller: Caller<Authenticated>, app: web::Data<App>, id: Id) -> Result<HttpResponse> {
    let (file, bytes) = files::read(&app, &caller.principal, id.0).await?;
    let kind = HeaderValue::from_str(&file.media_type);
    let mut answer = HttpResponse::Ok();
    answer
        .insert_header((CONTENT_TYPE, kind.unwrap_or(HeaderValue::from_static("application/octet-stream"))));
    answer.insert_header((CONTENT_DISPOSITION, disposition(&file.name)));
    Ok(answer.body(bytes))
}

/// Delete one of one's own files; its bytes go at once.
#[utoipa::path(delete, path = "/api/v1/files/{id}", tag = "files", params(("id" = Uuid, Path)),
    responses((status = 204, description = "Deleted"), (status = 404, description = "No file of yours"),
              (status = 409, description = "Your account is under a legal hold")))]
pub async fn delete(caller: Caller<Authenticated>, app: web::Data<App>, id: Id) -> Result<HttpResponse> {
    app.auth.delete_file(&caller.principal, id.0, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// What is harmless of a name, as a name: no path, no control or invisible character, no dot in front.
fn harmless(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let shown =
        |c: &char| *c == ' ' || (!"<>:\"|?*%;".contains(*c) && auth::is_visible(c.encode_utf8(&mut [0; 4])));
    let kept: String = last.chars().filter(shown).take(MAX_NAME).collect();
    let kept = kept.trim_matches([' ', '.']).to_owned();
    if kept.is_empty() { "file".into() } else { kept }
}

/// RFC 6266: an attachment, with its name in ASCII and, encoded, as it is (RFC 8187).
fn disposition(name: &str) -> String {
    let ascii: String =
        name.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '_' }).collect();
    let encoded = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    format!("attachment; filename=\"{}\"; filename*=UTF-8''{encoded}", ascii.replace(['"', '\\'], "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_name_only_a_name_stays() {
        for (name, expected) in [
            ("seven.png", "seven.png"),
            ("../../etc/passwd", "passwd"),
            ("C:\\temp\\a.png", "a.png"),
            (".htaccess", "htaccess"),
            ("a\r\nSet-Cookie: x.png", "aSet-Cookie x.png"),
            ("a\u{202e}gnp.exe", "agnp.exe"),
            ("<img src=x>.png", "img src=x.png"),
            ("", "file"),
            ("...", "file"),
            ("..", "file"),
            ("ключ é.png", "ключ é.png"),
        ] {
            assert_eq!(harmless(name), expected, "{name:?}");
        }
        assert_eq!(harmless(&"é".repeat(500)).chars().count(), MAX_NAME);
        let header = disposition("ключ \"x\".png");
        assert!(HeaderValue::from_str(&header).is_ok() && header.starts_with("attachment; "), "{header}");
    }
}
