//! Inference over REST: from the request to tensors, through the model, and back.

use std::sync::Arc;
use std::time::Instant;

use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, VARY};
use actix_web::{HttpRequest, HttpResponse, web};
use inference::{InferRequest, Model, NamedTensor, Ticket};

use super::classification::{self, classify};
use super::described::{InferenceRequest, InferenceResponse};
use super::request::{self, Layout, ParsedInfer, Signature, WantedOutput};
use super::response::{OutputTensor, Rendered, render, written_size};
use super::rest::V2Error;
use crate::app::App;
use crate::error::{ApiError, Code, Result};
use crate::extract::{InferBody, ModelVersion, Name};
use crate::guard::Caller;
use crate::guard::permission::ModelsInfer;
use crate::metering::Work;
use crate::run::Charge;
use crate::transport::{Encoding, Reservation, connections, parts};

/// The header that says how long the JSON before the binary data is.
pub const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

const JSON: &str = "application/json";
const BINARY: &str = "application/octet-stream";

/// Run a model on tensors.
#[utoipa::path(post, path = "/v2/models/{name}/infer", tag = "v2", params(("name" = String, Path), JsonLength),
    request_body(description = "An inference request of the Open Inference Protocol, its tensors in the JSON or after it; where all of it is binary data, nothing is a tensor of no rows",
        content((Option<InferenceRequest> = "application/json"), (ref("#/components/schemas/TensorBytes") = "application/octet-stream"))),
    responses((status = 200, description = "Its answer", content((InferenceResponse = "application/json"), (TensorBytes = "application/octet-stream"))),
              (status = 404, body = V2Error, description = "No such model"),
              (status = 413, body = V2Error, description = "Too large"),
              (status = 415, body = V2Error, description = "Neither JSON nor announced binary data"),
              (status = 504, body = V2Error, description = "The deadline has passed")))]
pub async fn infer(
    caller: Caller<ModelsInfer>,
    app: web::Data<App>,
    request: HttpRequest,
    name: Name,
    body: InferBody,
) -> Result<HttpResponse> {
    let model = app.model_for(&caller.principal, &name.0, None)?;
    run(&app, &caller, &request, &model, body).await
}

/// Run a version of a model on tensors.
#[utoipa::path(post, path = "/v2/models/{name}/versions/{version}/infer", tag = "v2",
    params(("name" = String, Path), ("version" = String, Path), JsonLength),
    request_body(description = "An inference request of the Open Inference Protocol, its tensors in the JSON or after it; where all of it is binary data, nothing is a tensor of no rows",
        content((Option<InferenceRequest> = "application/json"), (ref("#/components/schemas/TensorBytes") = "application/octet-stream"))),
    responses((status = 200, description = "Its answer", content((InferenceResponse = "application/json"), (TensorBytes = "application/octet-stream"))),
              (status = 404, body = V2Error, description = "No such version"),
              (status = 413, body = V2Error, description = "Too large"),
              (status = 415, body = V2Error, description = "Neither JSON nor announced binary data"),
              (status = 504, body = V2Error, description = "The deadline has passed")))]
pub async fn infer_version(
    caller: Caller<ModelsInfer>,
    app: web::Data<App>,
    request: HttpRequest,
    name: Name,
    version: ModelVersion,
    body: InferBody,
) -> Result<HttpResponse> {
    let model = app.model_for(&caller.principal, &name.0, Some(&version.0))?;
    run(&app, &caller, &request, &model, body).await
}

