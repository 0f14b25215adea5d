//! Recovery codes: for one who lost their second factor, each good once.
//!
//! 24 characters of Crockford's base32 are 120 random bits: nothing to guess, so that a plain digest, bound to the
//! account, keeps them (ASVS 5.0, 6.5.2, asks for a slow one below 112 bits only).

use uuid::Uuid;

use crate::{Result, crypto, crypto::random};

/// How many an account gets.
const COUNT: usize = 10;
/// Characters of a code, without the dashes between its groups.
const LENGTH: usize = 24;
const GROUP: usize = 6;
/// Without i, l, o and u, which are mistaken for others.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A fresh set, as people get to see it.
pub(crate) fn generate() -> Result<Vec<String>> {
    (0..COUNT).map(|_| random::text(ALPHABET, LENGTH).map(|text| grouped(&text))).collect()
}

/// What is stored of a code, however it is typed; none for what cannot be one.
pub(crate) fn digest(account: Uuid, typed: &str) -> Option<Vec<u8>> {
    let plain: Vec<u8> = typed.bytes().filter(|byte| *byte != b'-' && *byte != b' ').map(meant).collect();
    let place = format!("recovery_codes:{account}:");
    (plain.len() == LENGTH).then(|| crypto::sha256(&[place.as_bytes(), &plain].concat()).to_vec())
}

/// The character that was meant by one that looks like it.
fn meant(byte: u8) -> u8 {
    match byte.to_ascii_lowercase() {
        b'o' => b'0',
        b'i' | b'l' => b'1',
        other => other,
    }
}

fn grouped(text: &str) -> String {
    let mut grouped = String::with_capacity(text.len() + text.len() / GROUP);
    for (index, character) in text.chars().enumerate() {
        if index > 0 && index % GROUP == 0 {
            grouped.push('-');
        }
        grouped.push(character);
    }
    grouped
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_code_is_the_same_however_it_is_typed_and_its_owner_s_only() {
        let (ada, grace) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let codes = generate().unwrap();
        assert_eq!(codes.len(), COUNT);
        for code in codes {
            assert_eq!(code.len(), LENGTH + LENGTH / GROUP - 1, "{code}");
            let stored = digest(ada, &code).unwrap();
            let typed = code.replace('-', " ").to_uppercase().replace('0', "O").replace('1', "l");
            assert_eq!(digest(ada, &typed).unwrap(), stored);
            assert_ne!(digest(grace, &code).unwrap(), stored);
            assert_eq!(digest(ada, &code[1..]), None);
        }
    }
}
