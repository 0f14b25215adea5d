//! The upload of a version: an ONNX file as the body, or a form with the list of its files and the files. Each is
//! written as it arrives.

use std::collections::BTreeMap;
use std::future::{Ready, ready};
use std::io::Write;
use std::time::Duration;

use actix_multipart::{Field, Multipart, MultipartError};
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::{self, Bytes, BytesMut};
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use data_encoding::{BASE64, HEXLOWER};
use futures_util::{Stream, StreamExt};
use inference::{Digests, Incoming, is_file_name};

use super::body::require_plain;
use crate::error::{ApiError, Code, Result};
use crate::guard::broken;

/// How long the next part of a body may take, and all of it.
const NEXT_PART: Duration = Duration::from_secs(30);
const WHOLE_BODY: Duration = Duration::from_secs(3600);
/// Bytes that are gathered before they are written.
const WRITTEN_AT_ONCE: usize = 1 << 20;
/// Files of a version, at most, and bytes of the list of them.
const MAX_FILES: usize = 1000;
const MAX_LIST: usize = 512 << 10;
/// The digest of a body (RFC 9530).
const CONTENT_DIGEST: &str = "content-digest";

/// A body that is not read yet.
pub struct ModelBody {
    content: Content,
    announced: Option<u64>,
    /// The digest from Content-Digest, in hexadecimal.
    sha256: Option<String>,
}

enum Content {
    /// The model itself.
    Plain(Payload),
    /// The list of files, and the files.
    Form(Multipart),
}

impl FromRequest for ModelBody {
    type Error = ApiError;
    type Future = Ready<Result<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        if let Err(packed) = require_plain(request.headers()) {
            return ready(Err(packed));
        }
        let content = match request.content_type().to_ascii_lowercase().as_str() {
            "application/octet-stream" => Content::Plain(payload.take()),
            "multipart/form-data" => Content::Form(Multipart::new(request.headers(), payload.take())),
            _ => {
                return ready(Err(ApiError::new(
                    Code::UnsupportedMediaType,
                    "Send the ONNX file as it is, with Content-Type: application/octet-stream, or several files as \
                     multipart/form-data.",
                )));
            }
        };
        let announced = header(CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok());
        let sha256 = header(CONTENT_DIGEST).and_then(digest_of);
        ready(Ok(Self { content, announced, sha256 }))
    }
}

/// The SHA-256 in a Content-Digest such as `sha-256=:…:`.
fn digest_of(header: &str) -> Option<String> {
    let entries = header.split(',').filter_map(|entry| entry.trim().strip_prefix("sha-256=:"));
    let bytes = entries.filter_map(|entry| BASE64.decode(entry.strip_suffix(':')?.as_bytes()).ok()).next()?;
    (bytes.len() == 32).then(|| HEXLOWER.encode(&bytes))
}

/// The list of files as `sha256sum` writes it.
fn list_of(text: &str) -> Option<Digests> {
    let line = |line: &str| {
        let (sha256, name) = line.split_once(' ')?;
        // The second space is a star where a file was read as a binary one.
        let name = name.strip_prefix([' ', '*'])?;
        (inference::is_sha256(sha256) && is_file_name(name)).then(|| (name.to_owned(), sha256.to_lowercase()))
    };
    let files: BTreeMap<_, _> = text.lines().map(line).collect::<Option<_>>()?;
    (files.contains_key(inference::MODEL_FILE) && (1..=MAX_FILES).contains(&files.len())).then_some(files)
}

fn too_large(limit: u64) -> ApiError {
    ApiError::new(Code::TooLarge, format!("Model too large: the limit is {limit} bytes, all files together."))
}

fn too_slow<T>(_: T) -> ApiError {
    ApiError::slow_body()
}

impl ModelBody {
    /// The model's digest by parameter or header, where the body has no list of digests.
    pub fn announced_digest(&self, declared: Option<&str>) -> Result<Option<String>> {
        if matches!(self.content, Content::Form(_)) {
            return Ok(None);
        }
        let sha256 = declared.or(self.sha256.as_deref()).filter(|sha256| inference::is_sha256(sha256));
        let missing = || {
            ApiError::field(
                "sha256",
                "send the file's SHA-256, 64 hexadecimal digits, here or in Content-Digest",
            )
        };
        sha256.map(|sha256| Some(sha256.to_lowercase())).ok_or_else(missing)
    }

    /// Writes the files, no more than `limit` bytes together, and returns their announced digests. `sha256` is that of
    /// the model where it is the body.
    pub async fn save(self, incoming: &Incoming, limit: u64, sha256: Option<String>) -> Result<Digests> {
        if self.announced.is_some_and(|announced| announced > limit.saturating_add(MAX_LIST as u64)) {
            return Err(too_large(limit));
        }
        let mut room = RemainingBytes { limit, left: limit };
        let receive = async {
            match self.content {
                Content::Plain(payload) => {
                    save_file(payload, incoming, inference::MODEL_FILE, &mut room).await?;
                    Ok(sha256.map(|sha256| (inference::MODEL_FILE.to_owned(), sha256)).into_iter().collect())
                }
                Content::Form(form) => save_form(form, incoming, &mut room).await,
            }
        };
        tokio::time::timeout(WHOLE_BODY, receive).await.map_err(too_slow)?
    }
}

