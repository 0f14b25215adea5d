//! The bodies of an inference, for the OpenAPI document: they are read and written without these types, straight from
//! JSON to tensors and back.
#![expect(dead_code, reason = "documentation only")]

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

use crate::schema_names::Datatype;

/// An inference request of the Open Inference Protocol.
#[derive(ToSchema)]
pub struct InferenceRequest {
    /// Given back with the answer.
    id: Option<String>,
    /// `timeout` (microseconds), `priority` (1 to 5) and `binary_data_output` have a meaning.
    parameters: Option<BTreeMap<String, Value>>,
    inputs: Vec<InferenceInput>,
    /// All that the model has if none are given.
    outputs: Option<Vec<WantedOutput>>,
}

/// A tensor for the model.
#[derive(ToSchema)]
pub struct InferenceInput {
    name: String,
    shape: Vec<u64>,
    #[schema(value_type = Datatype)]
    datatype: String,
    /// `binary_data_size`: how many bytes of the data behind the JSON are its own; it then has no `data`.
    parameters: Option<BTreeMap<String, Value>>,
    /// Its elements in row-major order, nested or flat.
    data: Option<Vec<Value>>,
}

/// A requested output, and its form.
#[derive(ToSchema)]
pub struct WantedOutput {
    name: String,
    /// `binary_data`: whether it comes behind the JSON; `classification`: how many of its highest values to return.
    parameters: Option<BTreeMap<String, Value>>,
}

/// The answer to an inference request.
#[derive(ToSchema)]
pub struct InferenceResponse {
    model_name: String,
    model_version: String,
    /// The request's, if it had one.
    id: Option<String>,
    outputs: Vec<InferenceOutput>,
}

/// A tensor of the model.
#[derive(ToSchema)]
pub struct InferenceOutput {
    name: String,
    #[schema(value_type = Datatype)]
    datatype: String,
    shape: Vec<u64>,
    /// `binary_data_size`: how many bytes of the data behind the JSON are its own; it then has no `data`.
    parameters: Option<BTreeMap<String, Value>>,
    /// Its elements in row-major order; null for one that is no finite number.
    data: Option<Vec<Value>>,
}
