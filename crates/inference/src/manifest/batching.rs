//! The `[batching]` table: which calls run together.

use serde::Deserialize;

/// Most rows that may run together.
const MAX_BATCH_ROWS: usize = 4096;
/// Longest wait for calls to run together with, in microseconds.
const MAX_BATCH_DELAY_US: u64 = 1_000_000;

/// The `[batching]` table: calls that wait run together, their rows one under the other. Only for models whose rows do
/// not depend on each other, which cannot be seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Batching {
    /// Rows of a run at most, 2 to 4096; default 32. A call with more of them runs alone.
    pub max_rows: usize,
    /// How long the first call of a run waits for others, counted from its arrival, in microseconds up to a second;
    /// default 0: what waits already runs together, and nothing waits longer for it.
    pub max_delay_us: u64,
}

impl Default for Batching {
    fn default() -> Self {
        Self { max_rows: 32, max_delay_us: 0 }
    }
}

impl Batching {
    pub(super) fn check(&self) -> Result<(), String> {
        if !(2..=MAX_BATCH_ROWS).contains(&self.max_rows) {
            return Err(format!("[batching] max_rows must be 2 to {MAX_BATCH_ROWS}"));
        }
        if self.max_delay_us > MAX_BATCH_DELAY_US {
            return Err(format!("[batching] max_delay_us must be at most {MAX_BATCH_DELAY_US}"));
        }
        Ok(())
    }
}
