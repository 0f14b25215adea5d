//! Whether a WebP file is whole. The decoder takes the last bytes of lossy pixels for zeros where they are missing.

/// What stands before the length, and the length itself.
const BEFORE: usize = 8;

/// Compares the file with the length that it begins with (RFC 9649, section 2.4).
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    let length = bytes.get(4..).and_then(|rest| rest.first_chunk()).map(|length| u32::from_le_bytes(*length));
    length
        .and_then(|length| usize::try_from(length).ok()?.checked_add(BEFORE))
        .is_some_and(|whole| whole <= bytes.len())
}
