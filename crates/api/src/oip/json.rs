//! The JSON of an inference call (Open Inference Protocol 2, REST): bytes to tensors and back, no HTTP.
//!
//! Members that are not known are ignored, as the protocol asks. An input's name, type and shape are compared with
//! the model's before its data is read; that the call is complete, the model checks itself.

use std::{collections::BTreeMap, time::Duration};

use inference::{DataType, NamedTensor, Tensor, TensorData, TensorSpec};
use serde::{Deserialize, Serialize, Serializer, ser};
use serde_json::{Value, value::RawValue};

use super::json_data;

/// Most dimensions of a tensor.
const MAX_RANK: usize = 32;

/// A call that was understood.
#[derive(Debug, Default, PartialEq)]
pub struct ParsedInfer {
    /// To be given back as it came.
    pub id: Option<String>,
    /// The inputs in the order of the call.
    pub inputs: Vec<NamedTensor>,
    /// Names of the wanted outputs in the wanted order; empty for all.
    pub outputs: Vec<String>,
    /// How long the caller waits; none where it does not say.
    pub timeout: Option<Duration>,
    /// 1 is the highest; none where the caller does not say.
    pub priority: Option<u64>,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    inputs: Vec<Input<'a>>,
    #[serde(default)]
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Input<'a> {
    name: String,
    /// Wide enough for any number that might be sent, so that the refusal can name it.
    shape: Vec<i128>,
    datatype: String,
    #[serde(default)]
    parameters: Parameters,
    /// Left as text until the type is known, since the members may come in any order.
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    #[serde(default)]
    parameters: Parameters,
}

type Parameters = BTreeMap<String, Value>;

/// Reads the body of an inference call to a model with these inputs. The error says what to change.
pub fn parse_infer_request(body: &[u8], specs: &[TensorSpec]) -> Result<ParsedInfer, String> {
    // The reader would take a list for an object, its items for members in the order of their declaration.
    if body.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err("the body is not an inference request: it must be a JSON object".to_owned());
    }
    let request: Request<'_> = serde_json::from_slice(body)
        .map_err(|error| format!("the body is not an inference request: {error}"))?;
    check_parameters(&request.parameters)?;
    let timeout = whole_number(&request.parameters, "timeout")?.filter(|&microseconds| microseconds > 0);
    let priority = whole_number(&request.parameters, "priority")?.filter(|&priority| priority > 0);
    Ok(ParsedInfer {
        id: request.id,
        inputs: request.inputs.into_iter().map(|given| input(given, specs)).collect::<Result<_, _>>()?,
        outputs: request.outputs.into_iter().map(output).collect::<Result<_, _>>()?,
        timeout: timeout.map(Duration::from_micros),
        priority,
    })
}

fn input(input: Input<'_>, specs: &[TensorSpec]) -> Result<NamedTensor, String> {
    let name = input.name;
    let wrong = |reason: String| format!("input \"{name}\": {reason}");
    check_parameters(&input.parameters).map_err(wrong)?;
    if input.parameters.contains_key("binary_data_size") {
        return Err(wrong("binary data is not supported; give the elements as \"data\"".to_owned()));
    }
    let datatype = input.datatype.parse::<DataType>().map_err(|error| wrong(error.to_string()))?;
    let shape = shape(&input.shape).map_err(wrong)?;
    let spec = TensorSpec::input(specs, &name).map_err(|error| error.to_string())?;
    spec.accept(datatype, &shape).map_err(|error| error.to_string())?;
    let text = input.data.ok_or_else(|| wrong("\"data\" is missing".to_owned()))?;
    let count = inference::element_count(&shape).ok_or_else(|| wrong("\"shape\" is too large".to_owned()))?;
    let data = json_data::read(text.get(), datatype, count).map_err(wrong)?;
    let tensor = Tensor::new(shape, data).map_err(|error| wrong(error.to_string()))?;
    Ok(NamedTensor { name, tensor })
}

