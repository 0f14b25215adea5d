//! Time-based one-time passwords (RFC 6238) as every authenticator app knows them: HMAC-SHA-1, 30 s, six digits.

use aws_lc_rs::hmac;
use chrono::{DateTime, Utc};
use data_encoding::BASE32_NOPAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::crypto;

/// Bytes of a secret: 160 bits, the length that RFC 4226, section 4, recommends.
pub(crate) const SECRET_BYTES: usize = 20;
/// Seconds that a code is shown.
const PERIOD: i64 = 30;
/// Digits of a code.
const DIGITS: usize = 6;
/// Steps before and after the present one whose codes are taken too: clocks differ, and typing takes a while
/// (RFC 6238, section 5.2).
const TOLERANCE: i64 = 1;
/// Stands as it is in a URI (RFC 3986, section 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The step whose code this is, if it is one of now. Each of them is looked at, in constant time.
pub(crate) fn matching_step(secret: &[u8], text: &str, now: DateTime<Utc>) -> Option<i64> {
    let present = now.timestamp().div_euclid(PERIOD);
    let steps = present - TOLERANCE..=present + TOLERANCE;
    steps.fold(None, |found, step| {
        if crypto::same(code(secret, step).as_bytes(), text.as_bytes()) { Some(step) } else { found }
    })
}

/// Whether a text could be a code at all.
pub(crate) fn is_code(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The secret in the form that people type.
pub(crate) fn written(secret: &[u8]) -> String {
    BASE32_NOPAD.encode(secret)
}

/// What an authenticator app reads from the QR code.
pub(crate) fn uri(secret: &[u8], issuer: &str, account: &str) -> String {
    let [issuer, account] = [issuer, account].map(|text| utf8_percent_encode(text, ESCAPED).to_string());
    let secret = written(secret);
    format!(
        "otpauth://totp/{issuer}:{account}?secret={secret}&issuer={issuer}&algorithm=SHA1&digits={DIGITS}&period={PERIOD}"
    )
}

/// The code of a step (RFC 4226, section 5.3).
fn code(secret: &[u8], step: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let offset = usize::from(tag[tag.len() - 1] & 0xf);
    let number = tag[offset..offset + 4].iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
    format!("{:0DIGITS$}", (number & 0x7fff_ffff) % 10_u32.pow(DIGITS as u32))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// The secret of the test vectors in RFC 6238, appendix B.
    const SECRET: &[u8] = b"12345678901234567890";

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    #[test]
    fn codes_are_those_of_the_specification() {
        for (second, expected) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code(SECRET, second / PERIOD), expected);
            assert_eq!(matching_step(SECRET, expected, at(second)), Some(second / PERIOD));
        }
    }

    #[test]
    fn one_step_before_and_after_is_taken_and_no_more() {
        let shown = code(SECRET, 1000);
        for (step, taken) in [(998, false), (999, true), (1000, true), (1001, true), (1002, false)] {
            assert_eq!(matching_step(SECRET, &shown, at(step * PERIOD)).is_some(), taken, "{step}");
        }
        for wrong in ["", "0", &shown[1..], &format!("{shown}0"), "٠٠٠٠٠٠"] {
            assert_eq!(matching_step(SECRET, wrong, at(1000 * PERIOD)), None);
        }
        assert!(is_code(&shown) && !is_code("٠٠٠") && !is_code("12345a") && !is_code("1234567"));
    }

    #[test]
    fn whatever_stands_in_an_address_stays_in_its_place_in_the_uri() {
        let uri = uri(SECRET, "My Gate", "ada+x&secret=A@example.com");
        assert_eq!(
            uri,
            "otpauth://totp/My%20Gate:ada%2Bx%26secret%3DA%40example.com\
             ?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=My%20Gate&algorithm=SHA1&digits=6&period=30"
        );
    }
}
