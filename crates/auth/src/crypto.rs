//! Sealing what is secret at rest, digests and message authentication: all through aws-lc-rs.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, hmac};
use data_encoding::{BASE64, BASE64URL, BASE64URL_NOPAD};

use crate::{Error, Result, random};

/// The key that seals secrets in the database (`ENCRYPTION_KEY`): 32 bytes, AES-256-GCM.
pub struct EncryptionKey(LessSafeKey);

impl EncryptionKey {
    /// Reads base64, standard or URL-safe; anything but 32 bytes is refused.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().as_bytes();
        let bytes =
            BASE64.decode(text).or_else(|_| BASE64URL.decode(text)).or_else(|_| BASE64URL_NOPAD.decode(text));
        let bytes: [u8; 32] = bytes.ok()?.try_into().ok()?;
        // A key of one repeated byte is a placeholder, not a key.
        if bytes.iter().all(|byte| *byte == bytes[0]) {
            return None;
        }
        UnboundKey::new(&AES_256_GCM, &bytes).ok().map(LessSafeKey::new).map(Self)
    }

    /// A fresh key in the form that [`parse`](Self::parse) reads.
    pub fn generate() -> Result<String> {
        Ok(BASE64URL.encode(&random::bytes::<32>()?))
    }

    /// Seals `plain` for one place: `place` (table, column, row) is authenticated with it, so that a sealed value
    /// copied to another row does not open. The answer is nonce ‖ ciphertext ‖ tag.
    pub(crate) fn seal(&self, place: &str, plain: &[u8]) -> Result<Vec<u8>> {
        let nonce = random::bytes::<NONCE_LEN>()?;
        let mut sealed = plain.to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut sealed)
            .map_err(|_| Error::Internal("sealing failed".into()))?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Opens what [`seal`](Self::seal) made for the same place.
    pub(crate) fn open(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>> {
        let broken = || {
            Error::Internal(format!("{place} does not open: is ENCRYPTION_KEY the one it was sealed with?"))
        };
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or_else(broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| broken())?;
        let mut buffer = sealed.to_vec();
        let length = self.0.open_in_place(nonce, Aad::from(place), &mut buffer).map_err(|_| broken())?.len();
        buffer.truncate(length);
        Ok(buffer)
    }
}

impl std::fmt::Debug for EncryptionKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("EncryptionKey(redacted)")
    }
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// HMAC-SHA-256 of `message`.
pub(crate) fn authenticate(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref());
    out
}

/// Whether two secrets are equal, in a time that does not depend on where they differ.
pub(crate) fn same(left: &[u8], right: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(left, right).is_ok()
}

/// Whether two secret texts are equal, in a time that does not depend on where they differ.
pub fn same_secret(left: &str, right: &str) -> bool {
    same(&sha256(left.as_bytes()), &sha256(right.as_bytes()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_sealed_value_opens_only_in_its_place_and_only_untouched() {
        let key = EncryptionKey::parse(&EncryptionKey::generate().unwrap()).unwrap();
        let sealed = key.seal("sessions.family_key:1", b"secret").unwrap();
        assert_eq!(key.open("sessions.family_key:1", &sealed).unwrap(), b"secret");
        assert!(key.open("sessions.family_key:2", &sealed).is_err());
        for index in 0..sealed.len() {
            let mut touched = sealed.clone();
            touched[index] ^= 1;
            assert!(key.open("sessions.family_key:1", &touched).is_err());
        }
        assert!(key.open("sessions.family_key:1", b"short").is_err());
    }

    #[test]
    fn a_placeholder_is_no_key() {
        assert!(EncryptionKey::parse("change-me").is_none());
        assert!(EncryptionKey::parse(&BASE64.encode(&[0; 32])).is_none());
        assert!(EncryptionKey::parse(&BASE64.encode(&[7; 31])).is_none());
    }
}
