//! An inference call (Open Inference Protocol 2, REST): bytes to tensors, no HTTP.
//!
//! Members that are not known are ignored, as the protocol asks. An input's name, type and shape are compared with
//! the model's before its data is read; that the call is complete, the model checks itself.

use std::fmt::Display;
use std::num::NonZeroUsize;
use std::time::Duration;

use inference::{DataType, NamedTensor, Tensor, TensorData, TensorSpec};
use serde::Deserialize;
use serde_json::Number;
use serde_json::value::RawValue;

use super::at_most::AtMost;
use super::object::Object;
use super::parameters::Parameters;
use super::{binary, json_data};

/// Most inputs of a call, and most outputs that it may request.
pub const MAX_TENSORS: usize = 1024;
/// Most dimensions of a tensor.
pub const MAX_RANK: usize = 32;
/// Largest dimension of a tensor: more than any body holds, and little enough to be counted with.
const MAX_DIMENSION: usize = i32::MAX as usize;

/// Most bytes of a call's `id`, which stands in its answer again.
const MAX_ID: usize = 4 << 10;

/// How the bytes of a call are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// JSON throughout.
    Json,
    /// JSON of so many bytes, then the tensors that are given as binary data.
    Mixed(usize),
    /// The binary data of a model's only input, and no JSON.
    Raw,
}

/// What a call is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Signature<'a> {
    /// The model's inputs.
    pub inputs: &'a [TensorSpec],
    /// The model's outputs.
    pub outputs: &'a [TensorSpec],
}

/// A call that was understood.
#[derive(Debug, Default, PartialEq)]
pub struct ParsedInfer {
    /// To be given back as it came.
    pub id: Option<String>,
    /// The inputs in the order of the call.
    pub inputs: Vec<NamedTensor>,
    /// The requested outputs, in the requested order.
    pub outputs: Vec<WantedOutput>,
    /// How long the caller waits; none where it gives no time.
    pub timeout: Option<Duration>,
    /// 1 is the highest; 0 where the caller gives none.
    pub priority: u64,
}

/// A requested output, and its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedOutput {
    /// Its name.
    pub name: String,
    /// Whether as binary data.
    pub binary: bool,
    /// How many of its highest values to return instead of itself.
    pub classes: Option<NonZeroUsize>,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    inputs: AtMost<Object<Input<'a>>, MAX_TENSORS>,
    /// Clients write what they leave out as null, here and wherever something may be left out.
    #[serde(default)]
    outputs: Option<AtMost<Object<Output>, MAX_TENSORS>>,
}

#[derive(Deserialize)]
struct Input<'a> {
    name: String,
    /// Any numbers, so that the refusal can name them.
    shape: AtMost<Number, MAX_RANK>,
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

/// Clients send the header again that they kept from a call before, with a body that has another length.
fn what_was_read(layout: Layout) -> String {
    match layout {
        Layout::Mixed(length) => {
            format!(
                "the first {length} bytes of the body, which Inference-Header-Content-Length says are JSON, are"
            )
        }
        Layout::Json | Layout::Raw => "the body is".to_owned(),
    }
}

/// Reads the body of an inference call to a model of this signature. The error says what to change.
pub fn parse(body: &[u8], layout: Layout, model: Signature<'_>) -> Result<ParsedInfer, String> {
    let (json, mut tensors) = match layout {
        Layout::Json => (body, None),
        Layout::Mixed(length) => {
            let (json, tensors) = body.split_at_checked(length).ok_or_else(|| {
                format!("the JSON is announced with {length} bytes, but the body has {}", body.len())
            })?;
            (json, Some(tensors))
        }
        Layout::Raw => return raw(body, model),
    };
    let Object(request): Object<Request<'_>> = serde_json::from_slice(json)
        .map_err(|error| format!("{} not an inference request: {error}", what_was_read(layout)))?;
    check_id(request.id.as_deref().unwrap_or_default())?;
    request.parameters.check()?;
    let too_many = |what: &str| format!("a call has at most {MAX_TENSORS} {what}");
    let inputs = request.inputs.within_bound().ok_or_else(|| too_many("inputs"))?;
    let wanted = request
        .outputs
        .map(|outputs| outputs.within_bound().ok_or_else(|| too_many("outputs")))
        .transpose()?;
    let inputs = inputs
        .into_iter()
        .map(|Object(given)| input(given, &mut tensors, model.inputs))
        .collect::<Result<_, _>>()?;
    if let Some(left) = tensors.filter(|left| !left.is_empty()) {
        return Err(format!(
            "the body has {} bytes more than the inputs' \"binary_data_size\" say",
            left.len()
        ));
    }
    let timeout = request.parameters.whole_number("timeout")?.filter(|&microseconds| microseconds > 0);
    Ok(ParsedInfer {
        id: request.id,
        inputs,
        outputs: outputs(wanted.unwrap_or_default(), &request.parameters, model.outputs)?,
        timeout: timeout.map(Duration::from_micros),
        priority: request.parameters.whole_number("priority")?.unwrap_or_default(),
    })
}

