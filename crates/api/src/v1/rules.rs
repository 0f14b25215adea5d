//! The validation rules of fields, for bodies and the command line alike.

use std::ops::RangeInclusive;

use validator::ValidationError;

/// Nothing, or what to do instead.
pub type Checked = Result<(), ValidationError>;

/// Refuses what does not fit, with a message that says what does.
pub fn require(fits: bool, rule: &'static str, message: &'static str) -> Checked {
    if fits { Ok(()) } else { Err(ValidationError::new(rule).with_message(message.into())) }
}

/// What a refusal says to do.
pub fn message(error: ValidationError) -> String {
    error.message.unwrap_or(error.code).into_owned()
}

/// Whether a text has so many characters, without those around it that are not kept; the most holds for all of them.
pub fn has_length(text: &str, bounds: RangeInclusive<usize>) -> bool {
    text.trim().chars().count() >= *bounds.start() && text.chars().count() <= *bounds.end()
}

/// Whether a text of so many characters stays on its line wherever it is shown.
pub fn is_line(text: &str, bounds: RangeInclusive<usize>) -> bool {
    has_length(text, bounds) && !text.chars().any(char::is_control)
}
