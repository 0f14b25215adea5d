//! Models that the caller may use, and predictions from pictures.

use actix_web::web;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::lists::List;
use crate::app::App;
use crate::error::{ApiError, Result};
use crate::extract::{Images, Name, Parameters};
use crate::guard::Caller;
use crate::guard::permission::{ModelsInfer, ModelsRead};
use crate::metering::Work;

/// A model in a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelSummary {
    name: String,
    version: String,
    /// `ready` or `unavailable`.
    state: &'static str,
    /// Why it is unavailable.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// `everyone` or `granted`.
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
    inputs: Vec<TensorView>,
    outputs: Vec<TensorView>,
}

/// An input or output of a model.
#[derive(Debug, Serialize, ToSchema)]
pub struct TensorView {
    name: String,
    datatype: String,
    /// -1 where any size goes.
    shape: Vec<i64>,
}

/// What the model says of the pictures, in the order in which they came.
#[derive(Debug, Serialize, ToSchema)]
pub struct Predictions {
    model_name: String,
    model_version: String,
    results: Vec<PictureResult>,
}

/// What the model says of one picture.
#[derive(Debug, Serialize, ToSchema)]
pub struct PictureResult {
    /// The name that the form gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    filename: Option<String>,
    /// Most probable first.
    predictions: Vec<Prediction>,
}

/// One class.
#[derive(Debug, Serialize, ToSchema)]
pub struct Prediction {
    label: String,
    index: usize,
    probability: f32,
}

/// Which version, and how many classes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PredictParameters {
    /// The newest that is served if none is given.
    version: Option<String>,
    /// How many classes to answer with; the model's own setting if none is given.
    #[param(minimum = 1, maximum = 1000)]
    top_k: Option<usize>,
}

/// Most classes that may be asked for.
const MAX_TOP_K: usize = 1000;

impl From<inference::ModelStatus> for ModelSummary {
    fn from(status: inference::ModelStatus) -> Self {
        Self {
            state: if status.state == inference::State::Ready { "ready" } else { "unavailable" },
            access: if status.access == inference::Access::Granted { "granted" } else { "everyone" },
            name: status.name,
            version: status.version,
            reason: status.reason,
            sha256: status.sha256,
        }
    }
}

impl From<&inference::TensorSpec> for TensorView {
    fn from(spec: &inference::TensorSpec) -> Self {
        Self { name: spec.name.clone(), datatype: spec.datatype.name().into(), shape: spec.shape.clone() }
    }
}

impl From<inference::Prediction> for Prediction {
    fn from(prediction: inference::Prediction) -> Self {
        Self { label: prediction.label, index: prediction.index, probability: prediction.probability }
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
    Ok(web::Json(ModelDetails {
        name: model.name().into(),
        version: model.version().into(),
        versions: model.versions().to_vec(),
        description: model.manifest().description.clone(),
        takes_images: model.takes_images(),
        inputs: model.inputs().iter().map(Into::into).collect(),
        outputs: model.outputs().iter().map(Into::into).collect(),
    }))
}

/// Classify pictures: one as the body, or several as parts named `file` of a form.
#[utoipa::path(post, path = "/api/v1/models/{name}/predict", tag = "models",
    params(("name" = String, Path), PredictParameters),
    request_body(content(
        (PictureBytes = "image/png"), (PictureBytes = "image/jpeg"), (PictureBytes = "image/gif"), (PictureBytes = "image/bmp"),
        (PictureBytes = "image/webp"), (PictureBytes = "application/octet-stream"), (PictureForm = "multipart/form-data"))),
    responses((status = 200, body = Predictions), (status = 404, description = "No such model for the caller"),
              (status = 413, description = "A picture is too large"), (status = 415, description = "Not a picture or a form"),
              (status = 504, description = "The deadline has passed")))]
pub async fn predict(
    caller: Caller<ModelsInfer>,
    app: web::Data<App>,
    name: Name,
    parameters: Parameters<PredictParameters>,
    images: Images,
) -> Result<web::Json<Predictions>> {
    let PredictParameters { version, top_k } = parameters.0;
    if top_k.is_some_and(|top_k| !(1..=MAX_TOP_K).contains(&top_k)) {
        return Err(ApiError::field("top_k", format!("use 1 to {MAX_TOP_K}")));
    }
    let model = app.model_for(&caller.principal, &name.0, version.as_deref())?;
    let (filenames, pictures): (Vec<_>, Vec<_>) =
        images.0.into_iter().map(|picture| (picture.filename, picture.bytes)).unzip();
    let work = Work::pictures(&pictures);
    let ticket = app.ticket(&caller.principal, caller.arrived);
    let answer = App::in_time(ticket.deadline, model.classify(pictures, top_k, ticket)).await;
    let answer =
        app.metering.settle((&caller.principal, caller.origin.address), &model, work, answer, |answer| {
            answer.timing
        })?;
    let results = filenames.into_iter().zip(answer.results).map(|(filename, predictions)| PictureResult {
        filename,
        predictions: predictions.into_iter().map(Into::into).collect(),
    });
    Ok(web::Json(Predictions {
        model_name: model.name().into(),
        model_version: model.version().into(),
        results: results.collect(),
    }))
}

/// A picture, as a file holds it.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "documentation only: the body is read as it streams in")]
pub struct PictureBytes(Vec<u8>);

/// A form with one or more pictures.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documentation only: the form is read as it streams in")]
pub struct PictureForm {
    /// The pictures; the part may occur several times.
    #[schema(value_type = Vec<String>, content_media_type = "application/octet-stream")]
    file: Vec<Vec<u8>>,
}
