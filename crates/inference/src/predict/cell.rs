//! One cell of a row: what a caller may write there, and what it becomes.

use crate::manifest::{Column, ColumnKind, Encoding};

/// Below this a 64-bit floating-point number, which is how JSON's numbers with a point are read, is the whole number that
/// was written; this one may stand for the next.
pub const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// A cell as a caller wrote it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// Null, which is the same as not given.
    Missing,
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Number(f64),
    /// A text.
    Text(&'a str),
    /// A list or an object, which no column takes.
    Nested,
}

/// A cell as the model gets it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Number(f64),
    Integer(i64),
    Text(&'a str),
    /// Which of the column's values.
    Choice(usize, &'a str),
}

/// Converts a cell as its column says; none for a missing one. The reason names no value: callers log answers.
pub(super) fn read<'a>(column: &'a Column, cell: Cell<'a>) -> Result<Option<Value<'a>>, String> {
    if matches!(cell, Cell::Missing) {
        return Ok(None);
    }
    let value = of_its_kind(column, cell)?;
    check_bounds(column, value)?;
    Ok(Some(value))
}

fn of_its_kind<'a>(column: &'a Column, cell: Cell<'a>) -> Result<Value<'a>, String> {
    Ok(match (column.kind, cell) {
        (ColumnKind::Boolean, Cell::Boolean(value)) => Value::Integer(i64::from(value)),
        (ColumnKind::Number, Cell::Number(value)) => Value::Number(value),
        #[expect(
            clippy::cast_precision_loss,
            reason = "a number that is written with more digits is rounded"
        )]
        (ColumnKind::Number, Cell::Integer(value)) => Value::Number(value as f64),
        (ColumnKind::Integer, Cell::Integer(value)) => Value::Integer(value),
        #[expect(clippy::cast_possible_truncation, reason = "whole and in range, as checked")]
        (ColumnKind::Integer, Cell::Number(value)) if value.fract() == 0.0 && value.abs() < MAX_EXACT => {
            Value::Integer(value as i64)
        }
        (ColumnKind::Integer, Cell::Number(value)) if value.fract() == 0.0 => {
            return Err("is too large for a whole number".to_owned());
        }
        (ColumnKind::Text, Cell::Text(text)) => Value::Text(checked(text, column.max_length)?),
        (ColumnKind::Category, Cell::Text(text)) => {
            let place = column.values.iter().position(|value| value == text);
            Value::Choice(place.ok_or_else(|| one_of(&column.values))?, text)
        }
        (kind, _) => {
            return Err(format!(
                "must be {}",
                match kind {
                    ColumnKind::Number => "a number",
                    ColumnKind::Integer => "a whole number",
                    ColumnKind::Boolean => "true or false",
                    ColumnKind::Text | ColumnKind::Category => "a text",
                }
            ));
        }
    })
}

/// Numbers are finite, and within what the column says.
fn check_bounds(column: &Column, value: Value<'_>) -> Result<(), String> {
    #[expect(clippy::cast_precision_loss, reason = "close enough to compare with a bound")]
    let number = match value {
        Value::Number(number) => number,
        Value::Integer(number) => number as f64,
        Value::Text(_) | Value::Choice(..) => return Ok(()),
    };
    if !number.is_finite() {
        return Err("must be a finite number".to_owned());
    }
    match (column.min, column.max) {
        (Some(min), _) if number < min => Err(format!("must be at least {min}")),
        (_, Some(max)) if number > max => Err(format!("must be at most {max}")),
        _ => Ok(()),
    }
}

/// Numbers that a cell of the column takes in its input.
pub(super) fn width(column: &Column) -> usize {
    match column.encoding {
        Encoding::OneHot => column.values.len(),
        Encoding::Index => 1,
    }
}

/// A text within its length, without the zero characters that the runtime cannot take.
pub(super) fn checked(text: &str, max_length: usize) -> Result<&str, String> {
    if text.contains('\0') {
        return Err("must not have the character U+0000".to_owned());
    }
    // Counted only where the bytes alone do not tell.
    if text.len() > max_length && text.chars().count() > max_length {
        return Err(format!("must have at most {max_length} characters"));
    }
    Ok(text)
}

/// Most values that a message lists.
const MAX_LISTED: usize = 20;

fn one_of(values: &[String]) -> String {
    let listed: Vec<&str> = values.iter().take(MAX_LISTED).map(String::as_str).collect();
    let more = if values.len() > MAX_LISTED { ", …" } else { "" };
    format!("must be one of {}{more}", listed.join(", "))
}
