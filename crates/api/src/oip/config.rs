//! A model's configuration, as far as the protocol's clients read it: benchmarking tools request it before they call.

use actix_web::web;
use inference::{DataType, Layout, Manifest, Model, TensorSpec, Ticket};
use serde::Serialize;
use utoipa::ToSchema;

use super::rest::V2Error;
use crate::app::App;
use crate::error::Result;
use crate::extract::{ModelVersion, Name};
use crate::guard::Caller;
use crate::guard::permission::ModelsRead;
use crate::schema_names::PictureFormat;

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
    pub input: Vec<InputConfig>,
    /// Its outputs.
    pub output: Vec<OutputConfig>,
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

/// An input.
#[derive(Debug, Serialize, ToSchema)]
pub struct InputConfig {
    /// Its name.
    pub name: String,
    /// Type of its elements, such as `TYPE_FP32`; `TYPE_STRING` is what the protocol calls BYTES elsewhere.
    pub data_type: String,
    /// `FORMAT_NCHW` or `FORMAT_NHWC` where it takes pictures and the dimensions are those of one; else `FORMAT_NONE`.
    #[schema(value_type = PictureFormat)]
    pub format: &'static str,
    /// -1 where any size goes.
    pub dims: Vec<i64>,
}

/// An output.
#[derive(Debug, Serialize, ToSchema)]
pub struct OutputConfig {
    /// Its name.
    pub name: String,
    /// Type of its elements, as an input's.
    pub data_type: String,
    /// -1 where any size goes.
    pub dims: Vec<i64>,
    /// The file with its labels in the model's folder; empty where it has none.
    pub label_filename: String,
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
        let (manifest, batched) = (model.manifest(), rows.is_some());
        let input = |spec| InputConfig::of(spec, manifest, batched);
        let output = |spec| OutputConfig::of(spec, manifest, batched);
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
            input: model.inputs().iter().map(input).collect(),
            output: model.outputs().iter().map(output).collect(),
            instance_group: vec![group],
            dynamic_batching: table.map(batching),
            response_cache: ResponseCache { enable: model.caches() },
            default_model_filename: inference::MODEL_FILE,
        }
    }
}

impl InputConfig {
    fn of(spec: &TensorSpec, manifest: &Manifest, batched: bool) -> Self {
        let dims = dims(spec, batched);
        let image = manifest.image.as_ref().filter(|image| image.input == spec.name && dims.len() == 3);
        let format = match image.map(|image| image.layout) {
            Some(Layout::Nchw) => "FORMAT_NCHW",
            Some(Layout::Nhwc) => "FORMAT_NHWC",
            Some(Layout::Flat) | None => "FORMAT_NONE",
        };
        Self { name: spec.name.clone(), data_type: data_type(spec), format, dims }
    }
}

impl OutputConfig {
    fn of(spec: &TensorSpec, manifest: &Manifest, batched: bool) -> Self {
        let classes = manifest.classification.as_ref().filter(|classes| classes.output == spec.name);
        let label_filename = classes.and_then(|classes| classes.labels.clone()).unwrap_or_default();
        Self {
            name: spec.name.clone(),
            data_type: data_type(spec),
            dims: dims(spec, batched),
            label_filename,
        }
    }
}

fn data_type(spec: &TensorSpec) -> String {
    match spec.datatype {
        DataType::Bytes => "TYPE_STRING".to_owned(),
        datatype => format!("TYPE_{datatype}"),
    }
}

fn dims(spec: &TensorSpec, batched: bool) -> Vec<i64> {
    spec.shape.iter().skip(usize::from(batched)).copied().collect()
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
