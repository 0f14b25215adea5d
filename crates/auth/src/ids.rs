//! Ids as callers write them.

use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// An id as answers have it, with hyphens, in either case; in braces, as a URN or without hyphens it is none.
pub fn parse_id(text: &str) -> Option<Uuid> {
    if text.len() == Hyphenated::LENGTH { Uuid::parse_str(text).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_in_one_way() {
        let id = Uuid::from_u128(0x0189_0000_abcd_7000_8000_0000_0000_0001);
        for text in [id.to_string(), id.to_string().to_uppercase()] {
            assert_eq!(parse_id(&text), Some(id), "{text}");
        }
        for text in [id.simple().to_string(), id.braced().to_string(), id.urn().to_string(), "x".repeat(36)] {
            assert_eq!(parse_id(&text), None, "{text}");
        }
    }
}
