//! Versions of models that administrators bring and take away.

use std::io::Write;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use actix_web::web::{Bytes, BytesMut};
use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse, web};
use data_encoding::{BASE64, HEXLOWER};
use futures_util::StreamExt;
use inference::{Incoming, IncomingError};
use serde::{Deserialize, Serialize};
use std::future::{Ready, ready};
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::error::{ApiError, Code, Result};
use crate::extract::{ModelVersion, Name, Parameters};
use crate::guard::Caller;
use crate::guard::permission::ModelsManage;
use crate::lifecycle;

/// How long the next part of a body may take, and all of it.
const NEXT_PART: Duration = Duration::from_secs(30);
const WHOLE_BODY: Duration = Duration::from_secs(3600);
/// Bytes that are gathered before they are written.
const WRITTEN_AT_ONCE: usize = 1 << 20;
/// The digest of a body (RFC 9530).
const CONTENT_DIGEST: &str = "content-digest";

/// What is said about an upload.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UploadParameters {
    /// SHA-256 of the file in hexadecimal; needed unless the header Content-Digest has it.
    #[param(min_length = 64, max_length = 64)]
    sha256: Option<String>,
    /// Ed25519 signature of the line `SHA-256, two spaces, model.onnx, line feed` in Base64; needed where the server has
    /// MODEL_SIGNING_KEYS.
    #[param(max_length = 88)]
    signature: Option<String>,
}

/// A version that was taken.
#[derive(Debug, Serialize, ToSchema)]
pub struct AddedVersion {
    name: String,
    version: String,
    /// SHA-256 of the file.
    sha256: Option<String>,
    /// In bytes.
    size: u64,
}

/// An ONNX file.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "documentation only: the body is written to a file as it streams in")]
pub struct ModelBytes(Vec<u8>);

/// A body that is not read yet.
pub struct ModelBody {
    payload: Payload,
    announced: Option<u64>,
    /// What Content-Digest says, in hexadecimal.
    sha256: Option<String>,
}

impl FromRequest for ModelBody {
    type Error = ApiError;
    type Future = Ready<Result<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let is_plain = header(CONTENT_ENCODING.as_str()).is_none_or(|encoding| encoding == "identity");
        if !is_plain || !request.content_type().eq_ignore_ascii_case("application/octet-stream") {
            return ready(Err(ApiError::new(
                Code::UnsupportedMediaType,
                "Send the ONNX file as it is, with Content-Type: application/octet-stream.",
            )));
        }
        let announced = header(CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok());
        let sha256 = header(CONTENT_DIGEST).and_then(digest_of);
        ready(Ok(Self { payload: payload.take(), announced, sha256 }))
    }
}

/// The SHA-256 in a Content-Digest such as `sha-256=:…:`.
fn digest_of(header: &str) -> Option<String> {
    let entries = header.split(',').filter_map(|entry| entry.trim().strip_prefix("sha-256=:"));
    let bytes = entries.filter_map(|entry| BASE64.decode(entry.strip_suffix(':')?.as_bytes()).ok()).next()?;
    (bytes.len() == 32).then(|| HEXLOWER.encode(&bytes))
}

