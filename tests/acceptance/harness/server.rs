//! A running server.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use super::client::Client;
use super::log::Log;
use super::process::{self, Finished, Settings};
use super::world::{Pair, World};

/// Lets a test read /metrics.
pub const METRICS_TOKEN: &str = "of-these-tests-0123456789-abcdefghij";
/// How long a server may take to listen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the metrics may take at the end.
const LAST_WORD: Duration = Duration::from_secs(1);
/// Lines of the log that a failed test shows.
const SHOWN_LINES: usize = 40;

/// A server process. Dropping it ends it, and fails the test when its log, its metrics or the audit trail tell a
/// secret, or the log of a fault.
pub struct Server {
    /// What it shares with its replicas.
    pub world: Arc<World>,
    settings: Settings,
    child: Child,
    address: SocketAddr,
    grpc: Option<SocketAddr>,
    log: Log,
    readers: Vec<JoinHandle<()>>,
    faults_expected: AtomicBool,
}

impl Server {
    /// A server on stores of its own.
    #[track_caller]
    pub fn start(pair: Pair, settings: &[(&str, &str)]) -> Self {
        World::new(pair).start(settings)
    }

    /// Starts one; what it wrote when it does not come to listen.
    pub(super) fn spawn(world: &Arc<World>, settings: Settings) -> Result<Self, String> {
        let mut child =
            process::command(&["serve"], &settings, &world.folder()).spawn().expect("the program starts");
        let log = Log::default();
        let output = log.follow(child.stdout.take().expect("a pipe"));
        let errors = log.follow(child.stderr.take().expect("a pipe"));
        let address = log.wait_for(PATIENCE, |line| {
            let address = |name: &str| line[name].as_str()?.parse().ok();
            (line["message"] == "listening").then(|| Some((address("address")?, address("grpc")))).flatten()
        });
        let Some((address, grpc)) = address else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(log.text());
        };
        let (world, readers) = (Arc::clone(world), vec![output, errors]);
        Ok(Self {
            world,
            settings,
            child,
            address,
            grpc,
            log,
            readers,
            faults_expected: AtomicBool::new(false),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for gRPC.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc.expect("GRPC_PORT is set")
    }

    /// A client without a credential.
    pub fn anon(&self) -> Client {
        Client::new(self.address, self.world.secrets.clone())
    }

    /// A client with an access token.
    pub fn user(&self, token: &str) -> Client {
        self.world.secrets.remember(token);
        self.anon().with("Authorization", &format!("Bearer {token}"))
    }

    /// A client with an API key.
    pub fn key(&self, key: &str) -> Client {
        self.world.secrets.remember(key);
        self.anon().with("X-API-Key", key)
    }

    /// Moves the clock, of its replicas too.
    pub fn advance(&self, by: Duration) {
        self.world.advance(by);
    }

    /// What it takes the time for, since 1970.
    pub fn now(&self) -> Duration {
        self.world.now()
    }

    /// Runs a command with the settings of this server.
    #[track_caller]
    pub fn cli(&self, arguments: &[&str], input: &str) -> Finished {
        process::run(process::command(arguments, &self.settings, &self.world.folder()), input)
    }

    /// All it has logged.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Waits for an entry of the log.
    #[track_caller]
    pub fn wait_for_log(&self, what: &str, find: impl Fn(&Value) -> bool) -> Value {
        let found = self.log.wait_for(PATIENCE, |entry| find(entry).then(|| entry.clone()));
        found.unwrap_or_else(|| panic!("the log tells of no {what}"))
    }

    /// A number in /metrics, all series of the name together.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        let reply = self.anon().with("Authorization", &format!("Bearer {METRICS_TOKEN}")).get("/metrics");
        let text = reply.is(200).text();
        let series = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
        text.lines().filter(series).filter_map(value).sum()
    }

    /// Says that its database was damaged on purpose: internal errors are what is to be expected.
    pub fn expect_faults(&self) {
        self.faults_expected.store(true, Ordering::SeqCst);
    }

    /// What /metrics says at the end; nothing where nobody answers, or nobody who knows the token of these tests.
    fn last_metrics(&self) -> String {
        let Ok(mut stream) = TcpStream::connect(self.address) else { return String::new() };
        let asked = write!(
            stream,
            "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {METRICS_TOKEN}\r\n\r\n"
        );
        let mut answer = Vec::new();
        let heard = stream
            .set_read_timeout(Some(LAST_WORD))
            .and(asked)
            .and_then(|()| stream.read_to_end(&mut answer));
        heard.map_or_else(|_| String::new(), |_| String::from_utf8_lossy(&answer).into_owned())
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        process::terminate(&self.child);
    }

    /// Waits for its end and gives its exit code.
    #[track_caller]
    pub fn wait(&mut self) -> Option<i32> {
        let status = process::wait(&mut self.child).expect("the server ends in time");
        self.readers.drain(..).for_each(|reader| reader.join().expect("a reader"));
        status.code()
    }

    /// Stops it as an operator would and gives its exit code.
    #[track_caller]
    pub fn stop(&mut self) -> Option<i32> {
        self.terminate();
        self.wait()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let metrics = self.last_metrics();
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.readers.drain(..).for_each(|reader| drop(reader.join()));
        let log = self.log();
        if std::thread::panicking() {
            let lines: Vec<&str> = log.lines().collect();
            eprintln!(
                "the end of the server's log:\n{}",
                lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
            );
            return;
        }
        for (place, text) in [("log", &log), ("metrics", &metrics), ("audit trail", &self.world.trail())] {
            let told = self.world.secrets.told_in(text);
            assert!(told.is_empty(), "the {place} tells secrets:\n{}", told.join("\n"));
        }
        let internal = (!self.faults_expected.load(Ordering::SeqCst)).then_some("internal error");
        for fault in internal.into_iter().chain(["panicked at"]) {
            assert!(!log.contains(fault), "the log tells of a fault:\n{log}");
        }
    }
}
