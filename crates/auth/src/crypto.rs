//! Digests, message authentication and comparing secrets: all through aws-lc-rs.

use aws_lc_rs::{digest, hmac};

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
