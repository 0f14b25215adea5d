//! Between the crate's tensors and the runtime's values: inputs are lent, outputs copied once.

use ort::{
    error::ErrorCode,
    session::SessionInputValue,
    value::{DynValue, Outlet, TensorElementType, TensorRef, ValueType},
};

use super::{arena::EXCEEDED, texts};
use crate::{
    error::Error,
    tensor::{DataType, Tensor, TensorData, TensorSpec, element_count},
};

/// The specification of an input; the reason where it cannot be served.
pub(super) fn input_spec(outlet: &Outlet) -> Result<TensorSpec, String> {
    let name = outlet.name().to_owned();
    let ValueType::Tensor { ty, shape, dimension_symbols } = outlet.dtype().clone() else {
        return Err(format!("input \"{name}\" is not a tensor, and only tensors can be sent"));
    };
    let datatype = served(&name, ty)?;
    Ok(TensorSpec {
        name,
        datatype,
        shape: shape.to_vec(),
        symbols: symbols(&dimension_symbols),
        any_rank: false,
    })
}

/// The names of dimensions. Exporters write `?`, `None`, `-1` or what they reckon with where they have none.
pub(super) fn symbols(names: &[String]) -> Vec<String> {
    let is_name = |name: &str| {
        name != "None"
            && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    };
    names.iter().map(|name| if is_name(name) { name.clone() } else { String::new() }).collect()
}

pub(super) fn served(name: &str, element: TensorElementType) -> Result<DataType, String> {
    datatype(element)
        .ok_or_else(|| format!("\"{name}\" has the element type {element}, which cannot be served"))
}

pub(super) fn datatype(element: TensorElementType) -> Option<DataType> {
    Some(match element {
        TensorElementType::Bool => DataType::Bool,
        TensorElementType::Uint8 => DataType::Uint8,
        TensorElementType::Uint16 => DataType::Uint16,
        TensorElementType::Uint32 => DataType::Uint32,
        TensorElementType::Uint64 => DataType::Uint64,
        TensorElementType::Int8 => DataType::Int8,
        TensorElementType::Int16 => DataType::Int16,
        TensorElementType::Int32 => DataType::Int32,
        TensorElementType::Int64 => DataType::Int64,
        TensorElementType::Float16 => DataType::Fp16,
        TensorElementType::Bfloat16 => DataType::Bf16,
        TensorElementType::Float32 => DataType::Fp32,
        TensorElementType::Float64 => DataType::Fp64,
        TensorElementType::String => DataType::Bytes,
        _ => return None,
    })
}

/// In the text of an error: the run was interrupted.
const INTERRUPTED: &str = "terminate flag being set";
/// In the text of an operator's error: memory was missing.
const MISSING_MEMORY: [&str; 3] = ["Failed to allocate", "bad_alloc", "bad allocation"];

/// Why a run of this model failed. What an operator refuses is the caller's fault: shapes and values that fit what the
/// model declares, yet not each other. Missing memory, an interruption and whatever happens outside of an operator are
/// not; the runtime tells these apart only by its text.
pub(super) fn failed(error: &ort::Error, model: &str) -> Error {
    let message = error.message();
    if message.contains(INTERRUPTED) {
        tracing::debug!(model, "a run was interrupted");
        return Error::Runtime;
    }
    if message.contains(EXCEEDED) {
        tracing::warn!(model, %error, "a run would have taken more memory than the model may");
        return Error::InvalidInput(
            "the model needs more memory for these inputs than it may take; send less at a time".to_owned(),
        );
    }
    let is_operators =
        message.contains("while running") && !MISSING_MEMORY.iter().any(|cause| message.contains(cause));
    if is_operators || error.code() == ErrorCode::InvalidArgument {
        tracing::warn!(model, %error, "the model refused its inputs");
        return Error::InvalidInput(
            "the model cannot work with these inputs: their shapes or values do not fit together".to_owned(),
        );
    }
    tracing::error!(model, %error, "a run failed");
    Error::Runtime
}

/// A tensor could not be lent to the runtime, or taken from it.
pub(super) fn untransferable(error: &ort::Error) -> Error {
    tracing::error!(%error, "a tensor could not be lent to the runtime or taken from it");
    Error::Runtime
}

