//! How much may be used in a day or a month, exactly (docs/decisions/0022).
//!
//! The database records what was reserved; each replica holds blocks of it in memory, from which requests take before
//! the work and to which they return what they did not use.

mod administration;
mod block;
mod book;
mod lease;

use std::time::Duration;

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, Utc};
use storage::named_enum;
use uuid::Uuid;

pub use administration::{QuotaRequest, QuotaSubject, QuotaView};
pub(crate) use book::QuotaBook;
pub use lease::{Charges, Demand, QuotaLease};

/// Microseconds of a millisecond: compute time is counted in finer units than callers see.
const MICROSECONDS: i64 = 1000;

named_enum! {
    /// What a quota counts.
    pub enum QuotaUnit {
        /// Requests that a model answered.
        Requests = "requests",
        /// Rows or pictures that a model answered.
        Inferences = "inferences",
        /// Pictures.
        Images = "images",
        /// Bytes of request bodies.
        Bytes = "bytes",
        /// Milliseconds that models ran.
        ComputeMilliseconds = "compute_ms",
        /// What rows or pictures cost, each the price of its model.
        Credits = "credits",
    }
}

impl QuotaUnit {
    /// What one of it is in the ledger.
    const fn scale(self) -> i64 {
        if matches!(self, Self::ComputeMilliseconds) { MICROSECONDS } else { 1 }
    }

    /// What is left in the ledger's measure, as callers know it.
    fn to_unit(self, amount: i64) -> u64 {
        u64::try_from(amount / self.scale()).unwrap_or(0)
    }
}

named_enum! {
    /// For how long a quota is; both begin at midnight UTC.
    pub enum QuotaPeriod {
        /// A day.
        Day = "day",
        /// A month of the calendar.
        Month = "month",
    }
}

impl QuotaPeriod {
    /// The first day of the period that a day is in.
    fn start(self, day: NaiveDate) -> NaiveDate {
        match self {
            Self::Day => day,
            Self::Month => day.with_day(1).unwrap_or(day),
        }
    }

    /// The first day of the next one.
    fn end(self, start: NaiveDate) -> NaiveDate {
        let next = match self {
            Self::Day => start.checked_add_days(Days::new(1)),
            Self::Month => start.checked_add_months(Months::new(1)),
        };
        next.unwrap_or(NaiveDate::MAX)
    }

    /// How long the period that begins on a day is.
    fn length(self, start: NaiveDate) -> Duration {
        (self.end(start) - start).to_std().unwrap_or_default()
    }

    /// How long until the period that begins on a day is over.
    fn left(self, start: NaiveDate, now: DateTime<Utc>) -> Duration {
        let end = self.end(start).and_time(chrono::NaiveTime::MIN).and_utc();
        (end - now).to_std().unwrap_or_default()
    }
}

/// A quota that holds for a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The account, or the key.
    pub subject: Uuid,
    /// Whether it is the key's.
    pub is_key: bool,
    /// What is counted.
    pub unit: QuotaUnit,
    /// For how long.
    pub period: QuotaPeriod,
    /// The most, in the unit.
    pub cap: i64,
    /// Whether what is beyond is refused.
    pub hard: bool,
}

impl Quota {
    /// Selects the quotas that hold for a caller: an account's own takes precedence over its role's, and a key has its
    /// own besides.
    pub(crate) fn applying(account: Uuid, key: Option<Uuid>, rows: &[storage::Quota]) -> Vec<Self> {
        let of_account = |row: &storage::Quota| {
            let same = |other: &storage::Quota| {
                other.scope == "account" && (&other.unit, &other.period) == (&row.unit, &row.period)
            };
            row.scope == "account" || (row.scope == "role" && !rows.iter().any(same))
        };
        let held = rows.iter().filter_map(|row| {
            let is_key = row.scope == "key";
            let subject = if is_key { key? } else { account };
            let (unit, period) = (row.unit.parse().ok()?, row.period.parse().ok()?);
            let quota = Self { subject, is_key, unit, period, cap: row.cap, hard: row.hard };
            (is_key || of_account(row)).then_some(quota)
        });
        held.collect()
    }

    /// The cap in the ledger's measure.
    const fn ledger_cap(&self) -> i64 {
        self.cap.saturating_mul(self.unit.scale())
    }

    /// Its name in `RateLimit-Policy`.
    pub const fn policy(&self) -> &'static str {
        use QuotaPeriod::{Day, Month};
        use QuotaUnit::{Bytes, ComputeMilliseconds, Credits, Images, Inferences, Requests};
        match (self.is_key, self.unit, self.period) {
            (false, Requests, Day) => "requests-day",
            (false, Requests, Month) => "requests-month",
            (false, Inferences, Day) => "inferences-day",
            (false, Inferences, Month) => "inferences-month",
            (false, Images, Day) => "images-day",
            (false, Images, Month) => "images-month",
            (false, Bytes, Day) => "bytes-day",
            (false, Bytes, Month) => "bytes-month",
            (false, ComputeMilliseconds, Day) => "compute_ms-day",
            (false, ComputeMilliseconds, Month) => "compute_ms-month",
            (false, Credits, Day) => "credits-day",
            (false, Credits, Month) => "credits-month",
            (true, Requests, Day) => "key-requests-day",
            (true, Requests, Month) => "key-requests-month",
            (true, Inferences, Day) => "key-inferences-day",
            (true, Inferences, Month) => "key-inferences-month",
            (true, Images, Day) => "key-images-day",
            (true, Images, Month) => "key-images-month",
            (true, Bytes, Day) => "key-bytes-day",
            (true, Bytes, Month) => "key-bytes-month",
            (true, ComputeMilliseconds, Day) => "key-compute_ms-day",
            (true, ComputeMilliseconds, Month) => "key-compute_ms-month",
            (true, Credits, Day) => "key-credits-day",
            (true, Credits, Month) => "key-credits-month",
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn periods_begin_and_end_at_midnight_utc() {
        let month = QuotaPeriod::Month;
        assert_eq!(month.start(day("2028-02-29")), day("2028-02-01"));
        assert_eq!(month.end(day("2028-02-01")), day("2028-03-01"));
        assert_eq!(month.length(day("2028-02-01")), Duration::from_secs(29 * 86_400));
        assert_eq!(QuotaPeriod::Day.end(day("2027-12-31")), day("2028-01-01"));
        let late = "2027-12-31T23:59:58.5Z".parse().unwrap();
        assert_eq!(QuotaPeriod::Day.left(day("2027-12-31"), late), Duration::from_millis(1500));
        assert_eq!(QuotaPeriod::Day.left(day("2027-12-30"), late), Duration::ZERO);
    }

    #[test]
    fn an_accounts_own_word_goes_before_its_roles_and_a_key_has_its_own_besides() {
        let (account, key) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let row = |scope: &str, period: &str, cap| storage::Quota {
            id: Uuid::nil(),
            scope: scope.into(),
            subject: String::new(),
            account_id: None,
            unit: "requests".into(),
            period: period.into(),
            cap,
            hard: true,
            updated_at: DateTime::UNIX_EPOCH,
        };
        let rows = [
            row("role", "day", 5),
            row("account", "day", 100),
            row("role", "month", 7),
            row("key", "day", 1),
        ];
        let held =
            |key| Quota::applying(account, key, &rows).iter().map(|quota| quota.cap).collect::<Vec<_>>();
        assert_eq!(held(Some(key)), [100, 7, 1], "an account may get more than its role, a key narrows");
        assert_eq!(held(None), [100, 7]);
    }
}
