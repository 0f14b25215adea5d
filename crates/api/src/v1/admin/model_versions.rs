//! Upload and removal of model versions.

use actix_web::{HttpResponse, web};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::app::{App, require_reach};
use crate::error::{ApiError, Result};
use crate::extract::{ModelBody, ModelVersion, Name, Parameters};
use crate::guard::Caller;
use crate::guard::permission::ModelsManage;
use crate::model_acts::{self, ReceivedVersion};

/// The parameters of an upload.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UploadParameters {
    /// SHA-256 of the file in hexadecimal; needed unless the header Content-Digest has it, or the files come as a form.
    #[param(min_length = 64, max_length = 64)]
    sha256: Option<String>,
    /// Ed25519 signature of the list of files, for one file the line `SHA-256, two spaces, model.onnx, line feed`, in
    /// Base64; needed where the server has MODEL_SIGNING_KEYS.
    #[param(max_length = 88)]
    signature: Option<String>,
}

/// A version that was added.
#[derive(Debug, Serialize, ToSchema)]
pub struct AddedVersion {
    name: String,
    version: String,
    /// SHA-256 of `model.onnx`.
    sha256: Option<String>,
    /// Of all files together, in bytes.
    size: u64,
}

/// An ONNX file.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "documentation only: the body is written to a file as it streams in")]
pub struct ModelBytes(Vec<u8>);

/// Several files: first `files`, their list as `sha256sum` writes it, then a part for each, named as in the list.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documentation only: the parts are written to files as they stream in")]
pub struct ModelForm {
    /// A line for each file: its SHA-256 in hexadecimal, two spaces, its name.
    files: String,
    /// The model.
    #[schema(value_type = String, format = Binary, rename = "model.onnx")]
    model: Vec<u8>,
}

/// Add a version of a model: an ONNX file and its data files, tried before it is accepted, served when it is activated,
/// or loaded where the model has no other version.
#[utoipa::path(put, path = "/api/v1/admin/models/{name}/versions/{version}", tag = "admin",
    params(("name" = String, Path), ("version" = String, Path), UploadParameters),
    request_body(content((ModelBytes = "application/octet-stream"), (ModelForm = "multipart/form-data"))),
    responses((status = 201, body = AddedVersion), (status = 404, description = "No such name"),
              (status = 409, description = "There is such a version"), (status = 413, description = "Too large"),
              (status = 415, description = "Neither an octet stream nor a form")))]
pub async fn upload(
    caller: Caller<ModelsManage>,
    app: web::Data<App>,
    Name(name): Name,
    ModelVersion(version): ModelVersion,
    parameters: Parameters<UploadParameters>,
    body: ModelBody,
) -> Result<HttpResponse> {
    let sha256 = body.announced_digest(parameters.0.sha256.as_deref())?;
    require_reach(&caller.principal, &name)?;
    let place = app.lifecycle.begin_upload()?;
    let signature = parameters.0.signature.as_deref().map(read_signature).transpose()?;
    let (registry, of) = (app.registry.clone(), (name.clone(), version.clone()));
    let receive = move || registry.receive(&of.0, &of.1);
    let incoming = web::block(receive).await.map_err(ApiError::internal)??;
    if let Some(signature) = signature {
        incoming.sign(&signature).map_err(ApiError::internal)?;
    }
    let announced = body.save(&incoming, app.settings.models.max_model_bytes(), sha256).await?;
    let received =
        ReceivedVersion { name: name.clone(), version: version.clone(), incoming, announced, place };
    let (size, sha256) = model_acts::accept_upload(app.clone(), caller, received).await?;
    Ok(HttpResponse::Created().json(AddedVersion { name, version, sha256, size }))
}

fn read_signature(text: &str) -> Result<Vec<u8>> {
    let bytes = BASE64.decode(text.as_bytes()).ok().filter(|bytes| bytes.len() == 64);
    bytes.ok_or_else(|| ApiError::field("signature", "send 64 bytes in Base64"))
}

/// Remove a version that was uploaded and is not served.
#[utoipa::path(delete, path = "/api/v1/admin/models/{name}/versions/{version}", tag = "admin",
    params(("name" = String, Path), ("version" = String, Path)),
    responses((status = 204, description = "Removed"), (status = 404, description = "No such version"),
              (status = 409, description = "It is served, or was not uploaded")))]
pub async fn remove(
    caller: Caller<ModelsManage>,
    app: web::Data<App>,
    name: Name,
    version: ModelVersion,
) -> Result<HttpResponse> {
    model_acts::remove(app, caller, name.0, version.0).await?;
    Ok(HttpResponse::NoContent().finish())
}
