//! The ephemeral engine in Redis: one script, one trip for each operation, bounded in time, with a circuit
//! breaker so that an outage costs a moment and not a time-out for every request.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, ErrorKind, FromRedisValue, RedisError, RedisResult, Script, ScriptInvocation};
use secrecy::{ExposeSecret, SecretString};
use thread_local::ThreadLocal;

use super::{Check, Outcome, WindowState, micros};
use crate::{Error, Result};

/// What every key begins with, so that the program can share a server.
const PREFIX: &str = "mg:";
/// How long nothing is sent after a failure, before one call may try again.
const BREAK: Duration = Duration::from_millis(500);
/// How much longer Redis keeps a value than it lives: room for a test clock that moves.
const COLLECTION_MARGIN_MS: u64 = 300_000;
/// Attempts to connect within one call, whose time is bounded anyway.
const CONNECTION_ATTEMPTS: usize = 1;

/// A Redis server.
pub(super) struct Redis {
    connections: Connections,
    script: Script,
    timeout: Duration,
    breaker: Breaker,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Redis").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Redis {
    pub(super) fn new(url: &SecretString, timeout: Duration) -> Result<Self> {
        let refused = |_| Error::Refused("the Redis address cannot be used");
        let client = Client::open(url.expose_secret()).map_err(refused)?;
        Ok(Self {
            connections: Connections::new(client, timeout),
            script: Script::new(include_str!("script.lua")),
            timeout,
            breaker: Breaker::default(),
        })
    }

    pub(super) async fn decide(&self, checks: &[Check<'_>], offset: i64) -> Result<Outcome> {
        let mut call = self.operation("decide", offset);
        for check in checks {
            match *check {
                Check::Unchanged { key, seen } => {
                    call.key(prefixed(key)).arg("unchanged").arg(seen).arg(0).arg(0)
                }
                Check::Absent { key } => call.key(prefixed(key)).arg("absent").arg(0).arg(0).arg(0),
                Check::Window { key, limit, period, cost } => {
                    call.key(prefixed(key)).arg("window").arg(limit).arg(micros(period)).arg(cost)
                }
            };
        }
        outcome(checks, &self.run::<Vec<i64>>(&call).await?)
    }

    pub(super) async fn raise(&self, key: &str, value: i64, offset: i64, life: i64) -> Result<()> {
        self.run(self.operation("raise", offset).key(prefixed(key)).arg(value).arg(life)).await
    }

    pub(super) async fn put_if_absent(&self, key: &str, value: &str, offset: i64, life: i64) -> Result<bool> {
        self.run(self.operation("put_if_absent", offset).key(prefixed(key)).arg(value).arg(life)).await
    }

    pub(super) async fn get(&self, key: &str, offset: i64) -> Result<Option<String>> {
        self.run(self.operation("get", offset).key(prefixed(key))).await
    }

    pub(super) async fn forget(&self, key: &str, offset: i64) -> Result<bool> {
        self.run(self.operation("forget", offset).key(prefixed(key))).await
    }

    pub(super) async fn ping(&self) -> Result<()> {
        self.guard(async move |mut connection| redis::cmd("PING").exec_async(&mut connection).await).await
    }

    fn operation(&self, name: &str, offset: i64) -> ScriptInvocation<'_> {
        let mut call = self.script.prepare_invoke();
        call.arg(name).arg(offset).arg(COLLECTION_MARGIN_MS);
        call
    }

    async fn run<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T> {
        self.guard(async move |mut connection| call.invoke_async(&mut connection).await).await
    }

    /// Runs a call if the breaker is closed, bounds its time, and reports the result to the breaker.
    async fn guard<T>(&self, call: impl AsyncFnOnce(ConnectionManager) -> RedisResult<T>) -> Result<T> {
        self.breaker.admit(Instant::now())?;
        let connected = async { call(self.connections.of_this_thread()?).await };
        let result = match tokio::time::timeout(self.timeout, connected).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(classify(error)),
            Err(elapsed) => Err(Error::unavailable(elapsed)),
        };
        let answered = !result.as_ref().is_err_and(Error::is_unavailable);
        if !answered {
            self.connections.drop_all();
        }
        self.breaker.note(Instant::now(), answered);
        result
    }
}