/// Refuses an `id` that is too long.
pub fn check_id(id: &str) -> Result<(), String> {
    let fits = id.len() <= MAX_ID;
    if fits { Ok(()) } else { Err(format!("\"id\" has {} bytes; at most {MAX_ID} are taken", id.len())) }
}

/// `tensors` is what is left of the binary data; none where the body has none.
fn input(input: Input<'_>, tensors: &mut Option<&[u8]>, specs: &[TensorSpec]) -> Result<NamedTensor, String> {
    let Input { name, datatype, shape, data, parameters } = input;
    let wrong = |reason: String| format!("input \"{name}\": {reason}");
    parameters.check().map_err(wrong)?;
    let binary_size = parameters.size("binary_data_size").map_err(wrong)?;
    let size = |dimension: &Number| dimension.as_u64()?.try_into().ok();
    fitting(name, &datatype, &shape.0, size, specs, |datatype, count| match (data, binary_size) {
        (Some(text), None) => json_data::read(text.get(), datatype, count),
        (None, Some(size)) => take(tensors, size).and_then(|bytes| binary::read(bytes, datatype, count)),
        (Some(_), Some(_)) => Err("has both \"data\" and \"binary_data_size\"; give one of them".to_owned()),
        (None, None) => Err("\"data\" is missing, and so is the parameter \"binary_data_size\"".to_owned()),
    })
}

/// The input of this name, type and shape, which are compared with the model's before its elements are read: `read` gets
/// their type and number. `size` gives none for an invalid dimension.
pub fn fitting<D: Display>(
    name: String,
    datatype: &str,
    dimensions: &[D],
    size: impl Fn(&D) -> Option<usize>,
    specs: &[TensorSpec],
    read: impl FnOnce(DataType, usize) -> Result<TensorData, String>,
) -> Result<NamedTensor, String> {
    let wrong = |reason: String| format!("input \"{name}\": {reason}");
    let datatype = datatype.parse::<DataType>().map_err(|error| wrong(error.to_string()))?;
    let shape = shape(dimensions, size).map_err(wrong)?;
    let spec = TensorSpec::input(specs, &name).map_err(|error| error.to_string())?;
    spec.accept(datatype, &shape).map_err(|error| error.to_string())?;
    let count = inference::element_count(&shape).ok_or_else(|| wrong("\"shape\" is too large".to_owned()))?;
    let data = read(datatype, count).map_err(wrong)?;
    let tensor = Tensor::new(shape, data).map_err(|error| wrong(error.to_string()))?;
    Ok(NamedTensor { name, tensor })
}

/// The next `size` bytes of the binary data.
fn take<'a>(tensors: &mut Option<&'a [u8]>, size: usize) -> Result<&'a [u8], String> {
    let left = tensors.ok_or(
        "has \"binary_data_size\", but the header Inference-Header-Content-Length, which says where the binary data \
         begins, is missing",
    )?;
    let (taken, rest) = left.split_at_checked(size).ok_or_else(|| {
        format!("\"binary_data_size\" is {size}, but {} bytes of binary data are left", left.len())
    })?;
    *tensors = Some(rest);
    Ok(taken)
}

/// The dimensions of a tensor as sizes, at most [`MAX_DIMENSION`] each.
fn shape<D: Display>(dimensions: &[D], size: impl Fn(&D) -> Option<usize>) -> Result<Vec<usize>, String> {
    if dimensions.len() > MAX_RANK {
        return Err(format!("\"shape\" has more than {MAX_RANK} dimensions"));
    }
    let bounded = |dimension: &D| match size(dimension) {
        Some(size) if size <= MAX_DIMENSION => Ok(size),
        Some(_) => {
            Err(format!("dimension {dimension} in \"shape\" is too large; at most {MAX_DIMENSION} is taken"))
        }
        None => Err(format!("dimension {dimension} in \"shape\" is not a size; give the actual number")),
    };
    dimensions.iter().map(bounded).collect()
}

/// The requested outputs of a call; all of them where it names none.
fn outputs(
    listed: Vec<Object<Output>>,
    call: &Parameters,
    specs: &[TensorSpec],
) -> Result<Vec<WantedOutput>, String> {
    let binary = call.flag("binary_data_output")?.unwrap_or(false);
    let listed = listed.into_iter().map(|Object(output)| wanted(output.name, &output.parameters, binary));
    all_or(listed.collect::<Result<_, _>>()?, binary, specs)
}

