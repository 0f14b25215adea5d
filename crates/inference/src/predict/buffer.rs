//! The elements of one input while rows are written into them.

use super::cell::Value;
use crate::tensor::{DataType, TensorData};

/// Types of an input that columns can fill.
pub(super) const TABLE_DATATYPES: [DataType; 6] =
    [DataType::Fp32, DataType::Fp64, DataType::Int64, DataType::Int32, DataType::Bool, DataType::Bytes];

/// Elements of one of those types.
#[derive(Debug)]
pub(super) enum Buffer {
    Fp32(Vec<f32>),
    Fp64(Vec<f64>),
    Int64(Vec<i64>),
    Int32(Vec<i32>),
    Bool(Vec<bool>),
    Bytes(Vec<Vec<u8>>),
}

/// Runs the same code on the elements, whatever their type.
macro_rules! with {
    ($buffer:expr, $elements:ident => $act:expr) => {
        match $buffer {
            Buffer::Fp32($elements) => $act,
            Buffer::Fp64($elements) => $act,
            Buffer::Int64($elements) => $act,
            Buffer::Int32($elements) => $act,
            Buffer::Bool($elements) => $act,
            Buffer::Bytes($elements) => $act,
        }
    };
}

impl Buffer {
    pub(super) fn new(datatype: DataType) -> Option<Self> {
        Some(match datatype {
            DataType::Fp32 => Self::Fp32(Vec::new()),
            DataType::Fp64 => Self::Fp64(Vec::new()),
            DataType::Int64 => Self::Int64(Vec::new()),
            DataType::Int32 => Self::Int32(Vec::new()),
            DataType::Bool => Self::Bool(Vec::new()),
            DataType::Bytes => Self::Bytes(Vec::new()),
            _ => return None,
        })
    }

    /// Adds a row of `width` elements that are zero, false or empty.
    pub(super) fn add_row(&mut self, width: usize) {
        with!(self, elements => elements.resize_with(elements.len() + width, Default::default));
    }

    pub(super) fn len(&self) -> usize {
        with!(self, elements => elements.len())
    }

    /// Writes a value at `place`; the reason where the input's type cannot hold it.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "rounded to what the model computes in; what would be infinite is refused"
    )]
    pub(super) fn set(&mut self, place: usize, value: Value<'_>) -> Result<(), String> {
        let number = match value {
            Value::Number(number) => number,
            Value::Integer(number) => number as f64,
            Value::Choice(choice, _) => choice as f64,
            Value::Text(_) => 0.0,
        };
        let whole = match value {
            Value::Integer(whole) => whole,
            Value::Choice(choice, _) => i64::try_from(choice).unwrap_or(i64::MAX),
            Value::Number(_) | Value::Text(_) => 0,
        };
        match self {
            Self::Fp32(elements) => {
                let rounded = number as f32;
                if rounded.is_infinite() {
                    return Err("is too large for the model, which computes in FP32".to_owned());
                }
                elements[place] = rounded;
            }
            Self::Fp64(elements) => elements[place] = number,
            Self::Int64(elements) => elements[place] = whole,
            Self::Int32(elements) => {
                elements[place] = i32::try_from(whole)
                    .map_err(|_| "is too large for the model, which computes in INT32".to_owned())?;
            }
            Self::Bool(elements) => elements[place] = whole != 0,
            Self::Bytes(elements) => {
                if let Value::Text(text) | Value::Choice(_, text) = value {
                    elements[place] = text.as_bytes().to_vec();
                }
            }
        }
        Ok(())
    }

    /// Marks the place of a number as not given.
    pub(super) fn set_nan(&mut self, place: usize) {
        match self {
            Self::Fp32(elements) => elements[place] = f32::NAN,
            Self::Fp64(elements) => elements[place] = f64::NAN,
            Self::Int64(_) | Self::Int32(_) | Self::Bool(_) | Self::Bytes(_) => {}
        }
    }

    /// Takes the elements apart into pieces of `length`; the last may be shorter.
    pub(super) fn pieces(self, length: usize) -> Vec<TensorData> {
        fn cut<T>(elements: Vec<T>, length: usize, data: fn(Vec<T>) -> TensorData) -> Vec<TensorData> {
            if elements.len() <= length {
                return vec![data(elements)];
            }
            let count = elements.len().div_ceil(length);
            let mut elements = elements.into_iter();
            (0..count).map(|_| data(elements.by_ref().take(length).collect())).collect()
        }
        match self {
            Self::Fp32(elements) => cut(elements, length, TensorData::Fp32),
            Self::Fp64(elements) => cut(elements, length, TensorData::Fp64),
            Self::Int64(elements) => cut(elements, length, TensorData::Int64),
            Self::Int32(elements) => cut(elements, length, TensorData::Int32),
            Self::Bool(elements) => cut(elements, length, TensorData::Bool),
            Self::Bytes(elements) => cut(elements, length, TensorData::Bytes),
        }
    }
}
