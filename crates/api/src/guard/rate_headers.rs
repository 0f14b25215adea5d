//! Telling a caller what is left: `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers) and the
//! older `X-RateLimit-*`, which speak of the window or quota with the least left. What was served though a soft quota is
//! passed says so in `X-Quota-Exceeded`.

use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use auth::AllowanceState;

/// Writes the headers through `put`; none for a route without limits.
pub fn write(windows: &[AllowanceState], mut put: impl FnMut(&'static str, String)) {
    let Some(tightest) = windows.iter().min_by_key(|window| window.remaining) else { return };
    let list = |item: fn(&AllowanceState) -> String| windows.iter().map(item).collect::<Vec<_>>().join(", ");
    put(
        "ratelimit-policy",
        list(|window| {
            let unit = match window.unit {
                "requests" => String::new(),
                "bytes" => ";qu=\"content-bytes\"".to_owned(),
                unit => format!(";qu=\"{unit}\""),
            };
            format!("\"{}\";q={};w={}{unit}", window.name, window.limit, window.period.as_secs())
        }),
    );
    put(
        "ratelimit",
        list(|window| {
            format!("\"{}\";r={};t={}", window.name, window.remaining, whole_seconds(window.reset_after))
        }),
    );
    put("x-ratelimit-limit", tightest.limit.to_string());
    put("x-ratelimit-remaining", tightest.remaining.to_string());
    put("x-ratelimit-reset", whole_seconds(tightest.reset_after).to_string());
    let passed: Vec<&str> =
        windows.iter().filter(|window| window.is_over).map(|window| window.name).collect();
    if !passed.is_empty() {
        put("x-quota-exceeded", passed.join(", "));
    }
}

/// Seconds, rounded up: one who waits as long as told is never too early.
pub fn whole_seconds(duration: Duration) -> u64 {
    duration.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

/// Puts them into the headers of an answer over HTTP.
pub fn put_into(headers: &mut HeaderMap) -> impl FnMut(&'static str, String) {
    |name, value| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}