/// Lends a tensor to the runtime without copying it (strings are copied).
pub(super) fn session_value<'a>(input: &'a Tensor, name: &str) -> Result<SessionInputValue<'a>, Error> {
    let shape = input.shape();
    macro_rules! lend {
        ($elements:expr) => {
            TensorRef::from_array_view((shape, $elements.as_slice())).map(SessionInputValue::from)
        };
    }
    let value = match input.data() {
        TensorData::Bool(elements) => lend!(elements),
        TensorData::Uint8(elements) => lend!(elements),
        TensorData::Uint16(elements) => lend!(elements),
        TensorData::Uint32(elements) => lend!(elements),
        TensorData::Uint64(elements) => lend!(elements),
        TensorData::Int8(elements) => lend!(elements),
        TensorData::Int16(elements) => lend!(elements),
        TensorData::Int32(elements) => lend!(elements),
        TensorData::Int64(elements) => lend!(elements),
        TensorData::Fp16(elements) => lend!(elements),
        TensorData::Bf16(elements) => lend!(elements),
        TensorData::Fp32(elements) => lend!(elements),
        TensorData::Fp64(elements) => lend!(elements),
        TensorData::Bytes(elements) => {
            let texts = elements.iter().map(|element| text(element, name)).collect::<Result<Vec<_>, _>>()?;
            ort::value::Tensor::from_string_array((shape, texts.as_slice())).map(SessionInputValue::from)
        }
    };
    value.map_err(|error| untransferable(&error))
}

fn text(element: &[u8], name: &str) -> Result<String, Error> {
    let text = std::str::from_utf8(element).ok().filter(|text| !text.contains('\0'));
    text.map(str::to_owned).ok_or_else(|| {
        Error::InvalidInput(format!("the elements of input \"{name}\" must be UTF-8 without zero bytes"))
    })
}

/// Copies a tensor out of the runtime's memory: whole where `rows` is empty, otherwise cut into so many rows each.
/// None where it does not have these rows.
pub(super) fn copy(value: &DynValue, rows: &[usize]) -> Result<Option<Vec<Tensor>>, Error> {
    let ValueType::Tensor { ty, shape, .. } = value.dtype() else { return Err(Error::Runtime) };
    let datatype = datatype(*ty).ok_or(Error::Runtime)?;
    let shape = shape.iter().map(|&dimension| usize::try_from(dimension));
    let shape = shape.collect::<Result<Vec<_>, _>>().map_err(|_| Error::Runtime)?;
    if !rows.is_empty() && shape.first() != Some(&rows.iter().sum()) {
        return Ok(None);
    }
    let Some((_, row)) = shape.split_first().filter(|_| !rows.is_empty()) else {
        let count = element_count(&shape).ok_or(Error::Runtime)?;
        let mut data = elements(value, datatype, &[count])?;
        return Ok(Some(vec![Tensor::new(shape, data.pop().ok_or(Error::Runtime)?)?]));
    };
    let row_count = element_count(row).ok_or(Error::Runtime)?;
    let counts: Vec<usize> = rows.iter().map(|rows| rows * row_count).collect();
    let part = |(data, &rows): (TensorData, &usize)| Tensor::new([&[rows], row].concat(), data);
    let parts = elements(value, datatype, &counts)?.into_iter().zip(rows).map(part);
    parts.collect::<Result<_, _>>().map(Some)
}

/// The elements in portions of these sizes.
fn elements(value: &DynValue, datatype: DataType, counts: &[usize]) -> Result<Vec<TensorData>, Error> {
    if counts.iter().all(|&count| count == 0) {
        // The runtime may have no memory at all behind an empty tensor.
        return Ok(counts.iter().map(|_| TensorData::zeros(datatype, 0)).collect());
    }
    macro_rules! copy {
        ($variant:ident) => {{
            let (_, mut rest) = value.try_extract_tensor().map_err(|error| untransferable(&error))?;
            let mut portion = |&count: &usize| {
                let (portion, after) = rest.split_at_checked(count).ok_or(Error::Runtime)?;
                rest = after;
                Ok(TensorData::$variant(portion.to_vec()))
            };
            counts.iter().map(&mut portion).collect()
        }};
    }
    match datatype {
        DataType::Bool => copy!(Bool),
        DataType::Uint8 => copy!(Uint8),
        DataType::Uint16 => copy!(Uint16),
        DataType::Uint32 => copy!(Uint32),
        DataType::Uint64 => copy!(Uint64),
        DataType::Int8 => copy!(Int8),
        DataType::Int16 => copy!(Int16),
        DataType::Int32 => copy!(Int32),
        DataType::Int64 => copy!(Int64),
        DataType::Fp16 => copy!(Fp16),
        DataType::Bf16 => copy!(Bf16),
        DataType::Fp32 => copy!(Fp32),
        DataType::Fp64 => copy!(Fp64),
        DataType::Bytes => {
            let texts = texts::read(value, counts.iter().sum()).map_err(|error| untransferable(&error))?;
            let mut texts = texts.into_iter();
            Ok(counts.iter().map(|&count| TensorData::Bytes(texts.by_ref().take(count).collect())).collect())
        }
    }
}
