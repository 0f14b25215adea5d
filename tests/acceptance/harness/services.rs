//! The throwaway Postgres and Redis of `scripts/services`, and a Redis of a test's own that it may stop.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::eventually;

/// Databases of the throwaway Redis; 0 is left to people.
const REDIS_DATABASES: u32 = 4096;

static COUNTER: AtomicU32 = AtomicU32::new(0);

fn required(variable: &str) -> String {
    match std::env::var(variable) {
        Ok(value) if !value.is_empty() => value,
        _ => panic!("{variable} is not set: run ./scripts/test, which starts what the tests need"),
    }
}

/// A Postgres database of one test's own, dropped with it.
#[derive(Debug)]
pub struct OwnDatabase {
    server: String,
    name: String,
    /// Its address.
    pub url: String,
}

impl OwnDatabase {
    /// Creates an empty one.
    pub fn create() -> Self {
        Self::create_with("")
    }

    /// Creates one that is the same. Nobody may be connected to it.
    pub fn copy(&self) -> Self {
        Self::create_with(&format!("TEMPLATE {}", self.name))
    }

    fn create_with(options: &str) -> Self {
        let server = required("TEST_DATABASE_URL");
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("acceptance_{}_{number}", std::process::id());
        psql(&server, &format!("CREATE DATABASE {name} {options}"));
        let (base, parameters) = server.split_once('?').unwrap_or((&server, ""));
        let base = base.rsplit_once('/').expect("an address with a database").0;
        let url = format!("{base}/{name}?{parameters}");
        Self { name, url, server }
    }
}

impl Drop for OwnDatabase {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            psql(&self.server, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        }
    }
}

/// Runs SQL with the client that came with the server; gives the rows, one a line.
#[track_caller]
pub fn psql(url: &str, sql: &str) -> String {
    run_psql(Command::new(client("psql")).arg("--command").arg(sql).arg(url))
}

/// Runs a file of SQL, which reads these variables of the environment.
#[track_caller]
pub fn psql_file(url: &str, file: &Path, variables: &[(&str, &str)]) -> String {
    run_psql(Command::new(client("psql")).arg("--file").arg(file).arg(url).envs(variables.iter().copied()))
}

#[track_caller]
fn run_psql(command: &mut Command) -> String {
    let arguments = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"];
    let output = command.args(arguments).stdin(Stdio::null()).output();
    let output = output.expect("psql: run ./scripts/test, which installs it");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The newest client program of this name that the distribution installed, or the one on the PATH.
pub(super) fn client(program: &str) -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = installed.map(|entry| entry.path().join("bin").join(program)).collect();
    found.retain(|path| path.exists());
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from(program))
}

/// A database number of the throwaway Redis that no other test uses, emptied.
pub fn own_redis_database() -> String {
    let server = required("TEST_REDIS_URL");
    let number = std::process::id().wrapping_mul(97).wrapping_add(COUNTER.fetch_add(1, Ordering::Relaxed));
    let number = 1 + number % (REDIS_DATABASES - 1);
    let address = server.trim_start_matches("redis://").trim_end_matches('/');
    let mut stream =
        TcpStream::connect(address).expect("Redis answers: run ./scripts/test, which starts one");
    write!(stream, "SELECT {number}\r\nFLUSHDB\r\n").expect("Redis takes commands");
    let answers: Vec<_> = BufReader::new(stream).lines().take(2).map_while(Result::ok).collect();
    assert_eq!(answers, ["+OK", "+OK"], "Redis database {number}");
    format!("redis://{address}/{number}")
}

/// A Redis server of a test's own, to be stopped and started.
#[derive(Debug)]
pub struct OwnRedis {
    port: u16,
    folder: tempfile::TempDir,
    running: Option<Child>,
}

impl OwnRedis {
    /// Starts one on a free port.
    pub fn start() -> Self {
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let mut redis = Self { port, folder: tempfile::tempdir().expect("a folder"), running: None };
        redis.resume();
        redis
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it, with everything that it remembers.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.running.take() {
            process.kill().expect("Redis can be killed");
            process.wait().expect("Redis ends");
        }
    }

    /// Starts it again, empty, on the same port.
    pub fn resume(&mut self) {
        self.running = Some(spawn_redis(self.port, self.folder.path()));
        eventually("Redis answers", || TcpStream::connect(("127.0.0.1", self.port)).ok());
    }

    /// Tells it a command, such as `CONFIG SET maxmemory 1`.
    pub fn tell(&self, command: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("Redis answers");
        write!(stream, "{command}\r\n").expect("Redis takes commands");
        let answer = BufReader::new(stream).lines().next().and_then(Result::ok);
        assert_eq!(answer.as_deref(), Some("+OK"), "{command}");
    }

    /// Lets it accept connections and answer nothing, or answer again.
    pub fn freeze(&self, frozen: bool) {
        let process = self.running.as_ref().expect("Redis runs").id().to_string();
        let signal = if frozen { "-STOP" } else { "-CONT" };
        let sent = Command::new("kill").args([signal, &process]).status();
        assert!(sent.is_ok_and(|status| status.success()), "{signal} could not be sent");
    }
}

fn spawn_redis(port: u16, folder: &Path) -> Child {
    let mut command = Command::new("redis-server");
    command.args([
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
        "--port",
        &port.to_string(),
        "--dir",
    ]);
    command.arg(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().expect("redis-server: run ./scripts/test, which installs it");
    std::thread::sleep(Duration::from_millis(20));
    child
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        if let Some(mut process) = self.running.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
