//! Whole numbers of queries.

use std::fmt::{self, Formatter};

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// A whole number from `LEAST` to `MOST`. The error for anything else names these bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WholeNumber<const LEAST: u32, const MOST: u32>(u32);

/// The most items of a page of a list.
pub type PageLimit = WholeNumber<1, 100>;

impl<const LEAST: u32, const MOST: u32> WholeNumber<LEAST, MOST> {
    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

struct Bounds<const LEAST: u32, const MOST: u32>;

impl<const LEAST: u32, const MOST: u32> Visitor<'_> for Bounds<LEAST, MOST> {
    type Value = WholeNumber<LEAST, MOST>;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "a whole number from {LEAST} to {MOST}")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        let number = text.parse().ok().filter(|number| (LEAST..=MOST).contains(number));
        number.map(WholeNumber).ok_or_else(|| E::invalid_value(Unexpected::Other("another text"), &self))
    }
}

impl<'de, const LEAST: u32, const MOST: u32> Deserialize<'de> for WholeNumber<LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Bounds)
    }
}
