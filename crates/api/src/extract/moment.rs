//! Moments of queries.

use chrono::{DateTime, Datelike, Utc};
use serde::de::{Deserialize, Deserializer, Error, Unexpected};

/// The years that RFC 3339 has; others are no times of ours, and not both databases know them.
const YEARS: std::ops::RangeInclusive<i32> = 0..=9999;

/// A moment as RFC 3339 writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(DateTime<Utc>);

impl Moment {
    /// The moment.
    pub const fn get(self) -> DateTime<Utc> {
        self.0
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let moment = DateTime::<Utc>::deserialize(deserializer)?;
        let expected = "a date or a time as RFC 3339, in the years 0000 to 9999";
        let known = YEARS.contains(&moment.year());
        known
            .then_some(Self(moment))
            .ok_or_else(|| D::Error::invalid_value(Unexpected::Other("another year"), &expected))
    }
}
