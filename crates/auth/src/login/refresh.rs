//! How a refresh token is written.
//!
//! `mgr_` and base64url of session id (16 bytes) ‖ step (8, big-endian) ‖ HMAC-SHA-256 of both under the family's key.
//! No token is stored: the one of step n can always be made again, so an honest retry gets the same successor.

use data_encoding::BASE64URL_NOPAD;
use uuid::Uuid;

use crate::crypto;

const PREFIX: &str = "mgr_";
const BODY: usize = 16 + 8;
const MAC: usize = 32;

/// A token taken apart; its MAC is not yet checked.
pub(crate) struct RefreshToken {
    pub session: Uuid,
    pub step: i64,
    mac: [u8; MAC],
}

impl RefreshToken {
    pub fn parse(text: &str) -> Option<Self> {
        let encoded = text.strip_prefix(PREFIX)?;
        if encoded.len() != (BODY + MAC) * 4 / 3 + 1 {
            return None;
        }
        let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()?;
        let (body, mac) = bytes.split_at_checked(BODY)?;
        let (session, step) = body.split_at(16);
        Some(Self {
            session: Uuid::from_slice(session).ok()?,
            step: i64::from_be_bytes(step.try_into().ok()?),
            mac: mac.try_into().ok()?,
        })
    }

    /// Whether this family made it.
    pub fn is_genuine(&self, family_key: &[u8]) -> bool {
        crypto::same(&self.mac, &mac(family_key, self.session, self.step))
    }
}

/// The token of step `step`.
pub(crate) fn issue(family_key: &[u8], session: Uuid, step: i64) -> String {
    let bytes = [&body(session, step)[..], &mac(family_key, session, step)].concat();
    format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
}

fn mac(family_key: &[u8], session: Uuid, step: i64) -> [u8; MAC] {
    crypto::authenticate(family_key, &body(session, step))
}

fn body(session: Uuid, step: i64) -> [u8; BODY] {
    let mut body = [0; BODY];
    body[..16].copy_from_slice(session.as_bytes());
    body[16..].copy_from_slice(&step.to_be_bytes());
    body
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_token_is_read_back_and_bound_to_family_session_and_step() {
        let session = Uuid::from_u128(7);
        let text = issue(b"family", session, 3);
        let token = RefreshToken::parse(&text).unwrap();
        assert_eq!((token.session, token.step), (session, 3));
        assert!(token.is_genuine(b"family"));
        assert!(!token.is_genuine(b"another"));
        for index in 4..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(
                !RefreshToken::parse(&changed).is_some_and(|token| token.is_genuine(b"family")),
                "{index}"
            );
        }
    }
}
