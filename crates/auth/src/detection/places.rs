//! Where credentials are used: an API key at many networks at once, or a session that goes to and fro, is in several
//! hands.

use std::collections::HashMap;
use std::net::IpAddr;

use chrono::{DateTime, Duration, Utc};
use parking_lot::Mutex;
use uuid::Uuid;

use super::Threshold;

/// Credentials remembered; when all are in their windows, one more replaces them all.
const MOST_CREDENTIALS: usize = 16_384;
/// Networks remembered of one credential.
const MOST_NETWORKS: usize = 64;

struct Trail {
    began: DateTime<Utc>,
    ends: DateTime<Utc>,
    last: IpAddr,
    moves: u32,
    networks: Vec<IpAddr>,
}

impl Trail {
    fn new(network: IpAddr, now: DateTime<Utc>, length: Duration) -> Self {
        Self { began: now, ends: now + length, last: network, moves: 0, networks: vec![network] }
    }

    fn is_over(&self, now: DateTime<Utc>) -> bool {
        now < self.began || now >= self.ends
    }
}

/// Where each credential was lately.
#[derive(Default)]
pub(super) struct Places(Mutex<HashMap<Uuid, Trail>>);

impl Places {
    /// Notes a use. True: with this one there are too many moves, or too many networks; it is so once in a window.
    pub fn note(
        &self,
        credential: Uuid,
        network: IpAddr,
        now: DateTime<Utc>,
        threshold: Threshold,
        counts_moves: bool,
    ) -> bool {
        if threshold.count == 0 {
            return false;
        }
        let length = Duration::seconds(i64::from(threshold.seconds));
        let mut trails = self.0.lock();
        if trails.len() >= MOST_CREDENTIALS && !trails.contains_key(&credential) {
            trails.retain(|_, trail| !trail.is_over(now));
            if trails.len() >= MOST_CREDENTIALS {
                trails.clear();
            }
        }
        let trail = trails.entry(credential).or_insert_with(|| Trail::new(network, now, length));
        if trail.is_over(now) {
            *trail = Trail::new(network, now, length);
        }
        let moved = trail.last != network;
        let is_new = moved && trail.networks.len() < MOST_NETWORKS && !trail.networks.contains(&network);
        trail.last = network;
        trail.moves = trail.moves.saturating_add(u32::from(moved));
        if is_new {
            trail.networks.push(network);
        }
        if counts_moves {
            moved && trail.moves == threshold.count
        } else {
            is_new && trail.networks.len() == threshold.count as usize
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Threshold = Threshold { count: 3, seconds: 60 };

    fn use_at(places: &Places, seconds: i64, last: u8, counts_moves: bool) -> bool {
        let now = DateTime::UNIX_EPOCH + Duration::seconds(seconds);
        places.note(Uuid::from_u128(1), IpAddr::from([192, 0, 2, last]), now, LIMIT, counts_moves)
    }

    #[test]
    fn a_key_at_many_networks_at_once_is_told_once() {
        let places = Places::default();
        let reported: Vec<bool> =
            [1, 1, 2, 1, 2, 3, 4].iter().map(|last| use_at(&places, 0, *last, false)).collect();
        assert_eq!(reported, [false, false, false, false, false, true, false]);
        assert!(!use_at(&places, 60, 5, false), "the window is over");
    }

    #[test]
    fn a_session_that_moves_once_is_a_person_and_one_that_goes_to_and_fro_is_none() {
        let places = Places::default();
        let reported: Vec<bool> =
            [1, 2, 2, 1, 2].iter().map(|last| use_at(&places, 1, *last, true)).collect();
        assert_eq!(reported, [false, false, false, false, true]);
        let places = Places::default();
        assert!((0..50).all(|minute| !use_at(&places, minute * 60, (minute % 2) as u8, true)), "in an hour");
    }
}
