//! Seals: signed statements about the head of the chain. A seal kept elsewhere reveals what the database alone cannot:
//! that its end was cut off, or that all of it is an old copy.

use chrono::{DateTime, Utc};
use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};
use storage::AuditSeal;

use super::keys::AuditKeys;
use crate::{Error, Result, crypto};

/// So that no signature of a seal is good for anything else.
const KIND: &str = "modelgate audit seal";

/// What a seal states. Its bytes, as JSON in this order, are what is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    kind: String,
    /// The last link.
    pub seq: i64,
    /// Its MAC, in hexadecimal.
    pub mac: String,
    /// When this was stated.
    pub time: DateTime<Utc>,
    /// The SHA-256 of the statement before this one, in hexadecimal; none: it is the first.
    pub previous: Option<String>,
    /// The id of the key that signs.
    pub key: String,
}

/// A seal on its way out of the database: one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    head: String,
    signature: String,
}

/// What a seal's head says, where its signature and columns agree with it; or what is wrong, for people.
pub(super) fn read(seal: &AuditSeal, keys: &AuditKeys) -> std::result::Result<Head, String> {
    let head: Head = serde_json::from_slice(&seal.head).map_err(|_| "it cannot be read")?;
    let key = keys.find(&head.key);
    let key = key.ok_or_else(|| {
        format!("its key {} is neither AUDIT_KEY nor in AUDIT_KEYS_PREVIOUS", head.key.escape_debug())
    })?;
    if head.kind != KIND || !key.has_signed(&seal.head, &seal.signature) {
        return Err("its signature is false".into());
    }
    if head.seq != seal.seq || head.key != seal.key_id || head.time != seal.sealed_at {
        return Err("its columns are not what was signed".into());
    }
    Ok(head)
}

/// A fresh seal of a link.
pub(super) fn make(
    keys: &AuditKeys,
    seq: i64,
    mac: &[u8],
    previous: Option<&AuditSeal>,
    now: DateTime<Utc>,
) -> Result<AuditSeal> {
    let key = keys.active();
    let head = Head {
        kind: KIND.into(),
        seq,
        mac: HEXLOWER.encode(mac),
        time: now,
        previous: previous.map(digest),
        key: key.id(),
    };
    let key_id = head.key.clone();
    let head = serde_json::to_vec(&head).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(AuditSeal { seq, signature: key.sign(&head), head, key_id, sealed_at: now })
}

/// What the seal after this one states of it.
pub(super) fn digest(seal: &AuditSeal) -> String {
    HEXLOWER.encode(&crypto::sha256(&seal.head))
}

/// A seal as one line of JSON, for a file outside of the database: `head`, the bytes that are signed, and
/// `signature`, in base64.
pub fn seal_line(seal: &AuditSeal) -> String {
    let head = String::from_utf8_lossy(&seal.head).into_owned();
    let line = Line { head, signature: BASE64.encode(&seal.signature) };
    serde_json::to_string(&line).unwrap_or_default()
}

/// The seals in a file of such lines; none: it is no such file.
pub fn read_seal_lines(text: &str) -> Option<Vec<AuditSeal>> {
    let seals: Option<Vec<AuditSeal>> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(read_line).collect();
    seals.filter(|seals| !seals.is_empty())
}

fn read_line(line: &str) -> Option<AuditSeal> {
    let line: Line = serde_json::from_str(line).ok()?;
    let head: Head = serde_json::from_str(&line.head).ok()?;
    Some(AuditSeal {
        seq: head.seq,
        signature: BASE64.decode(line.signature.as_bytes()).ok()?,
        head: line.head.into_bytes(),
        key_id: head.key,
        sealed_at: head.time,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::super::keys::tests::key;
    use super::*;

    #[test]
    fn a_seal_survives_a_file_and_nothing_else() {
        let keys = AuditKeys::new(key(1), vec![]);
        let now = DateTime::UNIX_EPOCH;
        let first = make(&keys, 7, &[1; 32], None, now).unwrap();
        let second = make(&keys, 9, &[2; 32], Some(&first), now).unwrap();
        let file = format!("{}\n\n{}\n", seal_line(&first), seal_line(&second));
        assert_eq!(read_seal_lines(&file).unwrap(), [first.clone(), second.clone()]);
        assert_eq!(read(&second, &keys).unwrap().previous, Some(digest(&first)));
        assert!(read(&first, &AuditKeys::new(key(2), vec![key(1)])).is_ok(), "an earlier key verifies");
        assert!(read(&first, &AuditKeys::new(key(2), vec![])).unwrap_err().contains("AUDIT_KEYS_PREVIOUS"));
        for text in ["", "\n", "{}", "no", "{\"head\":\"{}\",\"signature\":\"\"}"] {
            assert_eq!(read_seal_lines(text), None, "{text}");
        }
        let changes: [fn(&mut AuditSeal); 5] = [
            |seal| seal.seq += 1,
            |seal| seal.head[40] ^= 1,
            |seal| seal.signature[0] ^= 1,
            |seal| seal.key_id.push('0'),
            |seal| seal.sealed_at += chrono::TimeDelta::microseconds(1),
        ];
        for change in changes {
            let mut changed = first.clone();
            change(&mut changed);
            assert!(read(&changed, &keys).is_err(), "{changed:?}");
        }
    }
}
