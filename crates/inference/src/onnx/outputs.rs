//! Outputs as tensors: tensors as they are, sequences of tensors stacked, maps as their keys and their values.

use ort::value::{DynValue, DynValueTypeMarker, Outlet, TensorElementType, ValueType};

use super::{maps, values};
use crate::{
    engine::Failure,
    error::Error,
    tensor::{Tensor, TensorData, TensorSpec},
};

/// Suffix of the name of the tensor of a map's keys; the tensor of its values has the output's own name.
pub(crate) const KEYS: &str = "_keys";

/// An output as this crate returns it, and the session's output that it comes from.
pub(super) struct Output {
    pub(super) spec: TensorSpec,
    /// The name of the session's output.
    pub(super) source: String,
    form: Form,
}

/// How the tensor lies in the session's output.
#[derive(Clone, Copy)]
enum Form {
    /// It is the output.
    Tensor,
    /// The output is a sequence of tensors.
    Stack,
    /// The output is a map, or a sequence of maps with the same keys.
    Keys,
    Values,
}

/// The outputs of a session as tensors; the reason where one cannot be served.
pub(super) fn outputs(outlets: &[Outlet]) -> Result<Vec<Output>, String> {
    let outputs = outlets.iter().map(|outlet| output(outlet.name(), outlet.dtype()));
    let outputs: Vec<Output> = outputs.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    for (place, output) in outputs.iter().enumerate() {
        if outputs[..place].iter().any(|other| other.spec.name == output.spec.name) {
            return Err(format!("two outputs would be called \"{}\"", output.spec.name));
        }
    }
    Ok(outputs)
}

fn output(source: &str, value: &ValueType) -> Result<Vec<Output>, String> {
    let output = |name: String, element: TensorElementType, shape: Vec<i64>, symbols: Vec<String>, form| {
        let datatype = values::served(&name, element)?;
        let spec = TensorSpec { name, datatype, shape, symbols, any_rank: false };
        Ok::<_, String>(Output { spec, source: source.to_owned(), form })
    };
    let name = || source.to_owned();
    let refused = || format!("output \"{source}\" is of a kind that cannot be served: {value}");
    let map = |key: TensorElementType, value: TensorElementType, dimensions: usize| {
        let known = matches!(key, TensorElementType::Int64 | TensorElementType::String)
            && matches!(
                value,
                TensorElementType::Float32 | TensorElementType::Float64 | TensorElementType::Int64
            );
        if !known {
            return Err(refused());
        }
        let values = output(name(), value, vec![-1; dimensions], Vec::new(), Form::Values)?;
        let keys = output(format!("{source}{KEYS}"), key, vec![-1; dimensions], Vec::new(), Form::Keys)?;
        Ok(vec![values, keys])
    };
    match value {
        ValueType::Tensor { ty, shape, dimension_symbols } => {
            let symbols = values::symbols(dimension_symbols);
            Ok(vec![output(name(), *ty, shape.to_vec(), symbols, Form::Tensor)?])
        }
        ValueType::Map { key, value } => map(*key, *value, 1),
        ValueType::Sequence(element) => match element.as_ref() {
            ValueType::Map { key, value } => map(*key, *value, 2),
            ValueType::Tensor { ty, shape, .. } => {
                let shape = [&[-1], &shape[..]].concat();
                Ok(vec![output(name(), *ty, shape, Vec::new(), Form::Stack)?])
            }
            _ => Err(refused()),
        },
        ValueType::Optional(_) => Err(refused()),
    }
}

/// Takes an output from the session's: whole where `rows` is empty, otherwise cut into so many rows each.
/// [`Failure::NotByRows`] where it does not have these rows.
pub(super) fn take(value: &DynValue, output: &Output, rows: &[usize]) -> Result<Vec<Tensor>, Failure> {
    let is_map = || matches!(value.dtype(), ValueType::Map { .. });
    let parts = match output.form {
        Form::Tensor => values::copy(value, rows)?,
        // As many as the model likes: rows of nobody, even where it is their number.
        Form::Stack if !rows.is_empty() => None,
        Form::Keys | Form::Values if !rows.is_empty() && is_map() => None,
        Form::Stack => Some(vec![stack(value, output)?]),
        Form::Keys | Form::Values => cut(of_maps(value, output)?, rows),
    };
    parts.ok_or_else(|| Failure::NotByRows(output.spec.name.clone()))
}

fn cut(whole: Tensor, rows: &[usize]) -> Option<Vec<Tensor>> {
    if rows.is_empty() { Some(vec![whole]) } else { whole.cut(rows) }
}

fn sequence(value: &DynValue) -> Result<Vec<DynValue>, Error> {
    value.try_extract_sequence::<DynValueTypeMarker>().map_err(|error| values::untransferable(&error))
}

/// The tensors of a sequence, one after the other along a new first dimension.
fn stack(value: &DynValue, output: &Output) -> Result<Tensor, Error> {
    let parts = sequence(value)?.iter().map(|part| values::copy(part, &[])).collect::<Result<Vec<_>, _>>()?;
    let parts: Vec<Tensor> = parts.into_iter().flatten().flatten().collect();
    let Some(first) = parts.first() else {
        let sizes = output.spec.shape.iter().skip(1).map(|&size| usize::try_from(size).unwrap_or(0));
        let shape = [0].into_iter().chain(sizes).collect();
        return Tensor::new(shape, TensorData::zeros(output.spec.datatype, 0));
    };
    let shape = [&[parts.len()], first.shape()].concat();
    if parts.iter().any(|part| part.shape() != first.shape()) {
        return Err(uneven(output, "tensors of different shapes"));
    }
    let data: Vec<&TensorData> = parts.iter().map(Tensor::data).collect();
    Tensor::new(shape, TensorData::joined(&data).ok_or(Error::Runtime)?)
}

/// The keys or the values of one map, or of a sequence of them, a row for each.
fn of_maps(value: &DynValue, output: &Output) -> Result<Tensor, Error> {
    let ValueType::Sequence(_) = value.dtype() else {
        let data = of_map(value, output)?;
        return Tensor::new(vec![data.len()], data);
    };
    let rows = sequence(value)?.iter().map(|map| of_map(map, output)).collect::<Result<Vec<_>, _>>()?;
    let columns = rows.first().map_or(0, TensorData::len);
    if rows.iter().any(|row| row.len() != columns) {
        return Err(uneven(output, "maps of different sizes"));
    }
    let data = match rows.as_slice() {
        [] => TensorData::zeros(output.spec.datatype, 0),
        rows => TensorData::joined(&rows.iter().collect::<Vec<_>>()).ok_or(Error::Runtime)?,
    };
    Tensor::new(vec![rows.len(), columns], data)
}

fn of_map(value: &DynValue, output: &Output) -> Result<TensorData, Error> {
    match output.form {
        Form::Keys => maps::keys(value),
        _ => maps::values(value),
    }
}

/// What the model is like, which nobody can mend but by doing without.
fn uneven(output: &Output, what: &str) -> Error {
    let name = &output.spec.name;
    Error::InvalidInput(format!(
        "output \"{name}\" of this model gave {what}, which are no tensor; ask for other outputs by their names"
    ))
}
