//! Ephemeral state: windows of rate limits, revocations, one-time marks. A few atomic operations that know no
//! policy and behave the same in Redis and in memory: what has expired, by the clock, is absent.

mod memory;
mod redis;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use secrecy::SecretString;

use crate::{Clock, Error, Result};
use memory::Memory;
use redis::Redis;

/// The most checks of one decision.
const MAX_CHECKS: usize = 32;
/// The largest number that can be raised: Redis scripts calculate in doubles, which are exact up to here.
const MAX_NUMBER: u64 = (1 << 53) - 1;
/// The longest a value may live: a hundred years, so that no expiry leaves the exact numbers.
const MAX_LIFE: Duration = Duration::from_secs(100 * 366 * 86_400);

/// Where ephemeral state lives.
#[derive(Clone, Debug)]
pub enum EphemeralConfig {
    /// In this process.
    Memory {
        /// The most values kept; beyond that, those that expire soonest go.
        max_entries: usize,
    },
    /// In a Redis server, standalone or behind a Sentinel.
    Redis {
        /// `redis://…` or `rediss://…`; never shown.
        url: SecretString,
        /// The longest an operation may take.
        timeout: Duration,
    },
}

/// One condition of a decision.
#[derive(Clone, Copy, Debug)]
pub enum Check<'a> {
    /// Refuses where a number above `seen` was raised under the key; absent is fine.
    Unchanged {
        /// The key.
        key: &'a str,
        /// The highest number that is fine.
        seen: i64,
    },
    /// Refuses where anything is stored under the key.
    Absent {
        /// The key.
        key: &'a str,
    },
    /// Counts up to a limit within a fixed window that starts with the first count, and refuses beyond. It ends a period
    /// from now at the latest, also when the clock was set back since.
    Window {
        /// The key.
        key: &'a str,
        /// The most that fits.
        limit: u32,
        /// How long a window lasts, the same whenever this key is counted.
        period: Duration,
        /// How much to count; 0 only looks.
        cost: u32,
    },
}

/// What became of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The index of the first check that refused; none: all passed, and every window was counted.
    pub refused: Option<usize>,
    /// The state of each window check, in their order: after counting, or as it was where the decision
    /// refused.
    pub windows: Vec<WindowState>,
}

/// The state of one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowState {
    /// The most that fits.
    pub limit: u32,
    /// What still fits.
    pub remaining: u32,
    /// When the window ends; zero where none has begun.
    pub reset_after: Duration,
}

/// The ephemeral store. Clones share their state.
#[derive(Clone, Debug)]
pub struct Ephemeral(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    engine: Engine,
    clock: Clock,
    round_trips: AtomicU64,
}

#[derive(Debug)]
enum Engine {
    Memory(Memory),
    Redis(Box<Redis>),
}

impl Ephemeral {
    /// Opens the store. Redis is connected when it is first needed, so that this succeeds while it is down.
    ///
    /// # Errors
    /// [`Error::Refused`] for an address that cannot be used.
    pub fn connect(config: EphemeralConfig, clock: Clock) -> Result<Self> {
        let engine = match config {
            EphemeralConfig::Memory { max_entries } => Engine::Memory(Memory::new(max_entries)),
            EphemeralConfig::Redis { url, timeout } => Engine::Redis(Box::new(Redis::new(&url, timeout)?)),
        };
        Ok(Self(Arc::new(Shared { engine, clock, round_trips: AtomicU64::new(0) })))
    }

    /// Decides all checks at once, in one round trip: where any of them refuses, nothing is counted.
    ///
    /// # Errors
    /// [`Error::Refused`] for more than 32 checks, [`Error::Unavailable`] when the store does not answer in
    /// time.
    pub async fn decide(&self, checks: &[Check<'_>]) -> Result<Outcome> {
        if checks.is_empty() {
            return Ok(Outcome { refused: None, windows: Vec::new() });
        }
        if checks.len() > MAX_CHECKS {
            return Err(Error::Refused("a decision has too many checks"));
        }
        match self.engine() {
            Engine::Memory(memory) => Ok(memory.decide(checks, self.micros())),
            Engine::Redis(redis) => redis.decide(checks, self.offset()).await,
        }
    }

    /// Stores the higher of a number and the one stored before, and lets it live for `life` from now or as
    /// long as before, whichever is longer. [`Error::Refused`] beyond ±(2⁵³−1).
    pub async fn raise(&self, key: &str, value: i64, life: Duration) -> Result<()> {
        if value.unsigned_abs() > MAX_NUMBER {
            return Err(Error::Refused("a number is too large to be raised"));
        }
        match self.engine() {
            Engine::Memory(memory) => memory.raise(key, value, self.micros(), micros(life)),
            Engine::Redis(redis) => return redis.raise(key, value, self.offset(), micros(life)).await,
        }
        Ok(())
    }

    /// Stores a value for `life` where nothing is stored. False: something is.
    pub async fn put_if_absent(&self, key: &str, value: &str, life: Duration) -> Result<bool> {
        match self.engine() {
            Engine::Memory(memory) => Ok(memory.put_if_absent(key, value, self.micros(), micros(life))),
            Engine::Redis(redis) => redis.put_if_absent(key, value, self.offset(), micros(life)).await,
        }
    }

    /// The value stored under a key.
    pub async fn get(&self, key: &str) -> Result<Option<String>> {
        match self.engine() {
            Engine::Memory(memory) => Ok(memory.get(key, self.micros())),
            Engine::Redis(redis) => redis.get(key, self.offset()).await,
        }
    }

    /// Removes what is stored under a key. False: nothing was.
    pub async fn forget(&self, key: &str) -> Result<bool> {
        match self.engine() {
            Engine::Memory(memory) => Ok(memory.forget(key, self.micros())),
            Engine::Redis(redis) => redis.forget(key, self.offset()).await,
        }
    }

    /// Asks the store for a sign of life; not counted, for nobody's request causes it.
    pub async fn ping(&self) -> Result<()> {
        match &self.0.engine {
            Engine::Memory(_) => Ok(()),
            Engine::Redis(redis) => redis.ping().await,
        }
    }

    /// How many operations went to the store so far; memory counts as Redis would.
    pub fn round_trips(&self) -> u64 {
        self.0.round_trips.load(Ordering::Relaxed)
    }

    /// Whether this is the engine that several replicas can share.
    pub fn is_redis(&self) -> bool {
        matches!(self.0.engine, Engine::Redis(_))
    }

    /// The engine, for one operation that is counted.
    fn engine(&self) -> &Engine {
        self.0.round_trips.fetch_add(1, Ordering::Relaxed);
        &self.0.engine
    }

    /// The present moment, in microseconds.
    fn micros(&self) -> i64 {
        self.0.clock.now().timestamp_micros()
    }

    /// What Redis has to add to its own time, in microseconds.
    fn offset(&self) -> i64 {
        self.0.clock.offset().num_microseconds().unwrap_or(0)
    }
}

/// A life in microseconds, a hundred years at most.
fn micros(life: Duration) -> i64 {
    i64::try_from(life.min(MAX_LIFE).as_micros()).unwrap_or(i64::MAX)
}
