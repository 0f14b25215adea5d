//! Digests, message authentication and comparing secrets: all through aws-lc-rs.

pub(crate) mod random;
pub(crate) mod rotation;
pub(crate) mod sealed_stream;
pub(crate) mod sealing;

use aws_lc_rs::{digest, hmac};
use data_encoding::{BASE64, BASE64URL, BASE64URL_NOPAD};

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// A SHA-256 that is made while something passes.
pub struct BodyDigest(digest::Context);

impl BodyDigest {
    /// Of nothing so far.
    #[expect(clippy::new_without_default, reason = "there is no other way to begin")]
    pub fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// Takes in what passes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that passed.
    pub fn finish(self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        out
    }

    /// Whether all that passed has this digest.
    pub fn is(self, expected: &[u8; 32]) -> bool {
        same(&self.finish(), expected)
    }
}

/// HMAC-SHA-256 of `message`.
pub(crate) fn authenticate(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref());
    out
}

/// A key of 32 bytes in base64, standard or URL-safe. None: it is no key, or a placeholder, one byte again and again.
pub(crate) fn parse_key(text: &str) -> Option<[u8; 32]> {
    let text = text.trim().as_bytes();
    let bytes =
        BASE64.decode(text).or_else(|_| BASE64URL.decode(text)).or_else(|_| BASE64URL_NOPAD.decode(text));
    let bytes: [u8; 32] = bytes.ok()?.try_into().ok()?;
    (!bytes.iter().all(|byte| *byte == bytes[0])).then_some(bytes)
}

/// Whether two secrets are equal, in a time that does not depend on where they differ.
pub(crate) fn same(left: &[u8], right: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(left, right).is_ok()
}

/// Whether two secret texts are equal, in a time that does not depend on where they differ.
pub fn same_secret(left: &str, right: &str) -> bool {
    same(&sha256(left.as_bytes()), &sha256(right.as_bytes()))
}
