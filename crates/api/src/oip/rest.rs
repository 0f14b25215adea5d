//! The protocol over REST.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpRequest, HttpResponse, web};
use inference::{InferRequest, Model, NamedTensor, TensorData, Ticket};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::json;
use super::metadata::{IndexEntry, ModelMetadata, ModelReady, ServerLive, ServerMetadata, ServerReady};
use crate::app::App;
use crate::error::{ApiError, Code, Result};
use crate::extract::{InferBody, ModelVersion, Name};
use crate::guard::permission::{ModelsInfer, ModelsRead};
use crate::guard::{Caller, Visitor};
use crate::metering::Work;

/// The header that announces binary tensors.
const BINARY_HEADER: &str = "inference-header-content-length";

/// An error as the protocol writes it.
#[derive(Serialize, ToSchema)]
pub struct V2Error {
    /// What happened and what to do.
    pub error: String,
}

/// Which models to list.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct IndexRequest {
    /// Only those that are ready.
    ready: Option<bool>,
}

/// The server lives.
#[utoipa::path(get, path = "/v2/health/live", tag = "v2", responses((status = 200, body = ServerLive)))]
pub async fn live(_: Visitor) -> web::Json<ServerLive> {
    web::Json(ServerLive { live: true })
}

/// Calls are taken.
#[utoipa::path(get, path = "/v2/health/ready", tag = "v2",
    responses((status = 200, body = ServerReady), (status = 503, body = ServerReady, description = "Not ready")))]
pub async fn ready(_: Visitor, app: web::Data<App>) -> HttpResponse {
    let ready = app.is_ready();
    HttpResponse::build(status(ready)).json(ServerReady { live: true, ready })
}

/// The server and its extensions.
#[utoipa::path(get, path = "/v2", tag = "v2", responses((status = 200, body = ServerMetadata)))]
pub async fn server(_: Caller<ModelsRead>) -> web::Json<ServerMetadata> {
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

/// The models that the caller may use. The body may be empty.
#[utoipa::path(post, path = "/v2/repository/index", tag = "v2", request_body = Option<IndexRequest>,
    responses((status = 200, body = Vec<IndexEntry>)))]
pub async fn index(
    caller: Caller<ModelsRead>,
    app: web::Data<App>,
    body: InferBody,
) -> Result<web::Json<Vec<IndexEntry>>> {
    let request: IndexRequest = match body.0.as_ref() {
        [] => IndexRequest::default(),
        bytes => serde_json::from_slice(bytes).map_err(|error| {
            ApiError::new(Code::MalformedRequest, format!("The body is not valid: {error}."))
        })?,
    };
    let entries = app.models_for(&caller.principal).into_iter().map(IndexEntry::from);
    let wanted = entries.filter(|entry| request.ready.is_none_or(|ready| ready == (entry.state == "READY")));
    Ok(web::Json(wanted.collect()))
}

/// Run a model on tensors.
#[utoipa::path(post, path = "/v2/models/{name}/infer", tag = "v2", params(("name" = String, Path)),
    request_body(content = serde_json::Value, description = "An inference request of the Open Inference Protocol"),
    responses((status = 200, body = serde_json::Value, description = "Its answer"),
              (status = 404, body = V2Error, description = "No such model"),
              (status = 413, body = V2Error, description = "Too large"),
              (status = 415, body = V2Error, description = "Not JSON"),
              (status = 504, body = V2Error, description = "The deadline has passed")))]
pub async fn infer(
    caller: Caller<ModelsInfer>,
    app: web::Data<App>,
    request: HttpRequest,
    name: Name,
    body: InferBody,
) -> Result<HttpResponse> {
    let model = app.model_for(&caller.principal, &name.0, None)?;
    run(&app, &caller, &request, &model, &body).await
}

/// Run a version of a model on tensors.
#[utoipa::path(post, path = "/v2/models/{name}/versions/{version}/infer", tag = "v2",
    params(("name" = String, Path), ("version" = String, Path)),
    request_body(content = serde_json::Value, description = "An inference request of the Open Inference Protocol"),
    responses((status = 200, body = serde_json::Value, description = "Its answer"),
              (status = 404, body = V2Error, description = "No such version"),
              (status = 413, body = V2Error, description = "Too large"),
              (status = 415, body = V2Error, description = "Not JSON"),
              (status = 504, body = V2Error, description = "The deadline has passed")))]
