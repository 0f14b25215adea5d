//! Passwords that nobody may have, such as those of known breaches.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::crypto;

/// Largest list, in bytes. Each password in it takes 16 bytes of memory, however short or long it is.
const MAX_BYTES: u64 = 128 << 20;

/// Digests of passwords in lower case, sorted: a list may be long, and need not be readable in memory.
#[derive(Debug, Default)]
pub struct Blocklist(Vec<[u8; 16]>);

impl Blocklist {
    /// Reads one password a line, of at most 128 MiB together; empty lines do not count.
    pub fn read(path: &Path) -> Result<Self, String> {
        let described = |error: std::io::Error| error.to_string();
        let file = File::open(path).map_err(described)?;
        if file.metadata().map_err(described)?.len() > MAX_BYTES {
            return Err(format!("it is larger than {} MiB", MAX_BYTES >> 20));
        }
        let mut digests = Vec::new();
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(described)?;
            let password = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(&line)).to_lowercase();
            if !password.is_empty() {
                digests.push(digest(&password));
            }
        }
        digests.sort_unstable();
        digests.dedup();
        Ok(Self(digests))
    }

    /// Whether a password, in lower case, stands in the list.
    pub(crate) fn holds(&self, lower: &str) -> bool {
        !self.0.is_empty() && self.0.binary_search(&digest(lower)).is_ok()
    }
}

fn digest(lower: &str) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&crypto::sha256(lower.as_bytes())[..16]);
    half
}
