//! Parsing of queries and forms (WHATWG URL, section 5.1). An error names the parameter and what it may be, never its
//! value, which may be a secret. (`serde_urlencoded` does it the other way round.)

use std::borrow::Cow;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, Expected, MapAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use url::form_urlencoded::{self, Parse};

use super::json::{expected_instead, without_our_names};
use crate::error::{ApiError, Result};

/// Longest part of an unknown name that an error repeats, in characters.
const LONGEST_NAME: usize = 64;

/// Reads all of it.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T> {
    let pairs = Pairs { pairs: form_urlencoded::parse(text.as_bytes()), value: None };
    T::deserialize(pairs).map_err(|Mismatch { name, message }| {
        let shown: String =
            name.chars().filter(|character| !character.is_control()).take(LONGEST_NAME).collect();
        ApiError::field(&shown, message)
    })
}

/// What does not fit, and what it may be.
#[derive(Debug, PartialEq, Eq)]
struct Mismatch {
    /// Empty where the name is not known here; the caller that knows it adds it.
    name: String,
    message: String,
}

impl Mismatch {
    fn new(name: &str, message: impl Into<String>) -> Self {
        Self { name: name.into(), message: message.into() }
    }

    fn value(message: impl Into<String>) -> Self {
        Self::new("", message)
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.name, self.message)
    }
}

impl std::error::Error for Mismatch {}

impl Error for Mismatch {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let known = expected_instead(&message.to_string());
        Self::value(known.map_or_else(|| "this is not valid".to_owned(), |what| format!("use {what}")))
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::value(format!("use {}", without_our_names(&expected.to_string())))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::value(format!("use {}", without_our_names(&expected.to_string())))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::value(format!("use {}", expected.join(" or ")))
    }

    fn unknown_field(name: &str, expected: &'static [&'static str]) -> Self {
        let known = if expected.is_empty() { "none".into() } else { expected.join(", ") };
        Self::new(name, format!("this is not known here; what is: {known}"))
    }

    fn missing_field(name: &'static str) -> Self {
        Self::new(name, "this is needed")
    }

    fn duplicate_field(name: &'static str) -> Self {
        Self::new(name, "say it once")
    }
}

/// What is left to read.
struct Pairs<'a> {
    pairs: Parse<'a>,
    /// The pair whose name was read last.
    value: Option<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'de> Deserializer<'de> for Pairs<'_> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Mismatch> {
        visitor.visit_map(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for Pairs<'_> {
    type Error = Mismatch;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> std::result::Result<Option<K::Value>, Mismatch> {
        let Some((name, value)) = self.pairs.next() else { return Ok(None) };
        // Postgres has no U+0000 in its texts.
        if name.contains('\0') || value.contains('\0') {
            return Err(Mismatch::new(&name, "contains the character U+0000, which is not allowed"));
        }
        let (name, _) = self.value.insert((name, value));
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> std::result::Result<S::Value, Mismatch> {
        let (name, value) =
            self.value.take().ok_or_else(|| Mismatch::value("a name comes before its value"))?;
        seed.deserialize(Text(&value)).map_err(|unfit| Mismatch { name: name.into_owned(), ..unfit })
    }
}

/// A value, which is what its reader wants it to be.
struct Text<'a>(&'a str);

impl<'de> Deserializer<'de> for Text<'_> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Mismatch> {
        visitor.visit_str(self.0)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Mismatch> {
        visitor.visit_bool(self.0.parse().map_err(|_| Mismatch::value("use true or false"))?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Mismatch> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> std::result::Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> std::result::Result<V::Value, Mismatch> {
        StrDeserializer::new(self.0).deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map
        struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]

    use chrono::NaiveDate;
    use serde::Deserialize;
    use uuid::Uuid;

    use super::super::moment::Moment;
    use super::super::number::PageLimit;
    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Span {
        #[default]
        Day,
        Month,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct ExpectedType {
        limit: Option<PageLimit>,
        force: Option<bool>,
        id: Option<Uuid>,
        day: Option<NaiveDate>,
        at: Option<Moment>,
        #[serde(default)]
        by: Span,
        search: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    struct Token {
        #[expect(dead_code, reason = "only whether it is there")]
        token: String,
    }

    #[test]
    fn what_fits_is_read() {
        assert_eq!(read::<ExpectedType>("").unwrap(), ExpectedType::default());
        let id = Uuid::nil();
        let wanted =
            read::<ExpectedType>(&format!("by=month&search=a+b%26%C3%A9&limit=7&force=true&id={id}"))
                .unwrap();
        assert_eq!((wanted.by, wanted.search.as_deref()), (Span::Month, Some("a b&é")));
        assert_eq!(
            (wanted.limit.map(PageLimit::get), wanted.force, wanted.id),
            (Some(7), Some(true), Some(id))
        );
    }

    #[test]
    fn what_does_not_fit_is_told_by_name_and_without_its_value() {
        for (query, name, expected) in [
            ("limit=s3cret", "limit", "use a whole number from 1 to 100"),
            ("limit=", "limit", "use a whole number from 1 to 100"),
            ("limit=101", "limit", "use a whole number from 1 to 100"),
            ("limit=-1", "limit", "use a whole number from 1 to 100"),
            ("limit=0", "limit", "use a whole number from 1 to 100"),
            ("search=x&force=s3cret", "force", "use true or false"),
            ("id=s3cret", "id", "use an id, which is a UUID"),
            ("day=s3cret", "day", "use a date or a time as RFC 3339"),
            ("day=2026-02-30", "day", "use a date or a time as RFC 3339"),
            ("at=2026-01-01T25:00:00Z", "at", "use a date or a time as RFC 3339"),
            ("at=-9999-01-01T00:00:00Z", "at", "use a date or a time as RFC 3339, in the years 0000 to 9999"),
            (
                "at=9999-12-31T23:59:59-00:01",
                "at",
                "use a date or a time as RFC 3339, in the years 0000 to 9999",
            ),
            ("by=s3cret", "by", "use day or month"),
            ("colour=s3cret", "colour", "what is: limit, force, id"),
            ("%00=s3cret", "", "U+0000"),
            ("search=s3cret%00", "search", "U+0000"),
            ("limit=1&limit=2", "limit", "say it once"),
        ] {
            let error = read::<ExpectedType>(query).unwrap_err();
            let violations = error.hints.violations.as_ref().unwrap();
            let (field, messages) = violations.first_key_value().unwrap();
            assert_eq!((violations.len(), field.as_str()), (1, name), "{query}");
            assert!(messages[0].contains(expected), "{query}: {messages:?}");
            assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
        }
        let error = read::<Token>("other=1").unwrap_err();
        assert_eq!(error.hints.violations.unwrap()["token"], ["this is needed"]);
    }

    #[test]
    fn long_names_are_told_in_part() {
        let error = read::<ExpectedType>(&format!("{}=1", "é".repeat(9_000))).unwrap_err();
        let violations = error.hints.violations.unwrap();
        assert_eq!(violations.first_key_value().unwrap().0.chars().count(), LONGEST_NAME);
    }
}