async fn run(
    app: &App,
    caller: &Caller<ModelsInfer>,
    request: &HttpRequest,
    model: &Arc<Model>,
    body: InferBody,
) -> Result<HttpResponse> {
    let layout = layout(request.headers())?;
    let encoding = Encoding::of_answer(request.headers());
    let ticket = app.ticket(&caller.principal, caller.arrived);
    let (length, bytes, of) = (body.0.len(), body.0, Arc::clone(model));
    let parse = move || {
        let signature = Signature { inputs: of.inputs(), outputs: of.outputs() };
        request::parse(&bytes, layout, signature)
    };
    let parsed = app.bodies.work(length, ticket.deadline, parse).await?.map_err(invalid)?;
    // The body is gone; the tensors, which may be much larger, are here until they are answered.
    let tensors = parsed.inputs.iter().map(|input| input.tensor.data().size()).sum();
    let tensors = app.bodies.reserve(Some(caller.principal.account), tensors)?;
    let call = ReceivedCall { parsed, size: length, held: tensors.bytes() };
    let CompletedCall { id, answer, wanted: outputs, size, room, charge } =
        perform(app, caller, model, ticket, call, connections::closed(request)).await?;
    drop(tensors);
    let of = Arc::clone(model);
    let write = move || {
        let outputs = output_tensors(classified(answer, &outputs, &of)?, &outputs);
        let rendered = render(of.name(), of.version(), id.as_deref(), outputs)?;
        let packed = encoding.and_then(|encoding| encoding.encode(&rendered.whole()));
        Ok::<_, String>((rendered, packed))
    };
    let (rendered, packed) = app.bodies.work(size, ticket.deadline, write).await?.map_err(invalid)?;
    charge.take();
    Ok(respond(rendered, encoding.zip(packed), room))
}

fn respond(rendered: Rendered, packed: Option<(Encoding, Vec<u8>)>, room: Reservation) -> HttpResponse {
    let Rendered { body, lent, json_length } = rendered;
    let mut response = HttpResponse::Ok();
    response.insert_header((VARY, "accept-encoding"));
    match json_length {
        Some(length) => response.content_type(BINARY).insert_header((JSON_LENGTH, length)),
        None => response.content_type(JSON),
    };
    match packed {
        Some((encoding, packed)) => {
            response.insert_header((CONTENT_ENCODING, encoding.name()));
            parts::finish(&mut response, packed, Vec::new(), room)
        }
        None => parts::finish(&mut response, body, lent, room),
    }
}

/// A call that was understood, over whichever surface it came.
pub struct ReceivedCall {
    /// What it asks for.
    pub parsed: ParsedInfer,
    /// How many bytes its body took.
    pub size: usize,
    /// For how many bytes it has room already.
    pub held: usize,
}

/// A call that was run.
pub struct CompletedCall<'a> {
    /// To be given back as it came.
    pub id: Option<String>,
    /// The outputs in the wanted order, as the model gave them.
    pub answer: Vec<NamedTensor>,
    /// How they are wanted.
    pub wanted: Vec<WantedOutput>,
    /// How much memory they take until they are written, about.
    pub size: usize,
    /// The room for that.
    pub room: Reservation,
    /// To be taken when they are written.
    pub charge: Charge<'a>,
}

/// Runs a call; `closed` ends when nobody waits for the answer any more.
pub async fn perform<'a>(
    app: &'a App,
    caller: &'a Caller<ModelsInfer>,
    model: &'a Model,
    ticket: Ticket,
    call: ReceivedCall,
    closed: impl Future<Output = ()>,
) -> Result<CompletedCall<'a>> {
    let ReceivedCall { parsed, size, held } = call;
    let ParsedInfer { id, inputs, outputs: wanted, timeout, priority } = parsed;
    let rows = model.rows(&inputs);
    let wished = timeout.and_then(|timeout| caller.arrived.checked_add(timeout));
    let ticket = Ticket { priority: caller.principal.priority(priority), ..with_deadline(ticket, wished) };
    let outputs = wanted.iter().map(|output| output.name.clone()).collect();
    let work = Work::tensors(rows, size);
    let run = app.begin_run(caller, model, work).await?;
    let answer = model.infer(InferRequest { inputs, outputs, ticket });
    let (answer, charge) = run.answer(ticket.deadline, closed, answer, |answer| answer.timing).await?;
    let sizes = answer.outputs.iter().zip(&wanted).map(|(output, wanted)| match wanted.classes {
        Some(classes) => classification::size(&output.tensor, classes),
        None => Ok(written_size(output, wanted.binary)),
    });
    let size = sizes.sum::<std::result::Result<usize, String>>().map_err(invalid)?;
    let mut room = app.bodies.empty_reservation(Some(caller.principal.account)).beside(held);
    room.grow_to(size)?;
    Ok(CompletedCall { id, answer: answer.outputs, wanted, size, room, charge })
}