/// Bytes that may still come.
struct RemainingBytes {
    limit: u64,
    left: u64,
}

impl RemainingBytes {
    fn take(&mut self, bytes: usize) -> Result<()> {
        self.left = self.left.checked_sub(bytes as u64).ok_or_else(|| too_large(self.limit))?;
        Ok(())
    }
}

async fn save_form(mut form: Multipart, incoming: &Incoming, room: &mut RemainingBytes) -> Result<Digests> {
    let first = next_field(&mut form).await?.filter(|field| field.name() == Some("files"));
    let Some(list) = first else {
        return Err(ApiError::field("files", "send the list of the files first, as sha256sum writes it"));
    };
    let list = read_list(list).await?;
    let files = list_of(&list).ok_or_else(|| {
        ApiError::field("files", "a line for each file: its SHA-256, two spaces, its name; one is model.onnx")
    })?;
    let mut missing = files.clone();
    while let Some(field) = next_field(&mut form).await? {
        let name = field.name().unwrap_or_default().to_owned();
        if missing.remove(&name).is_none() {
            return Err(ApiError::field("files", "a part is not in the list of files, or came before"));
        }
        save_file(field, incoming, &name, room).await?;
    }
    match missing.keys().next() {
        Some(name) => Err(ApiError::field("files", format!("{name} is in the list and did not come"))),
        None => Ok(files),
    }
}

async fn next_field(form: &mut Multipart) -> Result<Option<Field>> {
    let field = tokio::time::timeout(NEXT_PART, form.next()).await.map_err(too_slow)?;
    field.transpose().map_err(BodyError::into_api_error)
}

/// Why no more of a body comes.
trait BodyError {
    fn into_api_error(self) -> ApiError;
}

impl BodyError for PayloadError {
    fn into_api_error(self) -> ApiError {
        broken(&self)
    }
}

impl BodyError for MultipartError {
    fn into_api_error(self) -> ApiError {
        match self {
            Self::Payload(error) => broken(&error),
            _ => ApiError::new(Code::MalformedRequest, "The form cannot be read."),
        }
    }
}

async fn read_list(mut field: Field) -> Result<String> {
    let mut list = Vec::new();
    while let Some(part) = tokio::time::timeout(NEXT_PART, field.next()).await.map_err(too_slow)? {
        list.extend_from_slice(&part.map_err(BodyError::into_api_error)?);
        if list.len() > MAX_LIST {
            return Err(too_large(MAX_LIST as u64));
        }
    }
    String::from_utf8(list).map_err(|_| ApiError::field("files", "send text"))
}

async fn save_file<E: BodyError>(
    mut content: impl Stream<Item = std::result::Result<Bytes, E>> + Unpin,
    incoming: &Incoming,
    name: &str,
    room: &mut RemainingBytes,
) -> Result<()> {
    let mut file = incoming.create(name)?;
    let mut gathered = BytesMut::new();
    while let Some(part) = tokio::time::timeout(NEXT_PART, content.next()).await.map_err(too_slow)? {
        let part = part.map_err(BodyError::into_api_error)?;
        room.take(part.len())?;
        gathered.extend_from_slice(&part);
        if gathered.len() >= WRITTEN_AT_ONCE {
            file = write(file, gathered.split().freeze(), false).await?;
        }
    }
    write(file, gathered.freeze(), true).await.map(drop)
}

/// Writes on a thread that may wait for the disk; at the end until it is there to stay.
async fn write(mut file: std::fs::File, bytes: Bytes, is_last: bool) -> Result<std::fs::File> {
    let written = web::block(move || {
        file.write_all(&bytes)?;
        if is_last {
            file.sync_all()?;
        }
        Ok::<_, std::io::Error>(file)
    });
    written.await.map_err(ApiError::internal)?.map_err(|error| {
        tracing::error!(%error, "a model could not be written");
        ApiError::new(Code::Unavailable, "The model could not be written; the log says why.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_a_body_is_read_as_the_standard_writes_it() {
        let zeros = format!("sha-256=:{}:", BASE64.encode(&[0; 32]));
        assert_eq!(digest_of(&zeros), Some("0".repeat(64)));
        assert_eq!(digest_of(&format!("sha-512=:AAAA:, {zeros}")), Some("0".repeat(64)));
        for wrong in ["", "sha-256=", "sha-256=:AAAA:", "sha-256=:%%:", "sha-512=:AAAA:"] {
            assert_eq!(digest_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_list_of_files_is_read_as_sha256sum_writes_it() {
        let (sha256, upper) = ("0a".repeat(32), "0A".repeat(32));
        let list = list_of(&format!("{upper}  model.onnx\n{sha256} *data/w 1.bin\n"));
        let files = list.map(|files| files.into_iter().collect::<Vec<_>>());
        let expected =
            [("data/w 1.bin".to_owned(), sha256.clone()), ("model.onnx".to_owned(), sha256.clone())];
        assert_eq!(files, Some(expected.to_vec()));
        for wrong in [
            "",
            "0a  model.onnx",
            &format!("{sha256}  w.bin"),
            &format!("{sha256} model.onnx"),
            &format!("{sha256}  model.onnx\n{sha256}  ../w"),
            &format!("{sha256}  model.onnx\n\n"),
        ] {
            assert_eq!(list_of(wrong), None, "{wrong}");
        }
    }
}
