//! The `[warm_up]` table: what a model's first runs are made on, before it counts as ready.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Most batch sizes to warm up for.
const MAX_BATCH_SIZES: usize = 16;
/// Largest batch to warm up for.
const MAX_BATCH_SIZE: usize = 4096;

/// The `[warm_up]` table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WarmUp {
    /// One run for each, 1 to 4096; default a single run of one row.
    pub batch_sizes: Vec<usize>,
    /// What an input gets, by its name; default zeros of its shape, where a variable dimension counts as 1.
    pub inputs: BTreeMap<String, WarmUpInput>,
}

/// The `[warm_up.inputs.<name>]` table.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WarmUpInput {
    /// All dimensions; -1 in the first place stands for the batch size. Default the model's own.
    pub shape: Option<Vec<i64>>,
    /// The value of each element; default 0.
    pub value: Option<f64>,
    /// The value of each element of an input of strings; default the empty text.
    pub text: Option<String>,
}

impl Default for WarmUp {
    fn default() -> Self {
        Self { batch_sizes: vec![1], inputs: BTreeMap::new() }
    }
}

impl WarmUp {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.batch_sizes.is_empty() || self.batch_sizes.len() > MAX_BATCH_SIZES {
            return Err(format!("[warm_up] batch_sizes needs 1 to {MAX_BATCH_SIZES} numbers"));
        }
        if self.batch_sizes.iter().any(|size| !(1..=MAX_BATCH_SIZE).contains(size)) {
            return Err(format!("[warm_up] batch_sizes must be 1 to {MAX_BATCH_SIZE} each"));
        }
        for (name, input) in &self.inputs {
            let dimensions = input.shape.iter().flatten().enumerate();
            if dimensions.into_iter().any(|(place, &size)| size < 0 && (place > 0 || size != -1)) {
                return Err(format!(
                    "[warm_up] shape of \"{name}\" may be -1 in the first place only, and never less"
                ));
            }
            if input.value.is_some_and(|value| !value.is_finite()) {
                return Err(format!("[warm_up] value of \"{name}\" must be finite"));
            }
        }
        Ok(())
    }
}
