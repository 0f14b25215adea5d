//! The one clock. Nothing else in the program asks the operating system, or a database, for the time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use parking_lot::Mutex;

/// Fractional digits of a second that are kept: Postgres stores no more, so more would not survive a round
/// trip.
const FRACTION_DIGITS: u16 = 6;
/// The furthest an offset file may move the clock, in seconds (a hundred years).
const MAX_OFFSET_SECONDS: f64 = 100.0 * 365.25 * 86_400.0;

/// A clock, truncated to microseconds. Clones share their source.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    System,
    OffsetFile(PathBuf),
    Manual(Mutex<DateTime<Utc>>),
}

impl Clock {
    /// The time of the operating system.
    pub fn system() -> Self {
        Self(Arc::new(Source::System))
    }

    /// System time plus the seconds (fractional or negative, if need be) that `path` holds at that moment.
    /// A file that is missing, is not a number or leaves the range of a century counts as zero.
    pub fn with_offset_file(path: PathBuf) -> Self {
        Self(Arc::new(Source::OffsetFile(path)))
    }

    /// A clock that stands still until it is advanced, for tests.
    pub fn manual(start: DateTime<Utc>) -> Self {
        Self(Arc::new(Source::Manual(Mutex::new(start.trunc_subsecs(FRACTION_DIGITS)))))
    }

    /// Moves a manual clock forward; any other clock moves by itself and ignores this.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(time) = &*self.0 {
            let mut time = time.lock();
            *time = (*time + by).trunc_subsecs(FRACTION_DIGITS);
        }
    }

    /// Moves a manual clock back, as an operator may set a machine's; any other clock ignores this.
    pub fn set_back(&self, by: Duration) {
        if let Source::Manual(time) = &*self.0 {
            let mut time = time.lock();
            *time = (*time - by).trunc_subsecs(FRACTION_DIGITS);
        }
    }

    /// The present moment.
    pub fn now(&self) -> DateTime<Utc> {
        let time = match &*self.0 {
            Source::System => system_time(),
            Source::OffsetFile(path) => system_time() + offset_in(path),
            Source::Manual(time) => *time.lock(),
        };
        time.trunc_subsecs(FRACTION_DIGITS)
    }

    /// How far this clock is ahead of system time; negative when it is behind.
    pub fn offset(&self) -> TimeDelta {
        match &*self.0 {
            Source::System => TimeDelta::zero(),
            Source::OffsetFile(path) => offset_in(path),
            Source::Manual(_) => self.now() - system_time(),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that asks the system for the time")]
fn system_time() -> DateTime<Utc> {
    Utc::now()
}

fn offset_in(path: &Path) -> TimeDelta {
    let seconds = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<f64>().ok());
    match seconds {
        // The range check also refuses NaN; within it, microseconds fit an i64 with room to spare.
        Some(seconds) if seconds.abs() <= MAX_OFFSET_SECONDS => {
            TimeDelta::microseconds((seconds * 1e6).round() as i64)
        }
        _ => TimeDelta::zero(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]

    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told_and_its_clones_with_it() {
        let start = "2026-01-02T03:04:05.123456789Z".parse().unwrap();
        let clock = Clock::manual(start);
        assert_eq!(clock.now().timestamp_subsec_nanos(), 123_456_000);
        let before = clock.now();
        clock.clone().advance(Duration::from_millis(1500));
        assert_eq!(clock.now() - before, TimeDelta::milliseconds(1500));
    }

    #[test]
    fn an_offset_file_is_read_each_time_and_nonsense_counts_as_zero() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("offset");
        let clock = Clock::with_offset_file(path.clone());
        assert_eq!(clock.offset(), TimeDelta::zero());
        for (text, expected) in [("90", 90_000), (" -1.5\n", -1500), ("soon", 0), ("NaN", 0), ("1e300", 0)] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(clock.offset(), TimeDelta::milliseconds(expected), "{text:?}");
        }
        std::fs::write(&path, "3600").unwrap();
        assert!(clock.now() - Clock::system().now() > TimeDelta::minutes(59));
    }
}
