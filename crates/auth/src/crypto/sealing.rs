//! Sealing: encryption of secrets and personal data at rest, AES-256-GCM under a ring of keys, each value bound to its
//! place.
//!
//! A sealed value is version (1 byte) ‖ key id (8) ‖ nonce (12) ‖ ciphertext ‖ tag (16). Its place, table.column:row,
//! is authenticated with it and not stored: copied to another row, it does not open.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use data_encoding::{BASE64URL, HEXLOWER};

use crate::{Error, Result, crypto, crypto::random};

const VERSION: u8 = 1;
/// Version and key id: what tells values under one key from all others.
const PREFIX_LEN: usize = 1 + 8;
/// Separates a key's id from everything else that is derived from a key.
const ID_DOMAIN: &[u8] = b"modelgate encryption key id";

type Prefix = [u8; PREFIX_LEN];

/// One key: 32 random bytes.
///
/// Nonces are random, so one key is good for 2³² values (NIST SP 800-38D, section 8.3).
pub struct EncryptionKey {
    prefix: Prefix,
    cipher: LessSafeKey,
}

impl EncryptionKey {
    /// Reads base64, standard or URL-safe; anything but 32 bytes is refused.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = crypto::parse_key(text)?;
        let mut prefix = [VERSION; PREFIX_LEN];
        prefix[1..].copy_from_slice(&crypto::authenticate(&bytes, ID_DOMAIN)[..PREFIX_LEN - 1]);
        let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &bytes).ok()?);
        Some(Self { prefix, cipher })
    }

    /// A fresh key in the form that [`parse`](Self::parse) reads.
    pub fn generate() -> Result<String> {
        Ok(BASE64URL.encode(&random::bytes::<32>()?))
    }
}

/// The keys of an installation: the active one seals, the ones before it only open.
pub struct EncryptionKeys {
    active: EncryptionKey,
    previous: Vec<EncryptionKey>,
}

impl EncryptionKeys {
    /// `ENCRYPTION_KEY` and what `ENCRYPTION_KEYS_PREVIOUS` lists.
    pub fn new(active: EncryptionKey, previous: Vec<EncryptionKey>) -> Self {
        Self { active, previous }
    }

    /// Seals `plain` for one place.
    pub(crate) fn seal(&self, place: &str, plain: &[u8]) -> Result<Vec<u8>> {
        let nonce = random::bytes::<NONCE_LEN>()?;
        let mut sealed = plain.to_vec();
        self.active
            .cipher
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut sealed)
            .map_err(|_| Error::Internal("sealing failed".into()))?;
        Ok([&self.active.prefix[..], &nonce, &sealed].concat())
    }

    /// Opens what [`seal`](Self::seal) made for the same place, under any of the keys.
    pub(crate) fn open(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>> {
        let broken = || Error::Internal(format!("{place} does not open: it was changed, or moved here"));
        let (prefix, rest) = sealed.split_first_chunk::<PREFIX_LEN>().ok_or_else(broken)?;
        let key = self.key(prefix).ok_or_else(|| unknown_key(place, prefix))?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(broken)?;
        let mut buffer = rest.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = key.cipher.open_in_place(nonce, Aad::from(place), &mut buffer);
        let length = opened.map_err(|_| broken())?.len();
        buffer.truncate(length);
        Ok(buffer)
    }

    /// Opens what was sealed as text.
    pub(crate) fn open_text(&self, place: &str, sealed: &[u8]) -> Result<String> {
        let opened = self.open(place, sealed)?;
        String::from_utf8(opened).map_err(|_| Error::Internal(format!("{place} holds no text")))
    }

    /// What every value under the active key begins with.
    pub(crate) fn active_prefix(&self) -> &[u8] {
        &self.active.prefix
    }

    /// The active key's id.
    pub(crate) fn active_id(&self) -> String {
        HEXLOWER.encode(&self.active.prefix[1..])
    }

    fn key(&self, prefix: &Prefix) -> Option<&EncryptionKey> {
        std::iter::once(&self.active).chain(&self.previous).find(|key| key.prefix == *prefix)
    }
}

fn unknown_key(place: &str, prefix: &Prefix) -> Error {
    Error::Internal(format!(
        "{place} does not open: the key {} that sealed it is neither ENCRYPTION_KEY nor in ENCRYPTION_KEYS_PREVIOUS",
        HEXLOWER.encode(&prefix[1..])
    ))
}

impl fmt::Debug for EncryptionKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("EncryptionKeys(redacted)")
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use data_encoding::BASE64;

    use super::*;

    const PLACE: &str = "people.name:1";

    fn fresh() -> String {
        EncryptionKey::generate().unwrap()
    }

    fn ring(active: &str, previous: &[&str]) -> EncryptionKeys {
        let key = |text: &str| EncryptionKey::parse(text).unwrap();
        EncryptionKeys::new(key(active), previous.iter().map(|text| key(text)).collect())
    }

    #[test]
    fn a_sealed_value_opens_only_in_its_place_and_only_untouched() {
        let keys = ring(&fresh(), &[]);
        let sealed = keys.seal(PLACE, b"secret").unwrap();
        assert_eq!(keys.open(PLACE, &sealed).unwrap(), b"secret");
        assert!(keys.open("people.name:2", &sealed).is_err());
        for index in 0..sealed.len() {
            let mut touched = sealed.clone();
            touched[index] ^= 1;
            assert!(keys.open(PLACE, &touched).is_err(), "{index}");
            assert!(keys.open(PLACE, &sealed[..index]).is_err(), "{index}");
        }
    }

    #[test]
    fn one_value_is_sealed_differently_each_time() {
        let keys = ring(&fresh(), &[]);
        assert_ne!(keys.seal(PLACE, b"secret").unwrap(), keys.seal(PLACE, b"secret").unwrap());
    }

    #[test]
    fn a_previous_key_opens_and_does_not_seal() {
        let (old, new) = (fresh(), fresh());
        let sealed = ring(&old, &[]).seal(PLACE, b"secret").unwrap();
        let both = ring(&new, &[&fresh(), &old]);
        assert_eq!(both.open(PLACE, &sealed).unwrap(), b"secret");
        let anew = both.seal(PLACE, b"secret").unwrap();
        assert!(anew.starts_with(both.active_prefix()) && !sealed.starts_with(both.active_prefix()));
        assert_eq!(ring(&new, &[]).open(PLACE, &anew).unwrap(), b"secret");
    }

    #[test]
    fn a_missing_key_is_told_by_its_setting() {
        let sealed = ring(&fresh(), &[]).seal(PLACE, b"secret").unwrap();
        let message = ring(&fresh(), &[]).open(PLACE, &sealed).unwrap_err().to_string();
        assert!(message.contains(PLACE) && message.contains("ENCRYPTION_KEYS_PREVIOUS"), "{message}");
    }

    #[test]
    fn a_placeholder_is_no_key() {
        assert!(EncryptionKey::parse("change-me").is_none());
        assert!(EncryptionKey::parse(&BASE64.encode(&[0; 32])).is_none());
        assert!(EncryptionKey::parse(&BASE64.encode(&[7; 31])).is_none());
    }
}
