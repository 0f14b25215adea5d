//! The database behind the program's back: everything that stands in it, and changing it as an intruder would.

use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

use super::people::Person;
use super::services::psql;
use super::world::World;

/// Version, key id, nonce and tag of a sealed value.
const SEAL: usize = 1 + 8 + 12 + 16;

impl World {
    /// Whether a text stands anywhere in the database, in either case and also where it is shown in hexadecimal.
    pub fn has_stored(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        match self.database_url() {
            Some(url) => {
                let all = psql(url, "SET xmlbinary TO hex; SELECT schema_to_xml('public', true, false, '')");
                let all = all.to_lowercase();
                all.contains(&text) || all.contains(&HEXLOWER.encode(text.as_bytes()))
            }
            None => ["modelgate.db", "modelgate.db-wal"].iter().any(|name| {
                let bytes = std::fs::read(self.data().join(name)).unwrap_or_default();
                bytes.to_ascii_lowercase().windows(text.len()).any(|window| window == text.as_bytes())
            }),
        }
    }

    /// The names of everything in Redis, where there is one.
    pub fn redis_keys(&self) -> String {
        self.redis("--scan")
    }

    /// Empties Redis, where there is one, as operators do after the database went back.
    pub fn flush_redis(&self) {
        self.redis("FLUSHDB");
    }

    fn redis(&self, command: &str) -> String {
        let Some(url) = self.redis_url() else { return String::new() };
        let done = Command::new("redis-cli").args(["-u", url, command]).output();
        let done = done.expect("redis-cli: run ./scripts/test, which installs it");
        assert!(done.status.success(), "{done:?}");
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// Gives each of two people the other's sealed address, which must be as long. The last that worked on the
    /// database must have been a server, and stopped.
    pub fn swap_addresses(&self, one: &Person, other: &Person) {
        let Some(url) = self.database_url() else { return self.swap_in_file(one, other) };
        let both = format!("('{}', '{}')", one.id, other.id);
        psql(
            url,
            &format!(
                "UPDATE people SET email = other.email FROM people AS other WHERE people.account_id IN {both} \
                 AND other.account_id IN {both} AND other.account_id <> people.account_id"
            ),
        );
    }

    fn swap_in_file(&self, one: &Person, other: &Person) {
        assert_eq!(one.email.len(), other.email.len(), "a value of another length does not fit");
        let log = std::fs::metadata(self.data().join("modelgate.db-wal"));
        assert!(log.is_err(), "what stands in the log is not in the file");
        let path = self.data().join("modelgate.db");
        let mut bytes = std::fs::read(&path).expect("the database");
        let (first, second) = (address_in(&bytes, one), address_in(&bytes, other));
        let taken = bytes[first.clone()].to_vec();
        bytes.copy_within(second.clone(), first.start);
        bytes[second].copy_from_slice(&taken);
        std::fs::write(path, bytes).expect("the database");
    }

    fn data(&self) -> PathBuf {
        self.folder().join("data")
    }
}

/// Where a person's sealed address stands in a SQLite file: between their id and the digest it is found by.
fn address_in(bytes: &[u8], person: &Person) -> Range<usize> {
    let id = HEXLOWER_PERMISSIVE.decode(person.id.replace('-', "").as_bytes()).expect("an id");
    let length = SEAL + person.email.len();
    let fits = |start: usize| {
        let digest = bytes.get(start + length..start + length + 64);
        bytes[..start].ends_with(&id) && digest.is_some_and(|digest| digest.iter().all(u8::is_ascii_hexdigit))
    };
    let start = (id.len()..bytes.len()).find(|start| fits(*start)).expect("the person's row");
    start..start + length
}
