//! The requests and answers of `predict`.

use std::sync::Arc;
use std::time::Instant;

use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use inference::{InputKind, Model, Outcome, PredictInput, Table, Ticket, Values, Workplace};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::error::{ApiError, Code, Result};
use crate::extract::{PredictBody, read_rows, read_texts};
use crate::files::StoredPictures;
use crate::guard::Caller;
use crate::guard::permission::ModelsInfer;
use crate::metering::Work;
use crate::run::Charge;
use crate::transport::bodies::SMALL;
use crate::transport::{Bodies, Reservation, connections, parts};

/// A request to predict.
pub struct PredictionRequest {
    /// What to predict from.
    pub input: PredictInput,
    /// The names that a form gave the pictures.
    pub filenames: Vec<Option<String>>,
    /// What is metered.
    pub work: Work,
}

impl PredictionRequest {
    /// Reads the body as the model takes it.
    pub async fn read(app: &App, model: &Arc<Model>, body: PredictBody, deadline: Instant) -> Result<Self> {
        match (body, model.input_kind()) {
            (PredictBody::Images(pictures), Some(InputKind::Images) | None) => {
                let (filenames, pictures): (Vec<_>, Vec<Bytes>) =
                    pictures.into_iter().map(|picture| (picture.filename, picture.bytes)).unzip();
                let work = Work::pictures(&pictures);
                Ok(Self { input: PredictInput::Images(pictures), filenames, work })
            }
            (PredictBody::Json(bytes), Some(InputKind::Rows | InputKind::Texts)) => {
                let (length, model) = (bytes.len(), Arc::clone(model));
                let most = app.settings.sizes.max_rows_per_request;
                let size = length + cells(&model, &bytes) * CELL;
                let (input, count) =
                    app.bodies.work(size, deadline, move || parse(&model, &bytes, most)).await??;
                let work = Work::tensors(count, length);
                Ok(Self { input, filenames: vec![None; count], work })
            }
            (_, takes) => Err(elsewhere(model.name(), takes)),
        }
    }

    /// Runs the model. Answers with what that costs, to be taken when the answer is written.
    pub async fn run<'a>(
        self,
        app: &'a App,
        caller: &'a Caller<ModelsInfer>,
        request: &HttpRequest,
        model: &'a Arc<Model>,
        top_k: Option<usize>,
        ticket: Ticket,
    ) -> Result<(Predictions, Charge<'a>)> {
        let Self { input, filenames, work } = self;
        let (run, closed) = (app.begin_run(caller, model, work).await?, connections::closed(request));
        // Pictures stay until they are decoded; what is read of JSON has taken its place.
        let beside = if matches!(input, PredictInput::Images(_)) { work.body() } else { 0 };
        let room = app.bodies.empty_reservation(Some(caller.principal.account)).beside(beside);
        let place = PredictionPlace { bodies: &app.bodies, room, deadline: ticket.deadline };
        let answer = model.predict(input, top_k, ticket, place);
        let (answer, charge) = run.answer(ticket.deadline, closed, answer, |answer| answer.timing).await?;
        Ok((Predictions::of(model, filenames, answer.results), charge))
    }
}

/// Among the large bodies.
struct PredictionPlace<'a> {
    bodies: &'a Bodies,
    room: Reservation,
    deadline: Instant,
}

impl Workplace for PredictionPlace<'_> {
    fn hold(&mut self, bytes: usize) -> std::result::Result<(), inference::Error> {
        self.room.grow_to(bytes).map_err(|error| match error.code {
            Code::TooLarge => inference::Error::TooLarge(error.detail),
            _ => inference::Error::Overloaded,
        })
    }

    async fn work<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::result::Result<T, inference::Error> {
        self.bodies.work(bytes, self.deadline, work).await.map_err(|error| match error.code {
            Code::DeadlineExceeded => inference::Error::Deadline,
            _ => inference::Error::Runtime,
        })
    }
}

/// Work on a cell, in bytes of a body that take as long to read.
const CELL: usize = 8;

/// The cells of as many rows as there can be in a body: each has all of its columns, whatever of them is given.
fn cells(model: &Model, body: &[u8]) -> usize {
    let width = model.table().map_or(0, Table::width);
    // A row takes three bytes, so that a small body and a narrow table need no look; a large body is work anyway.
    if body.len() > SMALL || width.saturating_mul(body.len()) * CELL / 3 <= SMALL {
        return 0;
    }
    body.iter().filter(|byte| **byte == b'{').count().saturating_mul(width)
}

fn parse(model: &Model, bytes: &[u8], most: usize) -> Result<(PredictInput, usize)> {
    if let Some(table) = model.table() {
        let rows = read_rows(bytes, table, most)?;
        let count = rows.len();
        return Ok((PredictInput::Rows(rows), count));
    }
    let texts = model.texts().ok_or_else(|| elsewhere(model.name(), model.input_kind()))?;
    let texts = read_texts(bytes, texts, most)?;
    let count = texts.len();
    Ok((PredictInput::Texts(texts), count))
}

