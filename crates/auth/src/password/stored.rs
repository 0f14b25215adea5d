//! Hashes as they are stored: this program's, and those that people bring along from elsewhere.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2;
use data_encoding::BASE64_NOPAD;

use super::argon2id::{Argon2Hash, HashParameters};

/// Longest hash that is looked at, in bytes.
const MAX_BYTES: usize = 512;
/// Highest cost of a bcrypt hash, as a power of two: a second.
const MAX_BCRYPT_COST: u32 = 14;
/// Most rounds of a pbkdf2 hash: half a second.
const MAX_PBKDF2_ROUNDS: u32 = 2_000_000;

/// A hash that is understood and costs no more than this program is willing to spend.
pub(super) enum StoredHash<'a> {
    /// PHC form, any variant of argon2.
    Argon2(Box<Argon2Hash>),
    /// `$2a$`, `$2b$` or `$2y$`.
    Bcrypt(&'a str),
    /// Passlib's `$pbkdf2-sha256$rounds$salt$checksum`.
    Pbkdf2 { rounds: NonZeroU32, salt: Vec<u8>, checksum: Vec<u8> },
}

/// Nothing that is known here.
pub(super) const UNKNOWN: &str = "this is no hash of argon2, bcrypt or passlib's pbkdf2_sha256";
/// Known, and a burden.
pub(super) const TOO_COSTLY: &str = "this hash costs more than this program is willing to spend on a login";

impl<'a> StoredHash<'a> {
    /// Understands a hash, without computing anything. The error holds nothing of it.
    pub fn parse(text: &'a str) -> Result<Self, &'static str> {
        if text.len() > MAX_BYTES {
            return Err(UNKNOWN);
        }
        let kind = text.split('$').nth(1).filter(|_| text.starts_with('$')).ok_or(UNKNOWN)?;
        match kind {
            "argon2id" | "argon2i" | "argon2d" => {
                Argon2Hash::parse(text).map(|hash| Self::Argon2(Box::new(hash)))
            }
            "2a" | "2b" | "2y" => bcrypt(text),
            "pbkdf2-sha256" => pbkdf2_sha256(text),
            _ => Err(UNKNOWN),
        }
    }

    /// Whether it is the password's. bcrypt knows the first 72 bytes of a password only; where a hash was made so, a
    /// longer password is the right one once it begins right, as it was where the hash comes from.
    pub fn is_of(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2(hash) => hash.is_of(password),
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Pbkdf2 { rounds, salt, checksum } => {
                pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA256, *rounds, salt, password, checksum).is_ok()
            }
        }
    }

    /// Whether this is what `parameters` would make today.
    pub fn is_up_to_date(&self, parameters: HashParameters) -> bool {
        matches!(self, Self::Argon2(hash) if hash.is_made_with(parameters))
    }
}

fn bcrypt(text: &str) -> Result<StoredHash<'_>, &'static str> {
    let parts: bcrypt::HashParts = text.parse().map_err(|_| UNKNOWN)?;
    if parts.get_cost() <= MAX_BCRYPT_COST { Ok(StoredHash::Bcrypt(text)) } else { Err(TOO_COSTLY) }
}