/// The listed outputs, or all of them where none is listed; refuses one whose type cannot have the requested form.
pub fn all_or(
    listed: Vec<WantedOutput>,
    binary: bool,
    specs: &[TensorSpec],
) -> Result<Vec<WantedOutput>, String> {
    let all = || specs.iter().map(|spec| WantedOutput { name: spec.name.clone(), binary, classes: None });
    let wanted = if listed.is_empty() { all().collect() } else { listed };
    wanted.iter().try_for_each(|output| check_output(output, specs))?;
    Ok(wanted)
}

/// A requested output by its parameters; `binary` is the default where they do not set it.
pub fn wanted(name: String, parameters: &Parameters, binary: bool) -> Result<WantedOutput, String> {
    let read = || -> Result<_, String> {
        parameters.check()?;
        let binary = parameters.flag("binary_data")?.unwrap_or(binary);
        Ok((binary, parameters.size("classification")?.and_then(NonZeroUsize::new)))
    };
    let (binary, classes) = read().map_err(|reason| format!("output \"{name}\": {reason}"))?;
    Ok(WantedOutput { name, binary, classes })
}

/// Whether an output's type can have the requested form, checked before the model runs for nothing. Whether there is
/// such an output, the model checks.
fn check_output(output: &WantedOutput, specs: &[TensorSpec]) -> Result<(), String> {
    let Some(spec) = specs.iter().find(|spec| spec.name == output.name) else { return Ok(()) };
    let (name, datatype) = (&spec.name, spec.datatype);
    let is_number = !matches!(datatype, DataType::Bytes | DataType::Bool);
    match output.classes {
        Some(_) if !is_number => Err(format!(
            "output \"{name}\": elements of type {datatype} have no highest value to classify by"
        )),
        None if !output.binary && matches!(datatype, DataType::Fp16 | DataType::Bf16) => {
            Err(format!("output \"{name}\" has type {datatype}, which JSON cannot carry; {ASK_FOR_BINARY}"))
        }
        _ => Ok(()),
    }
}

/// What to do about an output that JSON cannot carry.
pub const ASK_FOR_BINARY: &str = "ask for it with the output's parameter \"binary_data\": true";

/// A raw-binary request: the whole body is the only input's data, and every output is given as binary data.
fn raw(body: &[u8], model: Signature<'_>) -> Result<ParsedInfer, String> {
    let [spec] = model.inputs else {
        return Err(format!(
            "a body without JSON needs a model with one input; this one has {}",
            model.inputs.len()
        ));
    };
    let wrong = |reason: String| format!("input \"{}\": {reason}", spec.name);
    let shape = raw_shape(body.len(), spec).map_err(wrong)?;
    let data = match spec.datatype {
        // The body is the element itself, without a length before it.
        DataType::Bytes => TensorData::Bytes(vec![body.to_vec()]),
        datatype => {
            let count = inference::element_count(&shape).ok_or_else(|| wrong("is too large".to_owned()))?;
            binary::read(body, datatype, count).map_err(wrong)?
        }
    };
    let tensor = Tensor::new(shape, data).map_err(|error| wrong(error.to_string()))?;
    let output = |spec: &TensorSpec| WantedOutput { name: spec.name.clone(), binary: true, classes: None };
    Ok(ParsedInfer {
        inputs: vec![NamedTensor { name: spec.name.clone(), tensor }],
        outputs: model.outputs.iter().map(output).collect(),
        ..ParsedInfer::default()
    })
}

/// The shape of `length` bytes: the one variable dimension is as large as they make it. A second one is allowed where
/// it is the first, the batch, which is then 1.
fn raw_shape(length: usize, spec: &TensorSpec) -> Result<Vec<usize>, String> {
    let fixed = |dimension: &i64| usize::try_from(*dimension).ok();
    let variable: Vec<usize> = (0..spec.shape.len()).filter(|&at| spec.shape[at] < 0).collect();
    let mut shape: Vec<usize> = spec.shape.iter().map(|dimension| fixed(dimension).unwrap_or(1)).collect();
    let free = match variable[..] {
        _ if spec.datatype == DataType::Bytes => {
            let single = inference::element_count(&shape) == Some(1);
            return single.then_some(shape).ok_or_else(|| {
                "a body without JSON is one element of type BYTES, and the model wants more".to_owned()
            });
        }
        [] => return Ok(shape),
        [free] | [0, free] => free,
        _ => {
            return Err(
                "has several variable dimensions, so that a body without JSON does not tell its shape".into(),
            );
        }
    };
    let rest = inference::element_count(&shape).and_then(|count| binary::size(spec.datatype, count));
    match rest {
        Some(rest @ 1..) if length.is_multiple_of(rest) => shape[free] = length / rest,
        Some(0) if length == 0 => shape[free] = 0,
        _ => {
            return Err(format!(
                "{length} bytes are no whole number of its elements of shape {:?}",
                spec.shape
            ));
        }
    }
    Ok(shape)
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
