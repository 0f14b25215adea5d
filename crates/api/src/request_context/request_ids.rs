//! Ids for requests that bring none: UUIDs of version 7 (RFC 9562), which sort by time.

use std::cell::RefCell;

use uuid::{Builder, NoContext, Timestamp, Uuid};

/// Random bytes that are drawn at a time: asking the kernel for those of each id takes longer than the id.
const DRAWN: usize = 4000;
/// Random bytes of an id.
const EACH: usize = 10;

thread_local! {
    /// Drawn and not used yet, at the end.
    static LEFT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A new id.
pub fn next() -> String {
    let (seconds, nanoseconds) = Timestamp::now(NoContext).to_unix();
    let milliseconds = seconds * 1000 + u64::from(nanoseconds) / 1_000_000;
    match random() {
        Some(random) => Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid(),
        None => Uuid::now_v7(),
    }
    .to_string()
}

fn random() -> Option<[u8; EACH]> {
    LEFT.with_borrow_mut(|left| {
        if left.is_empty() {
            *left = auth::random_bytes::<DRAWN>().ok()?.to_vec();
        }
        let (kept, taken) = left.split_last_chunk::<EACH>()?;
        let (kept, taken) = (kept.len(), *taken);
        left.truncate(kept);
        Some(taken)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_are_the_same_however_many_are_drawn_at_once() {
        let ids: Vec<Uuid> = (0..3 * DRAWN / EACH).filter_map(|_| next().parse().ok()).collect();
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 3 * DRAWN / EACH);
        assert!(ids.is_sorted_by_key(|id| id.as_u128() >> 80), "they sort by time");
    }
}
