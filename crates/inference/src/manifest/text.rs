//! The `[text]` table: the input that takes texts.

use serde::Deserialize;

/// Characters that a text may have where `model.toml` says nothing.
const DEFAULT_TEXT_LENGTH: usize = 10_000;
/// Most characters that `model.toml` may allow.
pub(super) const MAX_TEXT_LENGTH: usize = 1_000_000;

/// The `[text]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextInput {
    /// Name of the model's input, of strings, of shape `[batch]` or `[batch, 1]`.
    pub input: String,
    /// Characters that one text may have, 1 to 1 000 000; default 10 000.
    #[serde(default = "default_length")]
    pub max_length: usize,
}

pub(super) fn default_length() -> usize {
    DEFAULT_TEXT_LENGTH
}

impl TextInput {
    pub(super) fn check(&self) -> Result<(), String> {
        if !(1..=MAX_TEXT_LENGTH).contains(&self.max_length) {
            return Err(format!("[text] max_length must be 1 to {MAX_TEXT_LENGTH}"));
        }
        Ok(())
    }
}