impl ModelBody {
    /// Writes the body into the file of what is incoming, no more than `limit` bytes.
    async fn save(mut self, incoming: &Incoming, limit: u64) -> Result<()> {
        let too_large =
            || ApiError::new(Code::TooLarge, format!("Model too large: the limit is {limit} bytes."));
        if self.announced.is_some_and(|announced| announced > limit) {
            return Err(too_large());
        }
        let slow = |_| ApiError::new(Code::MalformedRequest, "The body took too long to arrive.");
        let receive = async {
            let mut file = incoming.create().map_err(ApiError::internal)?;
            let (mut gathered, mut size) = (BytesMut::new(), 0u64);
            while let Some(part) = tokio::time::timeout(NEXT_PART, self.payload.next()).await.map_err(slow)? {
                let part = part.map_err(|error| crate::guard::broken(&error))?;
                size = size.saturating_add(part.len() as u64);
                if size > limit {
                    return Err(too_large());
                }
                gathered.extend_from_slice(&part);
                if gathered.len() >= WRITTEN_AT_ONCE {
                    file = write(file, gathered.split().freeze(), false).await?;
                }
            }
            write(file, gathered.freeze(), true).await.map(drop)
        };
        tokio::time::timeout(WHOLE_BODY, receive).await.map_err(slow)?
    }
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

impl From<IncomingError> for ApiError {
    fn from(error: IncomingError) -> Self {
        let code = match &error {
            IncomingError::Name => Code::ValidationFailed,
            IncomingError::Exists => Code::VersionExists,
            IncomingError::Missing => Code::ModelNotFound,
            IncomingError::InUse => Code::VersionInUse,
            IncomingError::NotReceived => Code::VersionNotUploaded,
            IncomingError::Refused(_) => Code::InvalidModel,
            IncomingError::Failed => Code::Unavailable,
        };
        match error {
            IncomingError::Name => Self::field("version", error.to_string()),
            error => Self::new(code, crate::error::capitalised(&error.to_string())),
        }
    }
}

/// Add a version of a model: an ONNX file, tried before it is taken, served when it is activated or loaded.
#[utoipa::path(put, path = "/api/v1/admin/models/{name}/versions/{version}", tag = "admin",
    params(("name" = String, Path), ("version" = String, Path), UploadParameters),
    request_body(content = ModelBytes, content_type = "application/octet-stream"),
    responses((status = 201, body = AddedVersion), (status = 404, description = "No such name"),
              (status = 409, description = "There is such a version"), (status = 413, description = "Too large"),
              (status = 415, description = "Not an octet stream")))]
pub async fn upload(
    caller: Caller<ModelsManage>,
    app: web::Data<App>,
    path: (Name, ModelVersion),
    parameters: Parameters<UploadParameters>,
    body: ModelBody,
) -> Result<HttpResponse> {
    let (name, version) = (path.0.0, path.1.0);
    let sha256 = parameters.0.sha256.clone().or_else(|| body.sha256.clone());
    let sha256 =
        sha256.filter(|sha256| sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let sha256 = sha256.ok_or_else(|| {
        ApiError::field("sha256", "send the file's SHA-256, 64 hexadecimal digits, here or in Content-Digest")
    })?;
    let _turn = lifecycle::turn(&app)?;
    let incoming = app.registry.receive(&name, &version)?;
    if let Some(signature) = &parameters.0.signature {
        let wrong = || ApiError::field("signature", "send 64 bytes in Base64");
        let bytes = BASE64.decode(signature.as_bytes()).ok().filter(|bytes| bytes.len() == 64);
        incoming.sign(&bytes.ok_or_else(wrong)?).map_err(ApiError::internal)?;
    }
    body.save(&incoming, app.settings.models.max_model_size_mb << 20).await?;
    let (size, sha256) = lifecycle::take(&app, &caller, incoming, &name, &version, sha256).await?;
    Ok(HttpResponse::Created().json(AddedVersion { name, version, sha256, size }))
}

/// Remove a version that was uploaded and is not served.
#[utoipa::path(delete, path = "/api/v1/admin/models/{name}/versions/{version}", tag = "admin",
    params(("name" = String, Path), ("version" = String, Path)),
    responses((status = 204, description = "Removed"), (status = 404, description = "No such version"),
              (status = 409, description = "It is served, or did not come by an upload")))]
pub async fn remove(
    caller: Caller<ModelsManage>,
    app: web::Data<App>,
    name: Name,
    version: ModelVersion,
) -> Result<HttpResponse> {
    lifecycle::remove(&app, &caller, &name.0, &version.0).await?;
    Ok(HttpResponse::NoContent().finish())
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
}
