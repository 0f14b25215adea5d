//! How much of one caller's work may run at a time (`MAX_IN_FLIGHT_PER_CALLER`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;
use uuid::Uuid;

type Counts = Mutex<HashMap<Uuid, u32>>;

/// Counts the running requests of each account in this process.
#[derive(Clone, Debug)]
pub(crate) struct InFlightCounter {
    counts: Arc<Counts>,
    limit: u32,
}

/// One running request; dropping it makes room for the next.
#[derive(Debug)]
pub struct InFlight {
    counts: Arc<Counts>,
    account: Uuid,
}

impl InFlightCounter {
    /// At most `limit` at a time for each account; 0 is no limit.
    pub fn new(limit: u32) -> Self {
        Self { counts: Arc::default(), limit }
    }

    /// Room for one more, or nothing.
    pub fn enter(&self, account: Uuid) -> Option<InFlight> {
        let mut counts = self.counts.lock();
        let count = counts.entry(account).or_default();
        if self.limit > 0 && *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(InFlight { counts: Arc::clone(&self.counts), account })
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Entry::Occupied(mut entry) = counts.entry(self.account) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}