/// A connection for each thread, made when it is first needed: served by the thread that asks, an answer wakes no
/// other thread on its way.
struct Connections {
    client: Client,
    config: ConnectionManagerConfig,
    /// How often all were dropped.
    generation: AtomicU64,
    of_threads: ThreadLocal<RefCell<Option<(u64, ConnectionManager)>>>,
}

impl Connections {
    fn new(client: Client, timeout: Duration) -> Self {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout))
            .set_number_of_retries(CONNECTION_ATTEMPTS);
        Self { client, config, generation: AtomicU64::new(0), of_threads: ThreadLocal::new() }
    }

    fn of_this_thread(&self) -> RedisResult<ConnectionManager> {
        let generation = self.generation.load(Ordering::Acquire);
        let mut kept = self.of_threads.get_or_default().borrow_mut();
        if let Some((of, connection)) = &*kept
            && *of == generation
        {
            return Ok(connection.clone());
        }
        let new = ConnectionManager::new_lazy_with_config(self.client.clone(), self.config.clone())?;
        *kept = Some((generation, new.clone()));
        Ok(new)
    }

    /// After a failure: what ended one connection has most likely ended the others, and each thread would have to
    /// find that out by a call that fails.
    fn drop_all(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }
}

/// An answer of the wrong shape is a fault of a program; anything else is a condition of the server.
fn classify(error: RedisError) -> Error {
    match error.kind() {
        ErrorKind::UnexpectedReturnType | ErrorKind::Parse => Error::inconsistent(error),
        _ => Error::unavailable(error),
    }
}

fn prefixed(key: &str) -> String {
    format!("{PREFIX}{key}")
}

/// Reads what the script answers: the index that refused or −1, then what remains and what is left of each
/// window.
fn outcome(checks: &[Check<'_>], answer: &[i64]) -> Result<Outcome> {
    let limits = checks.iter().filter_map(|check| match check {
        Check::Window { limit, .. } => Some(*limit),
        _ => None,
    });
    let Some((refused, states)) = answer.split_first() else {
        return Err(Error::inconsistent("a decision came back empty"));
    };
    let windows: Vec<_> = limits
        .zip(states.chunks_exact(2))
        .map(|(limit, state)| WindowState {
            limit,
            remaining: u32::try_from(state[0]).unwrap_or(0),
            reset_after: Duration::from_micros(u64::try_from(state[1]).unwrap_or(0)),
        })
        .collect();
    Ok(Outcome { refused: usize::try_from(*refused).ok(), windows })
}

/// Remembers a failure for a while. Only the moment is kept, so that a probe whose caller went away blocks
/// nobody.
#[derive(Debug, Default)]
struct Breaker(Mutex<Option<Instant>>);

impl Breaker {
    fn admit(&self, now: Instant) -> Result<()> {
        let mut open_until = self.0.lock();
        match *open_until {
            Some(moment) if now < moment => Err(Error::unavailable("Redis failed a moment ago")),
            Some(_) => {
                // This call is the probe; the others wait for its result, or for another break.
                *open_until = Some(now + BREAK);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn note(&self, now: Instant, answered: bool) {
        let mut open_until = self.0.lock();
        *open_until = if answered { None } else { Some(now + BREAK) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failure_one_probe_in_each_break_is_let_through() {
        let breaker = Breaker::default();
        let start = Instant::now();
        assert!(breaker.admit(start).is_ok());
        breaker.note(start, false);
        assert!(breaker.admit(start + BREAK / 2).is_err_and(|error| error.is_unavailable()));
        assert!(breaker.admit(start + BREAK).is_ok(), "the probe");
        assert!(breaker.admit(start + BREAK).is_err(), "nobody else");
        assert!(breaker.admit(start + BREAK * 2).is_ok(), "a probe that never came back blocks nobody");
        breaker.note(start + BREAK * 2, true);
        assert!(breaker.admit(start + BREAK * 2).is_ok());
    }
}
