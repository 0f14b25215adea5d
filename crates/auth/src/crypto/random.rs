//! The only place that draws random bytes.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use crate::{Error, Result};

/// Digits and letters, in the order that the API key checksum counts them.
pub(crate) const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `N` bytes from the operating system's generator.
pub fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Internal("no random bytes".into()))?;
    Ok(bytes)
}

/// `length` characters drawn evenly from `alphabet` (at most 256 characters).
pub(crate) fn text(alphabet: &[u8], length: usize) -> Result<String> {
    // Bytes past the last whole multiple are drawn again, or the first characters would come more often.
    let fair = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(length);
    while text.len() < length {
        for byte in bytes::<64>()? {
            if usize::from(byte) < fair && text.len() < length {
                text.push(char::from(alphabet[usize::from(byte) % alphabet.len()]));
            }
        }
    }
    Ok(text)
}

/// `length` base62 characters: 5.95 bits each.
pub(crate) fn base62(length: usize) -> Result<String> {
    text(BASE62, length)
}

/// A password that satisfies the default policy: 20 base62 characters (119 bits) and one of each kind.
pub fn password() -> Result<String> {
    let letters = base62(20)?;
    Ok(format!("{}-{}-{}-{}-Mg7", &letters[..5], &letters[5..10], &letters[10..15], &letters[15..]))
}
