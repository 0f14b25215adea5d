//! Tensors in the protocol's messages: to the model's, and back. No gRPC.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use inference::{DataType, NamedTensor, TensorData, TensorSpec};
use serde_json::Value;

use super::proto::inference::infer_parameter::ParameterChoice;
use super::proto::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use super::proto::inference::model_infer_response::InferOutputTensor;
use super::proto::inference::{InferParameter, InferTensorContents, ModelInferRequest};
use crate::oip::binary;
use crate::oip::parameters::Parameters;
use crate::oip::request::{ParsedInfer, Signature, WantedOutput, all_or, check_id, fitting, wanted};

/// Outputs are always given as bytes, which can carry every type.
const AS_BYTES: bool = true;

/// Reads a call to a model of this signature. The error says what to change.
pub fn read(message: ModelInferRequest, model: Signature<'_>) -> Result<ParsedInfer, String> {
    let ModelInferRequest { id, parameters: given, inputs, outputs, raw_input_contents: raw, .. } = message;
    check_id(&id)?;
    let given = parameters(given)?;
    if !raw.is_empty() && inputs.iter().any(|input| input.contents.is_some()) {
        return Err("there are both \"contents\" and \"raw_input_contents\"; give one of them".to_owned());
    }
    if !raw.is_empty() && raw.len() != inputs.len() {
        return Err(format!(
            "\"raw_input_contents\" has {} entries, but there are {} inputs; it has one for each input, or none at all",
            raw.len(),
            inputs.len()
        ));
    }
    let mut raw = raw.into_iter();
    let timeout = given.whole_number("timeout")?.filter(|&microseconds| microseconds > 0);
    let inputs = inputs.into_iter().map(|tensor| input(tensor, raw.next(), model.inputs));
    let listed = outputs.into_iter().map(output).collect::<Result<_, _>>()?;
    Ok(ParsedInfer {
        id: (!id.is_empty()).then_some(id),
        inputs: inputs.collect::<Result<_, _>>()?,
        outputs: all_or(listed, AS_BYTES, model.outputs)?,
        timeout: timeout.map(Duration::from_micros),
        priority: given.whole_number("priority")?.unwrap_or_default(),
    })
}

/// `raw` are the elements as bytes; none where they are in the tensor itself.
fn input(tensor: InferInputTensor, raw: Option<Bytes>, specs: &[TensorSpec]) -> Result<NamedTensor, String> {
    let InferInputTensor { name, datatype, shape, parameters: given, contents } = tensor;
    parameters(given).map_err(|reason| format!("input \"{name}\": {reason}"))?;
    let size = |&size: &i64| size.try_into().ok();
    fitting(name, &datatype, &shape, size, specs, |datatype, count| match raw {
        Some(bytes) => binary::read(&bytes, datatype, count),
        None => elements(contents.unwrap_or_default(), datatype),
    })
}

fn output(output: InferRequestedOutputTensor) -> Result<WantedOutput, String> {
    let InferRequestedOutputTensor { name, parameters: given } = output;
    let given = parameters(given).map_err(|reason| format!("output \"{name}\": {reason}"))?;
    wanted(name, &given, AS_BYTES).map(|wanted| WantedOutput { binary: AS_BYTES, ..wanted })
}

