//! How long what the ephemeral store said of a caller is relied on.
//!
//! A lease (Gray and Cheriton, "Leases", 1989): for a moment after the store said that nothing about a caller has
//! changed, a replica need not ask again, and whoever changes something waits for that moment before they answer. So
//! the next request after an answered revocation is refused on every replica, asked or not.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long a confirmation holds, and so how long a change waits: not long for who makes one, and many requests
/// of a caller who has many. Real time: moving the clock neither shortens nor lengthens it. It stands still while a
/// machine is suspended: one that wakes up may rely on a confirmation for what was left of it.
pub(crate) const CONFIRMED_FOR: Duration = Duration::from_millis(20);

/// When the store last confirmed a principal.
#[derive(Debug, Default)]
pub(crate) struct Confirmation(Mutex<Option<Instant>>);

impl Confirmation {
    /// The store, asked at this moment or after it, knew of no change.
    pub fn note(&self, asked: Instant) {
        let mut last = self.0.lock();
        *last = (*last).max(Some(asked));
    }

    /// Whether the store need not be asked.
    pub fn holds(&self, now: Instant) -> bool {
        let last = self.0.lock();
        last.is_some_and(|asked| now.saturating_duration_since(asked) < CONFIRMED_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confirmation_holds_for_a_moment_from_when_it_was_asked_for() {
        let (confirmation, start) = (Confirmation::default(), Instant::now());
        assert!(!confirmation.holds(start));
        confirmation.note(start);
        assert!(confirmation.holds(start + CONFIRMED_FOR / 2));
        assert!(!confirmation.holds(start + CONFIRMED_FOR));
        confirmation.note(start + CONFIRMED_FOR);
        confirmation.note(start);
        assert!(confirmation.holds(start + CONFIRMED_FOR), "an answer that was overtaken shortens nothing");
    }
}
