//! Telling a caller what is left: `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers) and the
//! older `X-RateLimit-*`, which speak of the window or quota with the least left. What was served though a soft quota
//! is passed says so in `X-Quota-Exceeded`.

use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use auth::{AllowanceState, QuotaUnit};

/// One of these headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateHeader {
    /// Every window and quota.
    Policy,
    /// What is left of each.
    Left,
    /// The size of the tightest.
    TightestLimit,
    /// What is left of it.
    TightestLeft,
    /// When it starts again.
    TightestReset,
    /// The soft quotas that are passed.
    Passed,
}

impl RateHeader {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Policy,
        Self::Left,
        Self::TightestLimit,
        Self::TightestLeft,
        Self::TightestReset,
        Self::Passed,
    ];

    /// Its name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Policy => "ratelimit-policy",
            Self::Left => "ratelimit",
            Self::TightestLimit => "x-ratelimit-limit",
            Self::TightestLeft => "x-ratelimit-remaining",
            Self::TightestReset => "x-ratelimit-reset",
            Self::Passed => "x-quota-exceeded",
        }
    }

    /// Its name, made when the program was built: making it takes longer than everything else here.
    const fn of_http(self) -> HeaderName {
        const POLICY: HeaderName = HeaderName::from_static(RateHeader::Policy.name());
        const LEFT: HeaderName = HeaderName::from_static(RateHeader::Left.name());
        const LIMIT: HeaderName = HeaderName::from_static(RateHeader::TightestLimit.name());
        const TIGHTEST_LEFT: HeaderName = HeaderName::from_static(RateHeader::TightestLeft.name());
        const RESET: HeaderName = HeaderName::from_static(RateHeader::TightestReset.name());
        const PASSED: HeaderName = HeaderName::from_static(RateHeader::Passed.name());
        match self {
            Self::Policy => POLICY,
            Self::Left => LEFT,
            Self::TightestLimit => LIMIT,
            Self::TightestLeft => TIGHTEST_LEFT,
            Self::TightestReset => RESET,
            Self::Passed => PASSED,
        }
    }
}

/// Room for the text on one window, in bytes.
const EACH: usize = 48;

/// Writes the headers through `put`; none for a route without limits.
pub fn write(windows: &[AllowanceState], mut put: impl FnMut(RateHeader, String)) {
    let Some(tightest) = windows.iter().min_by_key(|window| window.remaining) else { return };
    let mut policy = Text::with_room(windows.len() * EACH);
    let mut left = Text::with_room(windows.len() * EACH);
    for window in windows {
        policy.item(window.name).text(";q=").number(window.limit).text(";w=").number(window.period.as_secs());
        match window.unit {
            QuotaUnit::Requests => &mut policy,
            QuotaUnit::Bytes => policy.text(";qu=\"content-bytes\""),
            unit => policy.text(";qu=\"").text(unit.name()).text("\""),
        };
        left.item(window.name).text(";r=").number(window.remaining);
        left.text(";t=").number(whole_seconds(window.reset_after));
    }
    put(RateHeader::Policy, policy.0);
    put(RateHeader::Left, left.0);
    put(RateHeader::TightestLimit, tightest.limit.to_string());
    put(RateHeader::TightestLeft, tightest.remaining.to_string());
    put(RateHeader::TightestReset, whole_seconds(tightest.reset_after).to_string());
    if windows.iter().any(|window| window.is_over) {
        let passed = windows.iter().filter(|window| window.is_over).map(|window| window.name);
        put(RateHeader::Passed, passed.collect::<Vec<_>>().join(", "));
    }
}

/// A header's value in the making. It is written for every answer, and `format!` takes several times as long.
struct Text(String);

impl Text {
    fn with_room(bytes: usize) -> Self {
        Self(String::with_capacity(bytes))
    }

    /// The next item of the list, by its quoted name.
    fn item(&mut self, name: &str) -> &mut Self {
        if !self.0.is_empty() {
            self.text(", ");
        }
        self.text("\"").text(name).text("\"")
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.0.push_str(text);
        self
    }

    fn number(&mut self, number: u64) -> &mut Self {
        self.text(itoa::Buffer::new().format(number))
    }
}

/// Seconds, rounded up: one who waits as long as told is never too early.
pub fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// Puts them into the headers of an answer over HTTP.
pub fn put_into(headers: &mut HeaderMap) -> impl FnMut(RateHeader, String) {
    |header, value| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(header.of_http(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_window_and_quota_is_told_and_the_tightest_by_itself() {
        let window = |name, unit, remaining, millis, is_over| AllowanceState {
            name,
            limit: 60,
            period: Duration::from_secs(3600),
            remaining,
            reset_after: Duration::from_millis(millis),
            unit,
            is_over,
        };
        let windows = [
            window("hour", QuotaUnit::Requests, 59, 3_599_001, false),
            window("bytes-day", QuotaUnit::Bytes, 7, 5_000, true),
            window("images-day", QuotaUnit::Images, 8, 0, false),
        ];
        let mut told = Vec::new();
        write(&windows, |header, value| told.push((header.name(), value)));
        let expected = [
            (
                "ratelimit-policy",
                r#""hour";q=60;w=3600, "bytes-day";q=60;w=3600;qu="content-bytes", "images-day";q=60;w=3600;qu="images""#,
            ),
            ("ratelimit", r#""hour";r=59;t=3600, "bytes-day";r=7;t=5, "images-day";r=8;t=0"#),
            ("x-ratelimit-limit", "60"),
            ("x-ratelimit-remaining", "7"),
            ("x-ratelimit-reset", "5"),
            ("x-quota-exceeded", "bytes-day"),
        ];
        assert_eq!(told, expected.map(|(name, value)| (name, value.to_owned())));
    }
}
