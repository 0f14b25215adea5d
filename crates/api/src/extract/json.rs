//! A JSON body: the right media type, no unknown members, every rule of its type kept.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use auth::AttackPattern;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use validator::{Validate, ValidationError, ValidationErrors, ValidationErrorsKind};

use super::body;
use crate::app::App;
use crate::detection::report;
use crate::error::{ApiError, Code, Result};
use crate::request_context::RequestContext;

/// Longest body that is looked through for what looks like an attack, in bytes.
const MOST_LOOKED_AT: usize = 64 << 10;
/// Parts of names of members that may hold anything: a good password looks like an attack.
const SECRETS: [&str; 4] = ["password", "secret", "token", "code"];
/// The message of the parser of times for an invalid one.
const TIMES: [&str; 5] = [
    "input contains invalid characters",
    "premature end of input",
    "trailing input",
    "input is out of range",
    "input is not enough for unique date and time",
];

/// The message of the JSON parser for a number out of range.
pub const TOO_LARGE: &str = "number out of range";

/// A checked body.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + Validate + 'static> FromRequest for Json<T> {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        // Media types are the same in either case (RFC 9110, section 8.3.1).
        let is_json = request.content_type().eq_ignore_ascii_case("application/json");
        let asked = request.clone();
        let whole = body::whole(request, payload, |sizes| sizes.max_json_length);
        Box::pin(async move {
            let bytes = whole.await?;
            if !is_json {
                // Nor looked through: another site's page can have a browser send texts.
                let detail = "Send JSON, with Content-Type: application/json.";
                return Err(ApiError::new(Code::UnsupportedMediaType, detail));
            }
            look_through(&asked, &bytes);
            parse(&bytes).map(Self)
        })
    }
}

/// Counts a body that looks like an attack. That does not decide whether it is accepted.
fn look_through(request: &HttpRequest, bytes: &[u8]) {
    let is_plain = || !bytes.iter().any(|byte| b"'<$;|./".contains(byte));
    if bytes.len() > MOST_LOOKED_AT || is_plain() {
        return;
    }
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
    let origin = RequestContext::origin(request, &request.extensions());
    if let (Some(pattern), Ok(app), Some(address)) = (in_value(&value), App::of(request), origin.address) {
        report(&app, pattern, address, &origin.request_id.unwrap_or_default());
    }
}

