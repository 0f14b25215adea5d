//! `[table]` and a model's inputs: which column goes where.

use std::collections::{HashMap, HashSet};

use super::{
    batch_size,
    buffer::{Buffer, TABLE_DATATYPES},
    cell::{self, Cell, Value},
    find_input,
    rows::{RowReader, Rows},
};
use crate::{
    error::Error,
    manifest::{Column, ColumnKind, Encoding, TableInput},
    tensor::{DataType, NamedTensor, Tensor, TensorSpec},
};

/// Elements of all rows of one call, in all inputs together: 256 MiB of FP32.
const MAX_ELEMENTS: usize = 64 << 20;

/// How one model takes rows of named columns.
pub struct Table {
    columns: Vec<Placed>,
    names: HashMap<String, usize>,
    inputs: Vec<Input>,
    /// Rows that may run at once.
    batch: usize,
}

/// A column and where its cells go.
pub(super) struct Placed {
    pub(super) column: Column,
    pub(super) default: Fallback,
    pub(super) input: usize,
    /// Where in a row of the input.
    pub(super) offset: usize,
}

/// What a row gets that does not have the column.
pub(super) enum Fallback {
    /// A refusal.
    Required,
    /// Not a number, or an empty text.
    Nothing,
    Value(toml::Value),
}

/// An input that columns fill.
struct Input {
    name: String,
    datatype: DataType,
    /// Elements of one row.
    width: usize,
    /// Whether its shape is `[batch]`, not `[batch, width]`.
    is_vector: bool,
}

impl Table {
    /// The reason where `[table]` does not fit the model.
    pub(super) fn new(table: &TableInput, specs: &[TensorSpec]) -> Result<Self, String> {
        let mut inputs: Vec<Input> = Vec::new();
        let mut columns = Vec::with_capacity(table.columns.len());
        for column in &table.columns {
            let name = table.input.as_ref().or(column.input.as_ref()).unwrap_or(&column.name);
            let place = format!("[table] column \"{}\"", column.name);
            let spec = find_input(specs, name, &TABLE_DATATYPES, &place)?;
            if !fits(column, spec.datatype) {
                return Err(misfit(&place, column, spec.datatype));
            }
            let input = inputs.iter().position(|input| input.name == *name).unwrap_or_else(|| {
                let (name, is_vector) = (name.clone(), spec.shape.len() == 1);
                inputs.push(Input { name, datatype: spec.datatype, width: 0, is_vector });
                inputs.len() - 1
            });
            let default = fallback(column).map_err(|reason| format!("{place}: default {reason}"))?;
            columns.push(Placed { column: column.clone(), default, input, offset: inputs[input].width });
            inputs[input].width += cell::width(column);
        }
        let batch: Result<usize, String> =
            inputs.iter().try_fold(usize::MAX, |batch, input| Ok(batch.min(input.check(specs)?)));
        let filled: HashSet<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        if let Some(spec) = specs.iter().find(|spec| !filled.contains(spec.name.as_str())) {
            return Err(format!("[table] no column fills the model's input \"{}\"", spec.name));
        }
        let names = table.columns.iter().enumerate().map(|(place, column)| (column.name.clone(), place));
        let table = Self { batch: batch?, names: names.collect(), columns, inputs };
        table.check_defaults()?;
        Ok(table)
    }

    /// The reason where an input cannot hold what rows without a column get: no caller could do anything about it.
    fn check_defaults(&self) -> Result<(), String> {
        let mut buffers = self.buffers();
        self.add_row(&mut buffers);
        for placed in &self.columns {
            if let Fallback::Value(default) = &placed.default {
                let value = cell::read(&placed.column, of_toml(default));
                let written = value.and_then(|value| self.write(&mut buffers, placed, value));
                written.map_err(|reason| {
                    format!("[table] column \"{}\": default {reason}", placed.column.name)
                })?;
            }
        }
        Ok(())
    }