pub async fn infer_version(
    caller: Caller<ModelsInfer>,
    app: web::Data<App>,
    request: HttpRequest,
    path: (Name, ModelVersion),
    body: InferBody,
) -> Result<HttpResponse> {
    let model = app.model_for(&caller.principal, &path.0.0, Some(&path.1.0))?;
    run(&app, &caller, &request, &model, &body).await
}

async fn run(
    app: &App,
    caller: &Caller<ModelsInfer>,
    request: &HttpRequest,
    model: &Arc<Model>,
    body: &InferBody,
) -> Result<HttpResponse> {
    check_media_type(request)?;
    let invalid = |message: String| ApiError::new(Code::InvalidInput, message);
    let ticket = app.ticket(&caller.principal, caller.arrived);
    let (bytes, specs) = (body.0.clone(), Arc::clone(model));
    let parse = move || json::parse_infer_request(&bytes, specs.inputs());
    let parsed = app.bodies.work(body.0.len(), ticket.deadline, parse).await?.map_err(invalid)?;
    let rows = parsed.inputs.first().and_then(|input| input.tensor.shape().first().copied()).unwrap_or(1);
    let work = Work::tensors(rows, body.0.len());
    let ticket = sooner(ticket, parsed.timeout);
    let call = InferRequest { inputs: parsed.inputs, outputs: parsed.outputs, ticket };
    let answer = App::in_time(ticket.deadline, model.infer(call)).await;
    let answer =
        app.metering.settle((&caller.principal, caller.origin.address), model, work, answer, |answer| {
            answer.timing
        })?;
    let (size, model, id) = (written_size(&answer.outputs), Arc::clone(model), parsed.id);
    let write =
        move || json::render_infer_response(model.name(), model.version(), id.as_deref(), &answer.outputs);
    let body = app.bodies.work(size, ticket.deadline, write).await?.map_err(invalid)?;
    Ok(HttpResponse::Ok().content_type("application/json").body(body))
}

/// How long an answer becomes, about.
fn written_size(outputs: &[NamedTensor]) -> usize {
    /// Of a number or a text's quotation marks, with a comma.
    const CHARACTERS: usize = 8;
    let texts = |data: &TensorData| match data {
        TensorData::Bytes(texts) => texts.iter().map(Vec::len).sum(),
        _ => 0,
    };
    let size = |output: &NamedTensor| output.tensor.data().len() * CHARACTERS + texts(output.tensor.data());
    outputs.iter().map(size).sum()
}

fn check_media_type(request: &HttpRequest) -> Result<()> {
    if request.headers().contains_key(BINARY_HEADER) {
        return Err(ApiError::new(
            Code::UnsupportedMediaType,
            "Binary tensors are not offered; send the tensors as JSON.",
        ));
    }
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    // Clients of the protocol often leave the media type out, and curl then says that it sends a form.
    const TAKEN: [&str; 3] = ["", "application/json", "application/x-www-form-urlencoded"];
    if TAKEN.iter().any(|taken| kind.eq_ignore_ascii_case(taken)) {
        return Ok(());
    }
    Err(ApiError::new(
        Code::UnsupportedMediaType,
        "Send the tensors as JSON, with Content-Type: application/json.",
    ))
}

/// A caller may wait for less long than the server would let them.
fn sooner(ticket: Ticket, timeout: Option<Duration>) -> Ticket {
    let wished = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    Ticket { deadline: wished.map_or(ticket.deadline, |wished| wished.min(ticket.deadline)), ..ticket }
}

fn readiness(
    app: &App,
    caller: &Caller<ModelsRead>,
    name: String,
    version: Option<&str>,
) -> Result<HttpResponse> {
    let ready = match app.model_for(&caller.principal, &name, version) {
        Ok(_) => true,
        Err(error) if error.code == Code::ModelUnavailable => false,
        Err(error) => return Err(error),
    };
    Ok(HttpResponse::build(status(ready)).json(ModelReady { name, ready }))
}

fn status(ready: bool) -> StatusCode {
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