fn in_value(value: &Value) -> Option<AttackPattern> {
    match value {
        Value::String(text) => auth::in_text(text),
        Value::Array(items) => items.iter().find_map(in_value),
        Value::Object(members) => {
            let searched =
                members.iter().filter(|(name, _)| !SECRETS.iter().any(|secret| name.contains(secret)));
            searched.map(|(_, value)| value).find_map(in_value)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

pub(super) fn parse<T: DeserializeOwned + Validate>(bytes: &[u8]) -> Result<T> {
    // The reader would take a list for an object, its items for members in the order of their declaration.
    if bytes.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(ApiError::new(Code::MalformedRequest, "The body must be a JSON object."));
    }
    if escapes_nul(bytes) {
        return Err(ApiError::new(
            Code::MalformedRequest,
            "The body contains the character U+0000, which is not allowed.",
        ));
    }
    let value: T = serde_json::from_slice(bytes).map_err(|error| unfit(bytes, &error))?;
    value.validate().map_err(|errors| ApiError::violations(messages(&errors)))?;
    Ok(value)
}

/// Postgres has no U+0000 in its texts, and JSON no way to write it but the escape.
fn escapes_nul(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(backslash) = rest.iter().position(|byte| *byte == b'\\') {
        let escape = &rest[backslash + 1..];
        if escape.starts_with(b"u0000") {
            return true;
        }
        rest = escape.get(1..).unwrap_or_default();
    }
    false
}

/// The same as [`unreadable`], and tells JSON that has another kind of value where a name is expected from what is no
/// JSON: the parser's message is the same.
fn unfit(bytes: &[u8], error: &serde_json::Error) -> ApiError {
    if !error.is_syntax() || serde_json::from_slice::<IgnoredAny>(bytes).is_err() {
        return unreadable(error);
    }
    let place = format!("line {}, column {}", error.line(), error.column());
    ApiError::new(
        Code::MalformedRequest,
        format!("A member has the wrong type: expected a string ({place})."),
    )
}

/// Takes member and position from the parser's message; values, which may be secrets, stay out.
pub fn unreadable(error: &serde_json::Error) -> ApiError {
    let place = format!("line {}, column {}", error.line(), error.column());
    let detail = match error.classify() {
        serde_json::error::Category::Eof => "The JSON body ends too early".to_owned(),
        serde_json::error::Category::Data => without_values(&error.to_string()),
        _ if error.to_string().starts_with(TOO_LARGE) => {
            format!("The body has a number that is too large: at most {:e} is taken", f64::MAX)
        }
        _ => "The body is not valid JSON".to_owned(),
    };
    ApiError::new(Code::MalformedRequest, format!("{detail} ({place})."))
}

/// `unknown field `x`, expected …` and `missing field `x`` are kept; `invalid type: string "…"` loses its value.
fn without_values(text: &str) -> String {
    let text = text.rsplit_once(" at line ").map_or(text, |(text, _)| text);
    if let Some(expected) = expected_instead(text) {
        return format!("A member has the wrong value: expected {expected}");
    }
    match text.split_once(": ") {
        Some((problem, rest)) => {
            let expected = rest.rsplit_once(", expected ").map_or("something else", |(_, expected)| expected);
            format!(
                "A member has the wrong type or value ({problem}): expected {}",
                without_our_names(expected)
            )
        }
        None => format!("The body does not fit: {text}"),
    }
}

/// What should have been written where the readers of times, ids and addresses say this.
pub(super) fn expected_instead(text: &str) -> Option<&'static str> {
    if TIMES.contains(&text) {
        Some("a date or a time as RFC 3339 writes it (2030-01-31, 2030-01-31T12:00:00Z)")
    } else if text.starts_with("UUID parsing failed") {
        Some("an id, which is a UUID")
    } else if text == "invalid IP address syntax" {
        Some("an IP address")
    } else {
        None
    }
}

/// The reader calls a value by the name of the type that it becomes here.
pub(super) fn without_our_names(expected: &str) -> &str {
    match expected.split(' ').next().unwrap_or_default() {
        _ if expected == "a map" => "an object",
        _ if expected == "a sequence" => "a list",
        "struct" => "an object",
        "enum" => "one of its values",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, not negative and not too large",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number, not too large",
        "f32" | "f64" => "a number",
        _ => expected,
    }
}

fn messages(errors: &ValidationErrors) -> BTreeMap<String, Vec<String>> {
    let field = |(name, kind): (&std::borrow::Cow<'_, str>, &ValidationErrorsKind)| {
        let messages = match kind {
            ValidationErrorsKind::Field(errors) => errors.iter().map(message).collect(),
            ValidationErrorsKind::Struct(_) | ValidationErrorsKind::List(_) => {
                vec!["this is not valid".to_owned()]
            }
        };
        (name.to_string(), messages)
    };
    errors.errors().iter().map(field).collect()
}

fn message(error: &ValidationError) -> String {
    error.message.as_ref().map_or_else(|| format!("this is not valid ({})", error.code), ToString::to_string)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use std::collections::BTreeMap;

    use super::{unfit, unreadable, without_values};

    #[test]
    fn a_value_that_is_no_name_is_told_from_what_is_no_json() {
        #[derive(Debug, serde::Deserialize)]
        enum Name {}
        let told = |text: &str| {
            let error = serde_json::from_str::<BTreeMap<String, Name>>(text).unwrap_err();
            unfit(text.as_bytes(), &error).detail
        };
        for text in ["{\"a\": null}", "{\"a\": 5}", "{\"a\": [1]}"] {
            assert!(told(text).contains("expected a string (line 1, column"), "{text}: {}", told(text));
        }
        assert!(told("{\"a\": nul}").contains("not valid JSON"));
    }

    #[test]
    fn a_number_beyond_all_is_no_fault_of_the_syntax() {
        let refusal = |text: &str| {
            let error = serde_json::from_str::<serde_json::Value>(text).map_err(|error| unreadable(&error));
            format!("{:?}", error.err())
        };
        assert!(
            refusal("[1e400]").contains("1.7976931348623157e308 is taken (line 1, column 6)"),
            "{}",
            refusal("[1e400]")
        );
        assert!(refusal("[1e40x]").contains("not valid JSON"));
    }

    #[test]
    fn neither_values_nor_names_of_types_are_told() {
        let refusal =
            without_values("invalid type: string \"secret\", expected struct Login at line 1 column 9");
        assert_eq!(refusal, "A member has the wrong type or value (invalid type): expected an object");
        for (reader, expected) in [
            ("u32", "a whole number, not negative and not too large"),
            ("i64", "a whole number, not too large"),
            ("a boolean", "a boolean"),
            ("a map", "an object"),
            ("a sequence", "a list"),
        ] {
            let refusal =
                without_values(&format!("invalid value: integer `-1`, expected {reader} at line 1 column 9"));
            assert_eq!(
                refusal,
                format!("A member has the wrong type or value (invalid value): expected {expected}")
            );
        }
        let id = without_values("UUID parsing failed: invalid character: found `x` at 0 at line 1 column 9");
        assert_eq!(id, "A member has the wrong value: expected an id, which is a UUID");
        assert!(without_values("premature end of input at line 1 column 9").contains("RFC 3339"));
        assert_eq!(
            without_values("missing field `x` at line 1 column 2"),
            "The body does not fit: missing field `x`"
        );
    }
}