/// What is wrong with the tensors of a call.
pub fn invalid(message: String) -> ApiError {
    ApiError::new(Code::InvalidInput, message)
}

/// Puts the highest values in the place of the outputs of which those are wanted.
pub fn classified(
    outputs: Vec<NamedTensor>,
    wanted: &[WantedOutput],
    model: &Model,
) -> std::result::Result<Vec<NamedTensor>, String> {
    let each = |(output, wanted): (NamedTensor, &WantedOutput)| {
        let Some(classes) = wanted.classes else { return Ok(output) };
        let tensor = classify(&output.tensor, classes, model.labels(&output.name));
        let tensor = tensor.map_err(|reason| format!("output \"{}\": {reason}", output.name))?;
        Ok(NamedTensor { tensor, ..output })
    };
    outputs.into_iter().zip(wanted).map(each).collect()
}

/// The model gives the outputs in the order in which they were wanted.
fn output_tensors(outputs: Vec<NamedTensor>, wanted: &[WantedOutput]) -> Vec<OutputTensor> {
    outputs
        .into_iter()
        .zip(wanted)
        .map(|(output, wanted)| OutputTensor { output, binary: wanted.binary })
        .collect()
}

/// Where the body's parts are, by its headers.
fn layout(headers: &HeaderMap) -> Result<Layout> {
    let mut lengths = headers.get_all(JSON_LENGTH);
    let layout = match (lengths.next(), lengths.next()) {
        (None, _) => Layout::Json,
        (Some(length), None) => json_length(length.as_bytes())?,
        (Some(_), Some(_)) => return Err(wrong_length()),
    };
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    // Clients of the protocol often leave the media type out, and curl then says that it sends a form; one says that
    // JSON is octets.
    let taken = ["", JSON, BINARY, "application/x-www-form-urlencoded"];
    if taken.iter().any(|taken| kind.eq_ignore_ascii_case(taken)) {
        return Ok(layout);
    }
    Err(ApiError::new(
        Code::UnsupportedMediaType,
        "Send the tensors as JSON, with Content-Type: application/json, or with binary data behind the JSON, with \
         Content-Type: application/octet-stream and Inference-Header-Content-Length.",
    ))
}

fn json_length(digits: &[u8]) -> Result<Layout> {
    let digits =
        std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        None => Err(wrong_length()),
        Some(0) => Ok(Layout::Raw),
        Some(length) => Ok(Layout::Mixed(length)),
    }
}

fn wrong_length() -> ApiError {
    ApiError::new(
        Code::MalformedRequest,
        "Inference-Header-Content-Length must be one whole number: how many bytes of the body are JSON.",
    )
}

/// A caller may wait for less long than the server would let them.
pub fn with_deadline(ticket: Ticket, wished: Option<Instant>) -> Ticket {
    Ticket { deadline: wished.map_or(ticket.deadline, |wished| wished.min(ticket.deadline)), ..ticket }
}

/// JSON, then the tensors that it announces with `binary_data_size`, in its order.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "documentation only")]
pub struct TensorBytes(Vec<u8>);

/// Where the binary data begins.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "documentation only: the header is read as it stands")]
pub struct JsonLength {
    /// How many bytes of the body are JSON; what follows is binary data. 0: all of it is, for the model's only input.
    #[param(rename = "Inference-Header-Content-Length")]
    inference_header_content_length: Option<u64>,
}
