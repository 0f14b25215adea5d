//! A model's configuration, as far as the protocol's clients read it: benchmarking tools request it before they call.

use actix_web::web;
use inference::{DataType, Model, TensorSpec, Ticket};
use serde::Serialize;
use utoipa::ToSchema;

use super::rest::V2Error;
use crate::app::App;
use crate::error::Result;
use crate::extract::{ModelVersion, Name};
use crate::guard::Caller;
use crate::guard::permission::ModelsRead;

/// How the model is run, in the words of the protocol's reference server.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelConfig {
    /// Name of the model.
    pub name: String,
    /// Always `onnxruntime_onnx`.
    pub platform: &'static str,
    /// Always `onnxruntime`.
    pub backend: &'static str,
    /// Rows of calls that run together at most. 0 where each call runs alone; the dimensions below then include the
    /// batch, and without it otherwise.
    pub max_batch_size: usize,
    /// Its inputs.
    pub input: Vec<TensorConfig>,
    /// Its outputs.
    pub output: Vec<TensorConfig>,
    /// How many sessions run it, and on what.
    pub instance_group: Vec<InstanceGroup>,
    /// Present where calls run together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynamic_batching: Option<DynamicBatching>,
    /// Whether answers are kept.
    pub response_cache: ResponseCache,
    /// The file of the model in its version's folder.
    pub default_model_filename: &'static str,
}

/// An input or output.
#[derive(Debug, Serialize, ToSchema)]
pub struct TensorConfig {
    /// Its name.
    pub name: String,
    /// Type of its elements, such as `TYPE_FP32`; `TYPE_STRING` is what the protocol calls BYTES elsewhere.
    pub data_type: String,
    /// -1 where any size goes.
    pub dims: Vec<i64>,
}

/// Sessions of one kind.
#[derive(Debug, Serialize, ToSchema)]
pub struct InstanceGroup {
    /// Their name.
    pub name: String,
    /// `KIND_CPU`, `KIND_GPU`, or `KIND_MODEL` where the execution provider chooses the device.
    pub kind: &'static str,
    /// How many.
    pub count: usize,
}

/// Calls that wait run together.
#[derive(Debug, Serialize, ToSchema)]
pub struct DynamicBatching {
    /// How long a call waits for others at most, in microseconds.
    pub max_queue_delay_microseconds: u64,
    /// Priorities that a call may have.
    pub priority_levels: u32,
    /// The one that a call has which names none.
    pub default_priority_level: u32,
}

/// Whether answers are kept.
#[derive(Debug, Serialize, ToSchema)]
pub struct ResponseCache {
    /// Whether answers are kept.
    pub enable: bool,
}

impl ModelConfig {
    /// Of this model.
    pub fn of(model: &Model) -> Self {
        let rows = model.max_batch_rows();
        let table = model.manifest().batching.as_ref().filter(|_| rows.is_some());
        let batching = |table: &inference::Batching| DynamicBatching {
            max_queue_delay_microseconds: table.max_delay_us,
            priority_levels: Ticket::PRIORITIES,
            default_priority_level: Ticket::DEFAULT_PRIORITY,
        };
        let tensors = |specs: &[TensorSpec]| specs.iter().map(|spec| tensor(spec, rows.is_some())).collect();
        let group = InstanceGroup {
            name: format!("{}_0", model.name()),
            kind: model.execution().provider.kind(),
            count: model.instances(),
        };
        Self {
            name: model.name().to_owned(),
            platform: "onnxruntime_onnx",
            backend: "onnxruntime",
            max_batch_size: rows.unwrap_or(0),
            input: tensors(model.inputs()),
            output: tensors(model.outputs()),
            instance_group: vec![group],
            dynamic_batching: table.map(batching),
            response_cache: ResponseCache { enable: model.caches() },
            default_model_filename: inference::MODEL_FILE,
        }
    }
}

fn tensor(spec: &TensorSpec, batched: bool) -> TensorConfig {
    let data_type = match spec.datatype {
        DataType::Bytes => "TYPE_STRING".to_owned(),
        datatype => format!("TYPE_{datatype}"),
    };
    let dims = spec.shape.iter().skip(usize::from(batched)).copied().collect();
    TensorConfig { name: spec.name.clone(), data_type, dims }
}

/// How a model is run.
#[utoipa::path(get, path = "/v2/models/{name}/config", tag = "v2", params(("name" = String, Path)),
    responses((status = 200, body = ModelConfig), (status = 404, body = V2Error, description = "No such model")))]
pub async fn config(
    caller: Caller<ModelsRead>,
    app: web::Data<App>,
    name: Name,
) -> Result<web::Json<ModelConfig>> {
    Ok(web::Json(ModelConfig::of(&*app.model_for(&caller.principal, &name.0, None)?)))
}

/// How a version of a model is run.
#[utoipa::path(get, path = "/v2/models/{name}/versions/{version}/config", tag = "v2",
    params(("name" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = ModelConfig), (status = 404, body = V2Error, description = "No such version")))]
pub async fn version_config(
    caller: Caller<ModelsRead>,
    app: web::Data<App>,
    name: Name,
    version: ModelVersion,
) -> Result<web::Json<ModelConfig>> {
    Ok(web::Json(ModelConfig::of(&*app.model_for(&caller.principal, &name.0, Some(&version.0))?)))
}
