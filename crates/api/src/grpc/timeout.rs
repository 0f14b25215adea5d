//! How long a caller waits: `grpc-timeout` (gRPC over HTTP/2, "Timeout").

use std::time::{Duration, Instant};

use http::HeaderMap;

use crate::error::{ApiError, Code, Result};
use crate::transport::HeaderLines;

const TIMEOUT: &str = "grpc-timeout";
/// The transport below ends calls by the same header, with a status that blames the caller: ours is over before.
const TRANSPORT_MARGIN: Duration = Duration::from_millis(5);
/// Most digits of a time-out.
const MAX_TIMEOUT_DIGITS: usize = 8;

/// The deadline of a call that arrived then; none where the caller gives none.
pub fn deadline(headers: &HeaderMap, arrived: Instant) -> Result<Option<Instant>> {
    if !headers.contains_key(TIMEOUT) {
        return Ok(None);
    }
    let timeout = headers.text(TIMEOUT).and_then(parse).ok_or_else(|| {
        ApiError::new(
            Code::MalformedRequest,
            "grpc-timeout must be up to eight digits and one of H, M, S, m, u, n.",
        )
    })?;
    Ok(arrived.checked_add(timeout.saturating_sub(TRANSPORT_MARGIN)))
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let readable =
        (1..=MAX_TIMEOUT_DIGITS).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let count: u64 = digits.parse().ok().filter(|_| readable)?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// Does the work unless the deadline passes first.
pub async fn before<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Result<T> {
    match deadline {
        Some(deadline) => Ok(tokio::time::timeout_at(deadline.into(), work)
            .await
            .map_err(|_| inference::Error::Deadline)?),
        None => Ok(work.await),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        assert_eq!(parse("5S"), Some(Duration::from_secs(5)));
        assert_eq!(parse("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(parse("250m"), Some(Duration::from_millis(250)));
        for wrong in ["", "S", "5", "+5S", "-1S", "999999999S", "5s", "5 S", "5Sé", "é"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
