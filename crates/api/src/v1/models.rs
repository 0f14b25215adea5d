//! The models that the caller may use, and predictions.

use actix_web::{HttpRequest, HttpResponse, web};
use inference::{Column, InputKind, Model};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::lists::List;
use super::predictions::{PictureBytes, PictureForm, PredictJson, PredictionRequest, Predictions};
use crate::app::{App, declared};
use crate::error::Result;
use crate::extract::{Name, Parameters, PredictBody, WholeNumber};
use crate::files;
use crate::guard::Caller;
use crate::guard::permission::{ModelsInfer, ModelsRead};
use crate::schema_names::{ColumnType, Datatype, ExecutionProvider, ModelAccess, ModelState, ModelTakes};

/// A model in a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelSummary {
    name: String,
    version: String,
    #[schema(value_type = ModelState)]
    state: &'static str,
    /// Why it is unavailable.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[schema(value_type = ModelAccess)]
    access: &'static str,
    /// SHA-256 of the model file.
    sha256: Option<String>,
}

/// A model in full.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelDetails {
    name: String,
    /// The version used when none is named.
    version: String,
    versions: Vec<String>,
    description: String,
    /// Whether `predict` takes pictures.
    takes_images: bool,
    /// What `predict` takes; absent where it takes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ModelTakes>)]
    takes: Option<&'static str>,
    /// The columns of its rows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    columns: Vec<ColumnView>,
    /// The credits that each row or picture costs.
    price: u32,
    /// What computes it.
    #[schema(value_type = ExecutionProvider)]
    execution_provider: &'static str,
    /// Why the provider of first choice does not compute it.
    #[serde(skip_serializing_if = "Option::is_none")]
    execution_fallback: Option<String>,
    inputs: Vec<TensorView>,
    outputs: Vec<TensorView>,
}

/// An input or output of a model.
#[derive(Debug, Serialize, ToSchema)]
pub struct TensorView {
    name: String,
    #[schema(value_type = Datatype)]
    datatype: String,
    /// -1 where any size goes.
    shape: Vec<i64>,
}

/// A column of the rows that a model takes.
#[derive(Debug, Serialize, ToSchema)]
pub struct ColumnView {
    name: String,
    #[schema(value_type = ColumnType)]
    r#type: &'static str,
    /// Whether each row must have it.
    required: bool,
    /// What a row without it gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    default: Option<toml::Value>,
    /// The least number.
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<f64>,
    /// The largest number.
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<f64>,
    /// What a category may be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values: Vec<String>,
}

/// Which version, and how many classes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PredictParameters {
    /// The one that answers calls without a version if none is given: the active one, else the newest that is served.
    version: Option<String>,
    /// How many classes to answer with; the model's own setting if none is given.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000)]
    top_k: Option<WholeNumber<1, MAX_TOP_K>>,
    /// The id of one of one's own stored files, a picture, in place of a body.
    #[param(value_type = Option<Uuid>)]
    file: Option<String>,
}

/// The most classes that may be requested.
const MAX_TOP_K: u32 = 1000;

impl From<inference::ModelStatus> for ModelSummary {
    fn from(status: inference::ModelStatus) -> Self {
        Self {
            state: status.state.name(),
            access: declared(status.access).name(),
            name: status.name,
            version: status.version,
            reason: status.reason,
            sha256: status.sha256,
        }
    }
}

impl From<&Model> for ModelDetails {
    fn from(model: &Model) -> Self {
        let manifest = model.manifest();
        Self {
            name: model.name().into(),
            version: model.version().into(),
            versions: model.versions().to_vec(),
            description: manifest.description.clone(),
            takes_images: model.input_kind() == Some(InputKind::Images),
            takes: model.input_kind().map(InputKind::name),
            columns: manifest.table.iter().flat_map(|table| &table.columns).map(Into::into).collect(),
            price: manifest.price.get(),
            execution_provider: model.execution().provider.name(),
            execution_fallback: model.execution().fallback(),
            inputs: model.inputs().iter().map(Into::into).collect(),
            outputs: model.outputs().iter().map(Into::into).collect(),
        }
    }
}

impl From<&inference::TensorSpec> for TensorView {
    fn from(spec: &inference::TensorSpec) -> Self {
        Self { name: spec.name.clone(), datatype: spec.datatype.name().into(), shape: spec.shape.clone() }
    }
}

impl From<&Column> for ColumnView {
    fn from(column: &Column) -> Self {
        Self {
            name: column.name.clone(),
            r#type: column.kind.name(),
            required: column.is_required(),
            default: column.default.clone(),
            min: column.min,
            max: column.max,
            values: column.values.clone(),
        }
    }
}

/// The models that the caller may use.
#[utoipa::path(get, path = "/api/v1/models", tag = "models", responses((status = 200, body = List<ModelSummary>)))]
pub async fn list(caller: Caller<ModelsRead>, app: web::Data<App>) -> web::Json<List<ModelSummary>> {
    let items = app.models_for(&caller.principal).into_iter().map(Into::into).collect();
    web::Json(List { items, next_cursor: None })
}

/// One model.
#[utoipa::path(get, path = "/api/v1/models/{name}", tag = "models", params(("name" = String, Path)),
    responses((status = 200, body = ModelDetails), (status = 404, description = "No such model for the caller")))]
pub async fn show(
    caller: Caller<ModelsRead>,
    app: web::Data<App>,
    name: Name,
) -> Result<web::Json<ModelDetails>> {
    let model = app.model_for(&caller.principal, &name.0, None)?;
    Ok(web::Json(ModelDetails::from(&*model)))
}

/// Predict from pictures (one as the body, several as parts named `file` of a form, or stored ones by their ids), from
/// rows of named columns, or from texts, as the model's `takes` says.
#[utoipa::path(post, path = "/api/v1/models/{name}/predict", tag = "models",
    params(("name" = String, Path), PredictParameters),
    request_body(content(
        (PictureBytes = "image/png"), (PictureBytes = "image/jpeg"), (PictureBytes = "image/gif"), (PictureBytes = "image/bmp"),
        (PictureBytes = "image/webp"), (PictureBytes = "application/octet-stream"), (PictureForm = "multipart/form-data"),
        (PredictJson = "application/json"))),
    responses((status = 200, body = Predictions), (status = 404, description = "No such model for the caller"),
              (status = 413, description = "A picture is too large, or there are too many pictures, rows or texts"),
              (status = 415, description = "Not what the model takes: a picture, a form or JSON"),
              (status = 504, description = "The deadline has passed")))]
pub async fn predict(
    caller: Caller<ModelsInfer>,
    app: web::Data<App>,
    request: HttpRequest,
    name: Name,
    parameters: Parameters<PredictParameters>,
    body: PredictBody,
) -> Result<HttpResponse> {
    let PredictParameters { version, top_k, file } = parameters.0;
    let top_k = top_k.map(|top_k| top_k.get() as usize);
    let model = app.model_for(&caller.principal, &name.0, version.as_deref())?;
    let body = files::resolve(&app, &caller.principal, &model, body, file.as_deref()).await?;
    let ticket = app.ticket(&caller.principal, caller.arrived);
    let wanted = PredictionRequest::read(&app, &model, body, ticket.deadline).await?;
    let (predictions, charge) = wanted.run(&app, &caller, &request, &model, top_k, ticket).await?;
    let response = predictions.write(&app, caller.principal.account, ticket.deadline).await?;
    charge.take();
    Ok(response)
}