    /// How many columns there are.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// A reader of at most `max_rows` rows.
    pub fn reader(&self, max_rows: usize) -> RowReader<'_> {
        RowReader::new(self, max_rows)
    }

    /// Rows whose elements are no more than may be in memory for one call.
    pub(super) fn max_rows(&self) -> usize {
        let width: usize = self.inputs.iter().map(|input| input.width).sum();
        (MAX_ELEMENTS / width.max(1)).max(1)
    }

    /// The columns, in the model's order.
    pub(super) fn columns(&self) -> &[Placed] {
        &self.columns
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    pub(super) fn buffers(&self) -> Vec<Buffer> {
        self.inputs.iter().filter_map(|input| Buffer::new(input.datatype)).collect()
    }

    pub(super) fn add_row(&self, buffers: &mut [Buffer]) {
        for (buffer, input) in buffers.iter_mut().zip(&self.inputs) {
            buffer.add_row(input.width);
        }
    }

    /// The last row of the column's input gets a value, or what stands for none.
    pub(super) fn write(
        &self,
        buffers: &mut [Buffer],
        placed: &Placed,
        value: Option<Value<'_>>,
    ) -> Result<(), String> {
        let buffer = &mut buffers[placed.input];
        let place = buffer.len() - self.inputs[placed.input].width + placed.offset;
        match value {
            Some(Value::Choice(choice, _)) if placed.column.encoding == Encoding::OneHot => {
                buffer.set(place + choice, Value::Integer(1))
            }
            Some(value) => buffer.set(place, value),
            None => {
                buffer.set_nan(place);
                Ok(())
            }
        }
    }

    /// The inputs of each run that the rows take, and how many rows those are.
    pub(super) fn batches(&self, rows: Rows) -> Result<Vec<(usize, Vec<NamedTensor>)>, Error> {
        let Rows { count, buffers } = rows;
        let batch = self.batch.min(count).max(1);
        let sizes = (0..count).step_by(batch).map(|start| batch.min(count - start));
        let mut batches: Vec<(usize, Vec<NamedTensor>)> = sizes.map(|size| (size, Vec::new())).collect();
        for (buffer, input) in buffers.into_iter().zip(&self.inputs) {
            for ((size, inputs), data) in batches.iter_mut().zip(buffer.pieces(batch * input.width)) {
                let shape = if input.is_vector { vec![*size] } else { vec![*size, input.width] };
                inputs.push(NamedTensor { name: input.name.clone(), tensor: Tensor::new(shape, data)? });
            }
        }
        Ok(batches)
    }

    /// A row of zeros, for the first run.
    pub(super) fn sample(&self) -> Result<Vec<NamedTensor>, Error> {
        let mut buffers = self.buffers();
        self.add_row(&mut buffers);
        let batch = self.batches(Rows { count: 1, buffers })?.pop();
        batch.map(|(_, inputs)| inputs).ok_or(Error::Runtime)
    }
}

impl Input {
    /// Rows that may run at once; the reason where the columns do not fit the input's shape.
    fn check(&self, specs: &[TensorSpec]) -> Result<usize, String> {
        let spec = find_input(specs, &self.name, &TABLE_DATATYPES, "[table]")?;
        let expected = spec.shape.get(1).copied().unwrap_or(1);
        let fits = (1..=2).contains(&spec.shape.len())
            && (expected < 0 || usize::try_from(expected) == Ok(self.width));
        let batch = spec.shape.first().and_then(|&first| batch_size(first, self.width));
        batch.filter(|_| fits).ok_or_else(|| {
            format!(
                "[table] makes rows of {} elements, but the model's input \"{}\" has shape {:?}",
                self.width, self.name, spec.shape
            )
        })
    }
}

fn fits(column: &Column, datatype: DataType) -> bool {
    let is_text = datatype == DataType::Bytes;
    match column.kind {
        ColumnKind::Number => matches!(datatype, DataType::Fp32 | DataType::Fp64),
        ColumnKind::Integer => !matches!(datatype, DataType::Bool | DataType::Bytes),
        ColumnKind::Boolean => !is_text,
        ColumnKind::Text => is_text,
        ColumnKind::Category => {
            datatype != DataType::Bool && !(is_text && column.encoding == Encoding::OneHot)
        }
    }
}

fn misfit(place: &str, column: &Column, datatype: DataType) -> String {
    let fitting = |kind: &ColumnKind| fits(&Column { kind: *kind, ..column.clone() }, datatype);
    let kinds: Vec<_> = ColumnKind::ALL.iter().filter(|kind| fitting(kind)).map(|kind| kind.name()).collect();
    let kind = column.kind.name();
    format!("{place}: a {kind} cannot fill an input of datatype {datatype}; what can is {}", kinds.join(", "))
}

fn fallback(column: &Column) -> Result<Fallback, String> {
    match &column.default {
        None if column.is_required() => Ok(Fallback::Required),
        None => Ok(Fallback::Nothing),
        Some(default) => {
            cell::read(column, of_toml(default))?;
            Ok(Fallback::Value(default.clone()))
        }
    }
}

/// A cell as `model.toml` writes it.
pub(super) fn of_toml(value: &toml::Value) -> Cell<'_> {
    match value {
        toml::Value::Boolean(value) => Cell::Boolean(*value),
        toml::Value::Integer(value) => Cell::Integer(*value),
        toml::Value::Float(value) => Cell::Number(*value),
        toml::Value::String(value) => Cell::Text(value),
        _ => Cell::Nested,
    }
}
