//! The `[table]` table: how rows of named columns become the inputs of a tabular model.

use std::collections::HashSet;

use serde::Deserialize;

use super::text::{MAX_TEXT_LENGTH, default_length};
use crate::named::named_enum;

/// Most columns of a table.
const MAX_COLUMNS: usize = 4096;
/// Most values of a category.
const MAX_CATEGORY_VALUES: usize = 4096;

/// The `[table]` table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableInput {
    /// Name of the input of shape `[batch, columns]` that takes all columns; without it each column has an input of
    /// its own.
    #[serde(default)]
    pub input: Option<String>,
    /// The columns in the model's order.
    pub columns: Vec<Column>,
}

/// One `[[table.columns]]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// What callers name it.
    pub name: String,
    /// What its cells hold; default `number`.
    #[serde(default, rename = "type")]
    pub kind: ColumnKind,
    /// Name of the column's own input; default its name. Only without [`TableInput::input`].
    #[serde(default)]
    pub input: Option<String>,
    /// Whether a row must have it; default yes, unless there is a `default`. A number that is neither given nor has a
    /// default is NaN, a text empty.
    #[serde(default)]
    pub required: Option<bool>,
    /// What a row without it gets.
    #[serde(default)]
    pub default: Option<toml::Value>,
    /// Least number allowed.
    #[serde(default)]
    pub min: Option<f64>,
    /// Largest number allowed.
    #[serde(default)]
    pub max: Option<f64>,
    /// The texts that a category may be, in the model's order.
    #[serde(default)]
    pub values: Vec<String>,
    /// How a category is written; default `index`.
    #[serde(default)]
    pub encoding: Encoding,
    /// Characters that a text may have; default 10 000.
    #[serde(default = "default_length")]
    pub max_length: usize,
}

named_enum! {
    /// What the cells of a column hold.
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum ColumnKind {
        /// Any number.
        #[default]
        Number = "number",
        /// A whole number.
        Integer = "integer",
        /// true or false; 1 and 0 for the model.
        Boolean = "boolean",
        /// A text.
        Text = "text",
        /// One of a few texts.
        Category = "category",
    }
}

/// How a category is written for the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// The place of the value among the column's values, from 0; to an input of strings the text itself.
    #[default]
    Index,
    /// As many numbers as there are values: 1 in the value's place, 0 elsewhere.
    OneHot,
}

impl TableInput {
    pub(super) fn check(&self) -> Result<(), String> {
        if !(1..=MAX_COLUMNS).contains(&self.columns.len()) {
            return Err(format!("[table] needs 1 to {MAX_COLUMNS} columns"));
        }
        let mut names = HashSet::new();
        for column in &self.columns {
            let refused = |reason: &str| Err(format!("[table] column \"{}\": {reason}", column.name));
            if !names.insert(column.name.as_str()) {
                return refused("there are two of this name");
            }
            if self.input.is_some() && column.input.is_some() {
                return refused("input has no meaning where [table] has an input for all columns");
            }
            if let Err(reason) = column.check() {
                return refused(&reason);
            }
        }
        Ok(())
    }
}

impl Column {
    /// Whether a row must have it.
    pub fn is_required(&self) -> bool {
        self.required.unwrap_or(self.default.is_none())
    }

    fn check(&self) -> Result<(), String> {
        if self.name.is_empty() {
            return Err("a column has a name".to_owned());
        }
        let numeric = matches!(self.kind, ColumnKind::Number | ColumnKind::Integer);
        if !numeric && (self.min.is_some() || self.max.is_some()) {
            return Err("min and max are for numbers".to_owned());
        }
        let (min, max) = (self.min.unwrap_or(f64::NEG_INFINITY), self.max.unwrap_or(f64::INFINITY));
        if min.is_nan() || max.is_nan() || min > max {
            return Err("min must not exceed max".to_owned());
        }
        let is_category = self.kind == ColumnKind::Category;
        if is_category == self.values.is_empty() {
            return Err("a category, and nothing else, needs values".to_owned());
        }
        if self.values.len() > MAX_CATEGORY_VALUES {
            return Err(format!("a category has at most {MAX_CATEGORY_VALUES} values"));
        }
        if self.values.iter().collect::<HashSet<_>>().len() != self.values.len() {
            return Err("a value stands twice".to_owned());
        }
        if !is_category && self.encoding == Encoding::OneHot {
            return Err("encoding is for categories".to_owned());
        }
        if !(1..=MAX_TEXT_LENGTH).contains(&self.max_length) {
            return Err(format!("max_length must be 1 to {MAX_TEXT_LENGTH}"));
        }
        if self.is_required() && self.default.is_some() {
            return Err("a required column needs no default".to_owned());
        }
        let can_be_missing = matches!(self.kind, ColumnKind::Number | ColumnKind::Text);
        if !self.is_required() && self.default.is_none() && !can_be_missing {
            return Err("a column of this type that is not required needs a default".to_owned());
        }
        Ok(())
    }
}
