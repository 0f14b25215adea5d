//! The access log: one line for each answer over HTTP or gRPC, in the form of the log's other lines.
//!
//! A line is written at once where none was lately. Under load lines go together, for [`TOGETHER`] at most: writing
//! each by itself takes the kernel longer than most requests take the server. That much is lost when the process is
//! killed.

use std::io::{self, IsTerminal, Write};
use std::net::IpAddr;
use std::sync::OnceLock;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use parking_lot::Mutex;
use serde::{Serialize, Serializer};
use tracing::Level;
use uuid::Uuid;

/// How long a line waits for others.
const TOGETHER: Duration = Duration::from_millis(5);
/// Bytes of lines that wait for no others.
const MOST: usize = 64 << 10;

/// An answer.
pub struct Entry<'a> {
    /// When it was made.
    pub at: DateTime<Utc>,
    /// The request's id.
    pub request_id: &'a str,
    /// As the request has it.
    pub method: &'a str,
    /// Without the query, which may hold anything.
    pub path: &'a str,
    /// The HTTP status, or the one that a gRPC status stands for.
    pub status: u16,
    /// The name of the gRPC status.
    pub grpc_status: Option<&'a str>,
    /// From the request's head to the answer's.
    pub took: Duration,
    /// The client's address.
    pub client: IpAddr,
    /// Who was let in.
    pub account: Option<Uuid>,
}

/// An entry as it is written.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(serialize_with = "in_microseconds")]
    timestamp: DateTime<Utc>,
    level: &'static str,
    request_id: &'a str,
    method: &'a str,
    path: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc_status: Option<&'a str>,
    duration_us: u64,
    client: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Uuid>,
    target: &'static str,
}

impl Entry<'_> {
    fn microseconds(&self) -> u64 {
        u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX)
    }
}

impl<'a> From<&Entry<'a>> for Line<'a> {
    fn from(entry: &Entry<'a>) -> Self {
        Self {
            timestamp: entry.at,
            level: "INFO",
            request_id: entry.request_id,
            method: entry.method,
            path: entry.path,
            status: entry.status,
            grpc_status: entry.grpc_status,
            duration_us: entry.microseconds(),
            client: entry.client,
            account: entry.account,
            target: "access",
        }
    }
}

/// Lines that wait for each other.
#[derive(Default)]
struct Lines {
    waiting: Vec<u8>,
    written: Option<Instant>,
}

static LINES: Mutex<Lines> = Mutex::new(Lines { waiting: Vec::new(), written: None });

/// Writes an entry, unless `LOG_LEVEL` switches the target `access` off.
pub fn write(entry: &Entry<'_>) {
    if !tracing::enabled!(target: "access", Level::INFO) {
        return;
    }
    if is_plain() {
        return write_plain(entry);
    }
    let line = Line::from(entry);
    let mut lines = LINES.lock();
    let is_first = lines.waiting.is_empty();
    // Into memory, and of values that are always JSON.
    if serde_json::to_writer(&mut lines.waiting, &line).is_ok() {
        lines.waiting.push(b'\n');
    }
    let is_due = lines.written.is_none_or(|written| written.elapsed() >= TOGETHER);
    if is_due || lines.waiting.len() >= MOST {
        lines.write();
    } else if is_first {
        writer().unpark();
    }
}

fn write_plain(entry: &Entry<'_>) {
    tracing::info!(
        target: "access",
        request_id = entry.request_id,
        method = entry.method,
        path = entry.path,
        status = entry.status,
        grpc_status = entry.grpc_status,
        duration_us = entry.microseconds(),
        client = %entry.client,
        account = entry.account.map(tracing::field::display),
    );
}

/// Writes what still waits.
pub fn flush() {
    LINES.lock().write();
}

impl Lines {
    fn write(&mut self) {
        // As with every line of the log: where nobody takes it, the service goes on.
        let _ = io::stdout().lock().write_all(&self.waiting);
        self.waiting.clear();
        self.written = Some(Instant::now());
    }
}

/// The thread that writes what was left waiting.
fn writer() -> &'static Thread {
    static WRITER: OnceLock<Thread> = OnceLock::new();
    WRITER.get_or_init(|| {
        let write = || {
            loop {
                thread::park();
                thread::sleep(TOGETHER);
                flush();
            }
        };
        let started = thread::Builder::new().name("access log".to_owned()).spawn(write);
        // Without it a line waits for the next one.
        started.map_or_else(|_| thread::current(), |started| started.thread().clone())
    })
}

/// Whether people read along, who get plain lines.
pub fn is_plain() -> bool {
    static PLAIN: OnceLock<bool> = OnceLock::new();
    *PLAIN.get_or_init(|| io::stdout().is_terminal())
}

fn in_microseconds<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Micros, true))
}
