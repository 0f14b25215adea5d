//! Telling a caller what is left: `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers) and the
//! older `X-RateLimit-*`, which speak of the window with the least left.

use std::fmt::Display;
use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use auth::AllowanceState;

/// Writes the headers; none for a route without limits.
pub fn write(windows: &[AllowanceState], headers: &mut HeaderMap) {
    let Some(tightest) = windows.iter().min_by_key(|window| window.remaining) else { return };
    let list = |item: fn(&AllowanceState) -> String| windows.iter().map(item).collect::<Vec<_>>().join(", ");
    put(
        headers,
        "ratelimit-policy",
        list(|window| format!("\"{}\";q={};w={}", window.name, window.limit, window.period.as_secs())),
    );
    put(
        headers,
        "ratelimit",
        list(|window| {
            format!("\"{}\";r={};t={}", window.name, window.remaining, whole_seconds(window.reset_after))
        }),
    );
    put(headers, "x-ratelimit-limit", tightest.limit);
    put(headers, "x-ratelimit-remaining", tightest.remaining);
    put(headers, "x-ratelimit-reset", whole_seconds(tightest.reset_after));
}

/// Seconds, rounded up: one who waits as long as told is never too early.
pub fn whole_seconds(duration: Duration) -> u64 {
    duration.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

fn put(headers: &mut HeaderMap, name: &'static str, value: impl Display) {
    if let Ok(value) = HeaderValue::from_str(&value.to_string()) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