fn shape(dimensions: &[i128]) -> Result<Vec<usize>, String> {
    if dimensions.len() > MAX_RANK {
        return Err(format!("\"shape\" has more than {MAX_RANK} dimensions"));
    }
    let size = |&dimension: &i128| {
        usize::try_from(dimension)
            .map_err(|_| format!("dimension {dimension} in \"shape\" is not a size; give the actual number"))
    };
    dimensions.iter().map(size).collect()
}

fn output(output: Output) -> Result<String, String> {
    let wrong = |reason: String| format!("output \"{}\": {reason}", output.name);
    check_parameters(&output.parameters).map_err(wrong)?;
    if output.parameters.contains_key("classification") {
        return Err(wrong("the classification extension is not supported".to_owned()));
    }
    Ok(output.name)
}

/// Values are strings, numbers or booleans. What would change the answer and is not supported is refused; other
/// names have no meaning here and are passed over.
fn check_parameters(parameters: &Parameters) -> Result<(), String> {
    for (name, value) in parameters {
        if !(value.is_string() || value.is_number() || value.is_boolean()) {
            return Err(format!("parameter \"{name}\" must be a string, a number or a boolean"));
        }
        let reserved = matches!(name.as_str(), "sequence_id" | "sequence_start" | "sequence_end" | "headers");
        if reserved || name.starts_with("triton_") || name.starts_with("shared_memory_") {
            return Err(format!("parameter \"{name}\" is reserved and not supported"));
        }
    }
    Ok(())
}

fn whole_number(parameters: &Parameters, name: &str) -> Result<Option<u64>, String> {
    let Some(value) = parameters.get(name) else { return Ok(None) };
    value.as_u64().map(Some).ok_or_else(|| format!("parameter \"{name}\" must be a whole number, 0 or more"))
}

#[derive(Serialize)]
struct Response<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<ResponseOutput<'a>>,
}

#[derive(Serialize)]
struct ResponseOutput<'a> {
    name: &'a str,
    shape: &'a [usize],
    datatype: DataType,
    data: Elements<'a>,
}

/// Elements in one flat list. JSON has no word for what is not a finite number, so `null` stands for it.
struct Elements<'a>(&'a TensorData);

impl Serialize for Elements<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            TensorData::Bool(elements) => elements.serialize(serializer),
            TensorData::Uint8(elements) => elements.serialize(serializer),
            TensorData::Uint16(elements) => elements.serialize(serializer),
            TensorData::Uint32(elements) => elements.serialize(serializer),
            TensorData::Uint64(elements) => elements.serialize(serializer),
            TensorData::Int8(elements) => elements.serialize(serializer),
            TensorData::Int16(elements) => elements.serialize(serializer),
            TensorData::Int32(elements) => elements.serialize(serializer),
            TensorData::Int64(elements) => elements.serialize(serializer),
            TensorData::Fp32(elements) => elements.serialize(serializer),
            TensorData::Fp64(elements) => elements.serialize(serializer),
            TensorData::Bytes(elements) => {
                let texts: Result<Vec<_>, _> =
                    elements.iter().map(|bytes| std::str::from_utf8(bytes)).collect();
                texts.map_err(|_| ser::Error::custom("BYTES that are not UTF-8"))?.serialize(serializer)
            }
            TensorData::Fp16(_) => Err(ser::Error::custom("FP16")),
            TensorData::Bf16(_) => Err(ser::Error::custom("BF16")),
        }
    }
}

/// Writes the answer to an inference call. Fails, naming the reason, where an output cannot be said in JSON: it has
/// type FP16 or BF16, or holds bytes that are not UTF-8.
pub fn render_infer_response(
    model_name: &str,
    model_version: &str,
    id: Option<&str>,
    outputs: &[NamedTensor],
) -> Result<Vec<u8>, String> {
    let outputs = outputs.iter().map(|NamedTensor { name, tensor }| ResponseOutput {
        name,
        shape: tensor.shape(),
        datatype: tensor.data().datatype(),
        data: Elements(tensor.data()),
    });
    let response = Response { model_name, model_version, id, outputs: outputs.collect() };
    serde_json::to_vec(&response)
        .map_err(|error| format!("an output holds {error}, which JSON cannot carry; ask for other outputs"))
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