/// Passlib writes base64 with `.` for `+` and without padding.
fn pbkdf2_sha256(text: &str) -> Result<StoredHash<'_>, &'static str> {
    let parts: Vec<&str> = text.split('$').collect();
    let [_, _, rounds, salt, checksum] = parts[..] else { return Err(UNKNOWN) };
    let bytes = |text: &str| BASE64_NOPAD.decode(text.replace('.', "+").as_bytes()).map_err(|_| UNKNOWN);
    if rounds.is_empty() || !rounds.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(UNKNOWN);
    }
    let rounds: u32 = rounds.parse().map_err(|_| TOO_COSTLY)?;
    if rounds > MAX_PBKDF2_ROUNDS {
        return Err(TOO_COSTLY);
    }
    let rounds = NonZeroU32::new(rounds).ok_or(UNKNOWN)?;
    let (salt, checksum) = (bytes(salt)?, bytes(checksum)?);
    if checksum.len() == 32 { Ok(StoredHash::Pbkdf2 { rounds, salt, checksum }) } else { Err(UNKNOWN) }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const PASSWORD: &[u8] = b"Correct-horse-battery-9";

    /// Made by argon2-cffi, bcrypt and passlib.
    const ELSEWHERE: [&str; 6] = [
        "$argon2id$v=19$m=8192,t=3,p=2$RMDU92ANYR3Ss/uFSD6a1A$gPlh3jckS+xlyQxk8HckgNdlxPTKLy9Z8zTYZxo6SRU",
        "$argon2i$v=19$m=1024,t=1,p=1$siWmauxW9MVk2xdW92aNAA$jCkg+fRU5wMPS2KDUpnq/ByXOJrqtBNOH2Ky2V5OLb4",
        "$2b$04$91YXJR5bB1EyenTHykdUOOlRzHwKBGaknKaoqGF3EjDIyVHAcHOZy",
        "$2a$04$9uaLjOCrXl6rOrA65Ceieeqa1SNLgeFinilk6TXvOqeKL/E3UFVRa",
        "$2y$04$JrohceTOMAGD64tXgNVzq.dLQPQ3K9eBibM7Dg4.8afmU2ZjUXVji",
        "$pbkdf2-sha256$1000$.z.nVIqRcq6Vck4JobQW4g$C/4Obpsytef0zL5ORxdWxJwP52x1Zhiafnw.ecUapc0",
    ];

    #[test]
    fn hashes_of_others_verify_and_are_out_of_date() {
        for text in ELSEWHERE {
            let stored = StoredHash::parse(text).unwrap();
            assert!(stored.is_of(PASSWORD), "{text}");
            assert!(!stored.is_of(b"Correct-horse-battery-8") && !stored.is_of(b""), "{text}");
            assert!(!stored.is_of(text.as_bytes()), "the hash itself is no password: {text}");
            assert!(!stored.is_up_to_date(HashParameters::default()), "{text}");
        }
    }

    #[test]
    fn bcrypt_reads_72_bytes_as_it_always_did() {
        let long = &b"Correct-horse-battery-9-".repeat(3)[..72];
        let stored = "$2b$04$7pU7.eV5B5Dp0eVN7Q7Yo.7zAtUD0oVCeDxJkyqfCsknPc098ibVi";
        let stored = StoredHash::parse(stored).unwrap();
        assert!(stored.is_of(long) && stored.is_of(&[long, b"and more"].concat()));
        assert!(!stored.is_of(&long[..71]));
    }

    #[test]
    fn what_costs_too_much_is_never_computed() {
        let argon2 = |costs: &str| ELSEWHERE[0].replace("m=8192,t=3,p=2", costs);
        for bomb in [
            argon2("m=4194304,t=3,p=2"),
            argon2("m=4294967296,t=3,p=2"),
            argon2("m=8192,t=1000000,p=2"),
            argon2("m=8192,t=3,p=255"),
            ELSEWHERE[2].replace("$04$", "$15$"),
            ELSEWHERE[2].replace("$04$", "$31$"),
            ELSEWHERE[5].replace("$1000$", "$2000001$"),
            ELSEWHERE[5].replace("$1000$", "$99999999999$"),
        ] {
            assert_eq!(StoredHash::parse(&bomb).err(), Some(TOO_COSTLY), "{bomb}");
        }
    }

    #[test]
    fn what_is_no_hash_is_said_to_be_none() {
        for odd in [
            "",
            "Correct-horse-battery-9",
            "5f4dcc3b5aa765d61d8327deb882cf99",
            "{SSHA}abcdef",
            "$1$salt$hash",
            "$2b$04$short",
            "$2x$04$91YXJR5bB1EyenTHykdUOOlRzHwKBGaknKaoqGF3EjDIyVHAcHOZy",
            "$argon2id$v=19$m=8192,t=3,p=2$RMDU92ANYR3Ss/uFSD6a1A",
            "$pbkdf2-sha256$0$.z.nVIqRcq6Vck4JobQW4g$C/4Obpsytef0zL5ORxdWxJwP52x1Zhiafnw.ecUapc0",
            "$pbkdf2-sha256$-1$.z.nVIqRcq6Vck4JobQW4g$C/4Obpsytef0zL5ORxdWxJwP52x1Zhiafnw.ecUapc0",
            "$pbkdf2-sha256$1000$.z.nVIqRcq6Vck4JobQW4g$C/4O",
            "$pbkdf2-sha256$1000$$$",
            &format!("$2b$04${}", "a".repeat(1000)),
        ] {
            assert_eq!(StoredHash::parse(odd).err(), Some(UNKNOWN), "{odd:.60}");
        }
    }
}