/// The error that says what to send instead.
fn elsewhere(name: &str, takes: Option<InputKind>) -> ApiError {
    let other = |what| ApiError::new(Code::UnsupportedMediaType, format!("The model {name} takes {what}."));
    match takes {
        Some(InputKind::Images) => other(
            "pictures: send one with an image/… Content-Type, several as multipart/form-data, or stored ones as \
                 {\"file\": id} or {\"files\": [id, …]}",
        ),
        Some(InputKind::Rows) => other("rows: send {\"rows\": [{column: value, …}, …]} as application/json"),
        Some(InputKind::Texts) => other("texts: send {\"texts\": [\"…\", …]} as application/json"),
        None => ApiError::new(
            Code::InvalidInput,
            format!("The model {name} takes tensors: send them to /v2/models/{name}/infer."),
        ),
    }
}

/// The model's answers to the pictures, rows or texts, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub struct Predictions {
    model_name: String,
    model_version: String,
    results: Vec<PredictionResult>,
}

/// The model's answer to one picture, row or text: `predictions`, or `values` where it answers with numbers.
#[derive(Debug, Serialize, ToSchema)]
pub struct PredictionResult {
    /// The name that the form gave the picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    filename: Option<String>,
    /// Most probable first; those below the model's threshold are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    predictions: Option<Vec<Prediction>>,
    /// The output's elements; null for one that is no finite number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Value>>)]
    values: Option<Values>,
}

/// One class.
#[derive(Debug, Serialize, ToSchema)]
pub struct Prediction {
    label: String,
    index: usize,
    /// Null: the model gave no number.
    #[schema(value_type = Option<f32>, required)]
    probability: f32,
}

impl From<inference::Prediction> for Prediction {
    fn from(prediction: inference::Prediction) -> Self {
        Self { label: prediction.label, index: prediction.index, probability: prediction.probability }
    }
}

impl Predictions {
    /// The results, each with the name of its file where it has one.
    pub fn of(model: &Model, filenames: Vec<Option<String>>, results: Vec<Outcome>) -> Self {
        let result = |(filename, outcome)| match outcome {
            Outcome::Classes(classes) => {
                let predictions = Some(classes.into_iter().map(Into::into).collect());
                PredictionResult { filename, predictions, values: None }
            }
            Outcome::Values(values) => PredictionResult { filename, predictions: None, values: Some(values) },
        };
        Self {
            model_name: model.name().into(),
            model_version: model.version().into(),
            results: filenames.into_iter().zip(results).map(result).collect(),
        }
    }

    /// Writes the answer, where there is room for it, off the web workers where it is long.
    pub async fn write(self, app: &App, account: Uuid, deadline: Instant) -> Result<HttpResponse> {
        let size = self.size();
        let room = app.bodies.reserve(Some(account), size)?;
        let body = app.bodies.work(size, deadline, move || serde_json::to_vec(&self)).await?;
        let body = body.map_err(ApiError::internal)?;
        let mut response = HttpResponse::Ok();
        response.content_type("application/json");
        Ok(parts::finish(&mut response, body, Vec::new(), room))
    }

    /// How long the answer becomes, about.
    fn size(&self) -> usize {
        /// Of one class beside its label, and of one number or what stands around one text.
        const CLASS: usize = 48;
        const NUMBER: usize = 12;
        const DOUBLE: usize = 24;
        let class = |prediction: &Prediction| CLASS + prediction.label.len();
        let numbers = |values: &Values| match values {
            Values::Texts(texts) => texts.iter().map(|text| NUMBER + text.len()).sum(),
            Values::Doubles(values) => values.len() * DOUBLE,
            values => values.len() * NUMBER,
        };
        let result = |result: &PredictionResult| {
            let classes: usize = result.predictions.iter().flatten().map(class).sum();
            classes + result.values.as_ref().map_or(0, numbers)
        };
        self.results.iter().map(result).sum()
    }
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
    #[schema(value_type = Vec<PictureBytes>)]
    file: Vec<Vec<u8>>,
}

/// Rows for a model that takes rows, texts for one that takes texts, stored files for one that takes pictures.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "documentation only: the body is read as the model's columns say")]
pub enum PredictJson {
    /// Rows of named columns.
    Rows(Rows),
    /// Texts.
    Texts(Texts),
    /// Stored files.
    Stored(StoredPictures),
}

/// Rows of named columns; which, and what they may hold, the model's `columns` say.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "documentation only: the body is read as the model's columns say")]
pub struct Rows {
    /// At most MAX_ROWS_PER_REQUEST. A column that is null counts as not given.
    #[schema(value_type = Vec<std::collections::BTreeMap<String, Value>>)]
    rows: Vec<Value>,
}

/// Texts.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "documentation only: the body is read as the model's columns say")]
pub struct Texts {
    /// At most MAX_ROWS_PER_REQUEST.
    texts: Vec<String>,
}
