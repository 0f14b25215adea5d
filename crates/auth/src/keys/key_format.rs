//! How an API key is written: `mg_<env>_<id>_<secret><checksum>`.
//!
//! `env` is `live` or `test`, `id` 12 base62 characters (public), `secret` 43 (256 bits), `checksum` the CRC-32 of all
//! before it in 6. The checksum tells a mistyped key from a wrong one before any look-up; it is not security.
//! For secret scanners: `mg_(live|test)_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}`.

use secrecy::SecretString;
use storage::named_enum;

use crate::{Result, crypto, crypto::random};

const ID: usize = 12;
const SECRET: usize = 43;
const CHECKSUM: usize = 6;
/// What every key starts with; a bearer credential that starts so is a key, not a token.
pub const PREFIX: &str = "mg_";

named_enum! {
    /// Where a key is good: production or anything else.
    pub(crate) enum Environment {
        Live = "live",
        Test = "test",
    }
}

/// A freshly made key; the text exists only here and in the answer that shows it once.
pub(crate) struct Minted {
    pub public_id: String,
    pub text: SecretString,
    pub hash: [u8; 32],
}

/// Makes a key.
pub(crate) fn mint(environment: Environment) -> Result<Minted> {
    mint_again(environment, random::base62(ID)?)
}

/// Makes another secret for the key with this public id.
pub(crate) fn mint_again(environment: Environment, public_id: String) -> Result<Minted> {
    let body = format!("{PREFIX}{}_{public_id}_{}", environment.name(), random::base62(SECRET)?);
    let text = format!("{body}{}", checksum(&body));
    Ok(Minted { public_id, hash: crypto::sha256(text.as_bytes()), text: text.into() })
}

/// The public id in `text`, when it is a well-formed key of this environment.
pub(crate) fn public_id(environment: Environment, text: &str) -> Option<&str> {
    let rest = text.strip_prefix(PREFIX)?.strip_prefix(environment.name())?.strip_prefix('_')?;
    let (id, secret) = rest.split_once('_')?;
    let alphanumeric = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if id.len() != ID || secret.len() != SECRET + CHECKSUM || !alphanumeric(id) || !alphanumeric(secret) {
        return None;
    }
    let (body, sum) = text.split_at(text.len() - CHECKSUM);
    (checksum(body) == sum).then_some(id)
}

/// Whether a text could be the public id of a key.
pub(crate) fn is_public_id(text: &str) -> bool {
    text.len() == ID && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn checksum(body: &str) -> String {
    let mut rest = crc32fast::hash(body.as_bytes()) as usize;
    let mut digits = [b'0'; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = random::BASE62[rest % 62];
        rest /= 62;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn a_key_is_read_back_and_any_change_is_noticed() {
        let minted = mint(Environment::Live).unwrap();
        let text = minted.text.expose_secret();
        assert_eq!(public_id(Environment::Live, text), Some(minted.public_id.as_str()));
        assert_eq!(public_id(Environment::Test, text), None, "a key of another environment");
        for index in 0..text.len() {
            let mut changed = text.as_bytes().to_vec();
            changed[index] = if changed[index] == b'x' { b'y' } else { b'x' };
            assert_eq!(
                public_id(Environment::Live, std::str::from_utf8(&changed).unwrap()),
                None,
                "byte {index}"
            );
        }
        for odd in ["", "mg_", "mg_live_", "mg_live__", "mg_live_é", &text[1..], &text[..text.len() - 1]] {
            assert_eq!(public_id(Environment::Live, odd), None, "{odd}");
        }
        assert_eq!(public_id(Environment::Live, &format!("{text}0")), None);
    }
}
