//! Counting by network in windows that begin with the first activity and end when they should, however many follow.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use chrono::{DateTime, Duration, Utc};
use parking_lot::Mutex;

use super::Threshold;

/// Parts that are locked apart, so that workers seldom wait for each other.
const SHARDS: usize = 16;
/// Networks counted in each part; when all are in their windows, one more replaces them all.
const MOST_NETWORKS: usize = 4_096;

struct Window {
    began: DateTime<Utc>,
    count: u32,
}

/// Counts of one kind of activity.
pub(super) struct Windows {
    threshold: Threshold,
    hasher: RandomState,
    shards: [Mutex<HashMap<IpAddr, Window>>; SHARDS],
}

impl Windows {
    pub fn new(threshold: Threshold) -> Self {
        Self { threshold, hasher: RandomState::new(), shards: Default::default() }
    }

    /// Counts an activity. True: it is the one with which they are too many; it is so once in a window.
    pub fn count(&self, network: IpAddr, now: DateTime<Utc>) -> bool {
        if self.threshold.count == 0 {
            return false;
        }
        let length = Duration::seconds(i64::from(self.threshold.seconds));
        // A clock that was set back begins anew, too.
        let is_over = |window: &Window| now < window.began || now - window.began >= length;
        let shard = usize::try_from(self.hasher.hash_one(network) % SHARDS as u64).unwrap_or(0);
        let mut shard = self.shards[shard].lock();
        if shard.len() >= MOST_NETWORKS && !shard.contains_key(&network) {
            shard.retain(|_, window| !is_over(window));
            if shard.len() >= MOST_NETWORKS {
                shard.clear();
            }
        }
        let window = shard.entry(network).or_insert(Window { began: now, count: 0 });
        if is_over(window) {
            *window = Window { began: now, count: 0 };
        }
        window.count = window.count.saturating_add(1);
        window.count == self.threshold.count
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn at(seconds: f64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + Duration::microseconds((seconds * 1e6) as i64)
    }

    #[test]
    fn a_window_ends_when_it_should_and_tells_once() {
        let windows = Windows::new(Threshold { count: 3, seconds: 10 });
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let reported = |seconds: f64| windows.count(one, at(seconds));
        assert_eq!(
            [reported(0.0), reported(9.0), reported(9.9), reported(9.95)],
            [false, false, true, false]
        );
        assert_eq!(
            [reported(10.0), reported(19.0), reported(19.999)],
            [false, false, true],
            "a new one, from its first on"
        );
        assert_eq!([reported(20.0), reported(29.999), reported(30.0)], [false, false, false], "two in each");
        assert_eq!(
            [reported(40.0), reported(41.0), reported(5.0), reported(6.0), reported(7.0)],
            [false, false, false, false, true]
        );
        assert!(!windows.count("192.0.2.2".parse().unwrap(), at(7.0)), "each network by itself");
    }

    #[test]
    fn nothing_is_too_many_where_it_is_switched_off() {
        let windows = Windows::new(Threshold { count: 0, seconds: 10 });
        assert!((0..100).all(|_| !windows.count("192.0.2.1".parse().unwrap(), at(0.0))));
    }

    #[test]
    fn networks_without_end_take_no_memory_without_end() {
        let windows = Windows::new(Threshold { count: 1_000, seconds: 10 });
        for number in 0..200_000_u32 {
            windows.count(IpAddr::V4(number.into()), at(0.0));
        }
        let held: usize = windows.shards.iter().map(|shard| shard.lock().len()).sum();
        assert!(held <= SHARDS * MOST_NETWORKS, "{held}");
    }
}
