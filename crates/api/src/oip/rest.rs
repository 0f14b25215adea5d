//! The protocol over REST.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::metadata::{ModelMetadata, ModelReady, ServerLive, ServerMetadata, ServerReady};
use crate::app::App;
use crate::error::Result;
use crate::extract::{ModelVersion, Name};
use crate::guard::permission::ModelsRead;
use crate::guard::{Anonymous, Caller};

/// An error as the protocol writes it.
#[derive(Serialize, ToSchema)]
pub struct V2Error {
    /// What happened and what to do.
    pub error: String,
}

/// The server lives.
#[utoipa::path(get, path = "/v2/health/live", tag = "v2", responses((status = 200, body = ServerLive)))]
pub async fn live(_: Anonymous) -> web::Json<ServerLive> {
    web::Json(ServerLive { live: true })
}

/// Calls are taken.
#[utoipa::path(get, path = "/v2/health/ready", tag = "v2",
    responses((status = 200, body = ServerReady), (status = 503, body = ServerReady, description = "Not ready")))]
pub async fn ready(_: Anonymous, app: web::Data<App>) -> HttpResponse {
    let ready = app.is_ready();
    HttpResponse::build(status(ready)).json(ServerReady { live: true, ready })
}

/// The server and its extensions.
#[utoipa::path(get, path = "/v2", tag = "v2", responses((status = 200, body = ServerMetadata)))]
pub async fn server(_: Caller<ModelsRead>) -> web::Json<ServerMetadata> {
    web::Json(ServerMetadata::of(env!("CARGO_PKG_VERSION")))
}

/// The same, with the slash that the protocol's own OpenAPI document has.
#[utoipa::path(get, path = "/v2/", tag = "v2", responses((status = 200, body = ServerMetadata)))]
pub async fn server_with_slash(_: Caller<ModelsRead>) -> web::Json<ServerMetadata> {
    web::Json(ServerMetadata::of(env!("CARGO_PKG_VERSION")))
}

/// A model's inputs and outputs.
#[utoipa::path(get, path = "/v2/models/{name}", tag = "v2", params(("name" = String, Path)),
    responses((status = 200, body = ModelMetadata), (status = 404, body = V2Error, description = "No such model")))]
pub async fn model(
    caller: Caller<ModelsRead>,
    app: web::Data<App>,
    name: Name,
) -> Result<web::Json<ModelMetadata>> {
    Ok(web::Json(app.model_for(&caller.principal, &name.0, None)?.as_ref().into()))
}

/// A version's inputs and outputs.
#[utoipa::path(get, path = "/v2/models/{name}/versions/{version}", tag = "v2",
    params(("name" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = ModelMetadata), (status = 404, body = V2Error, description = "No such version")))]
pub async fn model_version(
    caller: Caller<ModelsRead>,
    app: web::Data<App>,
    name: Name,
    version: ModelVersion,
) -> Result<web::Json<ModelMetadata>> {
    Ok(web::Json(app.model_for(&caller.principal, &name.0, Some(&version.0))?.as_ref().into()))
}

/// Whether a model can be called.
#[utoipa::path(get, path = "/v2/models/{name}/ready", tag = "v2", params(("name" = String, Path)),
    responses((status = 200, body = ModelReady), (status = 404, body = V2Error, description = "No such model"),
              (status = 503, body = ModelReady, description = "Not ready")))]
pub async fn model_ready(
    caller: Caller<ModelsRead>,
    app: web::Data<App>,
    name: Name,
) -> Result<HttpResponse> {
    readiness(&app, &caller, name.0, None)
}

/// Whether a version can be called.
#[utoipa::path(get, path = "/v2/models/{name}/versions/{version}/ready", tag = "v2",
    params(("name" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = ModelReady), (status = 404, body = V2Error, description = "No such version"),
              (status = 503, body = ModelReady, description = "Not ready")))]
pub async fn model_version_ready(
    caller: Caller<ModelsRead>,
    app: web::Data<App>,
    name: Name,
    version: ModelVersion,
) -> Result<HttpResponse> {
    readiness(&app, &caller, name.0, Some(&version.0))
}

fn readiness(
    app: &App,
    caller: &Caller<ModelsRead>,
    name: String,
    version: Option<&str>,
) -> Result<HttpResponse> {
    let ready = app.model_ready(&caller.principal, &name, version)?;
    Ok(HttpResponse::build(status(ready)).json(ModelReady { name, ready }))
}

fn status(ready: bool) -> StatusCode {
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
