//! What the database holds, read from outside the program: the audit trail, and everything that an attack must not
//! change.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::server::Server;
use super::services::{client, psql};
use super::world::World;

/// Tables that grow or change without anybody's credential, account or right being touched.
const RESTLESS: [&str; 16] = [
    "_sqlx_migrations",
    "alerts",
    "audit_events",
    "audit_links",
    "audit_pending",
    "audit_seals",
    "audit_subjects",
    "incident_entries",
    "incidents",
    "locks",
    "model_files",
    "outbox",
    "quota_periods",
    "replicas",
    "usage_batches",
    "usage_daily",
];

impl World {
    /// Runs SQL; gives the rows, one a line, their columns divided by `|`.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        match self.database_url() {
            Some(url) => psql(url, sql),
            None => sqlite(&self.folder(), sql),
        }
    }

    /// The audit trail, oldest first: what was recorded, without the addresses.
    #[track_caller]
    pub fn audit_events(&self) -> Vec<Value> {
        let events = self.sql(&format!("SELECT {} FROM audit_events ORDER BY id", self.canonical()));
        let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        events.lines().map(read).collect()
    }

    /// Everything that is written about audit events, to be searched.
    #[track_caller]
    pub(super) fn trail(&self) -> String {
        let canonical = self.canonical();
        self.sql(&format!(
            "SELECT {canonical} FROM audit_events UNION ALL SELECT CAST(address AS TEXT) FROM audit_subjects"
        ))
    }

    /// The canonical bytes of an event as text.
    fn canonical(&self) -> &'static str {
        match self.database_url() {
            Some(_) => "convert_from(canonical, 'UTF8')",
            None => "CAST(canonical AS TEXT)",
        }
    }

    /// Every row of accounts, credentials, sessions, keys, roles and models, one a line and in order.
    #[track_caller]
    pub fn state(&self) -> Vec<String> {
        let dump = match self.database_url() {
            Some(url) => run(Command::new(client("pg_dump")).args(["--data-only", "--inserts", url])),
            None => sqlite(&self.folder(), ".dump"),
        };
        let table = |line: &str| {
            let name = line.strip_prefix("INSERT INTO ")?.split(' ').next()?;
            Some(name.trim_start_matches("public.").trim_matches('"').to_owned())
        };
        let counts = |line: &&str| table(line).is_some_and(|table| !RESTLESS.contains(&&*table));
        let mut rows: Vec<String> = dump.lines().filter(counts).map(str::to_owned).collect();
        rows.sort();
        rows
    }

    /// Insists that what is stored is what it was before.
    #[track_caller]
    pub fn is_unchanged_since(&self, before: &[String]) {
        let now = self.state();
        let gone: Vec<_> = before.iter().filter(|row| !now.contains(row)).collect();
        let new: Vec<_> = now.iter().filter(|row| !before.contains(row)).collect();
        assert!(gone.is_empty() && new.is_empty(), "changed from {gone:#?} to {new:#?}");
    }
}

impl Server {
    /// How often an event of this name and outcome (`success`, `failure`) is in the audit trail.
    #[track_caller]
    pub fn audited(&self, action: &str, outcome: &str) -> usize {
        let is_meant = |event: &&Value| event["action"] == action && event["outcome"] == outcome;
        self.world.audit_events().iter().filter(is_meant).count()
    }
}

/// Nothing where there is no database yet.
fn sqlite(folder: &Path, sql: &str) -> String {
    let file = folder.join("data/modelgate.db");
    if !file.exists() {
        return String::new();
    }
    run(Command::new("sqlite3").args(["-batch", "-cmd", ".timeout 5000"]).arg(file).arg(sql))
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output =
        output.unwrap_or_else(|error| panic!("{command:?}: {error}: run ./scripts/test, which installs it"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
