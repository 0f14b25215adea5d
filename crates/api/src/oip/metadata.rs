//! The protocol's metadata of the server and its models, as JSON.

use inference::{Model, TensorSpec};
use serde::Serialize;
use utoipa::ToSchema;

use crate::schema_names::Datatype;

/// Extensions of the protocol that work, and so may be announced.
const EXTENSIONS: [&str; 7] = [
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
];

/// What the protocol calls the format of the models.
const PLATFORM: &str = "onnx_onnxv1";

/// The answer to `GET /v2`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ServerMetadata {
    /// Always `modelgate`.
    pub name: String,
    /// The server's version.
    pub version: String,
    /// Extensions of the protocol that are supported.
    pub extensions: Vec<String>,
}

impl ServerMetadata {
    /// This server's.
    pub fn of(version: &str) -> Self {
        let extensions = EXTENSIONS.map(str::to_owned).to_vec();
        Self { name: "modelgate".to_owned(), version: version.to_owned(), extensions }
    }
}

/// The answer to `GET /v2/health/live`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ServerLive {
    /// Always true: a server that is not alive does not answer.
    pub live: bool,
}

/// The answer to `GET /v2/health/ready`. Clients differ in the member that they look at, so it has both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ServerReady {
    /// Always true.
    pub live: bool,
    /// Whether calls are taken.
    pub ready: bool,
}

/// The answer to `GET /v2/models/{name}/ready`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ModelReady {
    /// Name of the model.
    pub name: String,
    /// Whether it can be called.
    pub ready: bool,
}

/// The answer to `GET /v2/models/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ModelMetadata {
    /// Name of the model.
    pub name: String,
    /// The versions that are served, lowest first.
    pub versions: Vec<String>,
    /// Format of the model.
    pub platform: String,
    /// Its inputs.
    pub inputs: Vec<TensorMetadata>,
    /// Its outputs.
    pub outputs: Vec<TensorMetadata>,
}

/// An input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TensorMetadata {
    /// Its name.
    pub name: String,
    /// Type of its elements, such as `FP32`.
    #[schema(value_type = Datatype)]
    pub datatype: String,
    /// Its dimensions; -1 is variable.
    pub shape: Vec<i64>,
}

impl From<&TensorSpec> for TensorMetadata {
    fn from(spec: &TensorSpec) -> Self {
        let TensorSpec { name, datatype, shape, .. } = spec;
        Self { name: name.clone(), datatype: datatype.to_string(), shape: shape.clone() }
    }
}

impl From<&Model> for ModelMetadata {
    fn from(model: &Model) -> Self {
        let tensors = |specs: &[TensorSpec]| specs.iter().map(TensorMetadata::from).collect();
        Self {
            name: model.name().to_owned(),
            versions: model.versions().to_vec(),
            platform: PLATFORM.to_owned(),
            inputs: tensors(model.inputs()),
            outputs: tensors(model.outputs()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use inference::DataType;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_server_has_all_three_members() {
        let metadata = serde_json::to_value(ServerMetadata::of("1.2.3")).unwrap();
        let expected = json!({"name": "modelgate", "version": "1.2.3", "extensions": EXTENSIONS});
        assert_eq!(metadata, expected);
    }

    #[test]
    fn tensors_are_named_as_the_protocol_does() {
        let spec = TensorSpec {
            name: "x".to_owned(),
            datatype: DataType::Bytes,
            shape: vec![-1, 3],
            symbols: Vec::new(),
            any_rank: false,
        };
        let metadata = serde_json::to_value(TensorMetadata::from(&spec)).unwrap();
        assert_eq!(metadata, json!({"name": "x", "datatype": "BYTES", "shape": [-1, 3]}));
    }
}
