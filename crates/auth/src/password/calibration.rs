//! Parameters that suit a machine.

use std::time::{Duration, Instant};

use super::HashParameters;
use crate::Result;

/// Memory above the floor, in KiB. More is left to those who know why, since several hashes run at once; passes are
/// added.
const MORE_MEMORY_KIB: [u32; 2] = [32_768, 65_536];
/// Hashes of which the fastest counts: whatever else runs here makes the others slower, never faster.
const ROUNDS: u32 = 3;

impl HashParameters {
    /// The costliest parameters, one lane, with which a hash takes no longer than `target` on this machine, and how
    /// long it takes. Never below the default, which is the floor, even where that takes longer.
    pub fn calibrate(target: Duration) -> Result<(Self, Duration)> {
        let floor = Self::default();
        let mut best = (floor, floor.measure()?);
        let raised = MORE_MEMORY_KIB.map(|memory_kib| Self { memory_kib, ..floor });
        let [.., most] = MORE_MEMORY_KIB;
        let longer = (floor.iterations + 1..=Self::MOST.iterations).map(|iterations| Self {
            iterations,
            memory_kib: most,
            ..floor
        });
        for candidate in raised.into_iter().chain(longer) {
            let took = candidate.measure()?;
            if took > target {
                break;
            }
            best = (candidate, took);
        }
        Ok(best)
    }

    fn measure(self) -> Result<Duration> {
        let mut fastest = Duration::MAX;
        for _ in 0..ROUNDS {
            let started = Instant::now();
            self.hash(b"calibration")?;
            fastest = fastest.min(started.elapsed());
        }
        Ok(fastest)
    }
}