/// Elements that are given by number or text, in the member that belongs to their type and in no other.
fn elements(contents: InferTensorContents, datatype: DataType) -> Result<TensorData, String> {
    let member = member_of(datatype).ok_or_else(|| {
        format!("elements of type {datatype} have no member in \"contents\"; send \"raw_input_contents\"")
    })?;
    if let Some(other) = members(&contents).into_iter().find(|other| *other != member) {
        return Err(format!("elements of type {datatype} belong into \"{member}\", not into \"{other}\""));
    }
    let whole = |number: i64| format!("{number} is out of the range of {datatype}");
    macro_rules! narrowed {
        ($variant:ident, $numbers:expr) => {
            $numbers
                .into_iter()
                .map(|number| number.try_into().map_err(|_| whole(number.into())))
                .collect::<Result<_, _>>()
                .map(TensorData::$variant)
        };
    }
    match datatype {
        DataType::Bool => Ok(TensorData::Bool(contents.bool_contents)),
        DataType::Int8 => narrowed!(Int8, contents.int_contents),
        DataType::Int16 => narrowed!(Int16, contents.int_contents),
        DataType::Int32 => Ok(TensorData::Int32(contents.int_contents)),
        DataType::Int64 => Ok(TensorData::Int64(contents.int64_contents)),
        DataType::Uint8 => narrowed!(Uint8, contents.uint_contents),
        DataType::Uint16 => narrowed!(Uint16, contents.uint_contents),
        DataType::Uint32 => Ok(TensorData::Uint32(contents.uint_contents)),
        DataType::Uint64 => Ok(TensorData::Uint64(contents.uint64_contents)),
        DataType::Fp32 => Ok(TensorData::Fp32(contents.fp32_contents)),
        DataType::Fp64 => Ok(TensorData::Fp64(contents.fp64_contents)),
        DataType::Bytes => {
            Ok(TensorData::Bytes(contents.bytes_contents.into_iter().map(Vec::from).collect()))
        }
        DataType::Fp16 | DataType::Bf16 => {
            Err(format!("elements of type {datatype} have no member in \"contents\""))
        }
    }
}

/// The member of `contents` for elements of a type.
const fn member_of(datatype: DataType) -> Option<&'static str> {
    Some(match datatype {
        DataType::Bool => "bool_contents",
        DataType::Int8 | DataType::Int16 | DataType::Int32 => "int_contents",
        DataType::Int64 => "int64_contents",
        DataType::Uint8 | DataType::Uint16 | DataType::Uint32 => "uint_contents",
        DataType::Uint64 => "uint64_contents",
        DataType::Fp32 => "fp32_contents",
        DataType::Fp64 => "fp64_contents",
        DataType::Bytes => "bytes_contents",
        DataType::Fp16 | DataType::Bf16 => return None,
    })
}

/// The members that hold something.
fn members(contents: &InferTensorContents) -> Vec<&'static str> {
    let members = [
        ("bool_contents", contents.bool_contents.is_empty()),
        ("int_contents", contents.int_contents.is_empty()),
        ("int64_contents", contents.int64_contents.is_empty()),
        ("uint_contents", contents.uint_contents.is_empty()),
        ("uint64_contents", contents.uint64_contents.is_empty()),
        ("fp32_contents", contents.fp32_contents.is_empty()),
        ("fp64_contents", contents.fp64_contents.is_empty()),
        ("bytes_contents", contents.bytes_contents.is_empty()),
    ];
    members.into_iter().filter(|(_, is_empty)| !is_empty).map(|(name, _)| name).collect()
}

/// Parameters as the rules know them that REST has, too.
fn parameters(given: HashMap<String, InferParameter>) -> Result<Parameters, String> {
    let read = |(name, parameter): (String, InferParameter)| {
        let value = match parameter.parameter_choice {
            Some(ParameterChoice::BoolParam(value)) => value.into(),
            Some(ParameterChoice::Int64Param(value)) => value.into(),
            Some(ParameterChoice::Uint64Param(value)) => value.into(),
            Some(ParameterChoice::DoubleParam(value)) => value.into(),
            Some(ParameterChoice::StringParam(value)) => value.into(),
            None => Value::Null,
        };
        (name, value)
    };
    let parameters: Parameters = given.into_iter().map(read).collect();
    parameters.check()?;
    Ok(parameters)
}

/// Writes an output: what describes it, and its elements as bytes. Numbers are lent, not copied.
pub fn write(output: NamedTensor) -> Result<(InferOutputTensor, Bytes), String> {
    let NamedTensor { name, tensor } = output;
    let (shape, data) = tensor.into_parts();
    let described = InferOutputTensor {
        name,
        datatype: data.datatype().name().to_owned(),
        shape: shape.into_iter().map(|size| i64::try_from(size).unwrap_or(i64::MAX)).collect(),
        ..InferOutputTensor::default()
    };
    Ok((described, binary::into_bytes(data)?))
}

#[cfg(test)]
#[path = "tensors_tests.rs"]
mod tests;
