//! How many threads of a model one caller may keep busy.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long after its last call somebody counts as one who shares the model.
const NEIGHBOUR: Duration = Duration::from_secs(2);

/// What one caller may keep busy at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// Every thread.
    All,
    /// This many threads, whether or not others call.
    Fixed(usize),
    /// Every one of so many threads while nobody else calls, and one less beside others: those then never wait for
    /// the end of a run of the one who sends most.
    LeaveOne(usize),
}

/// Who keeps how many threads busy.
pub(super) struct Shares {
    share: Share,
    /// Threads that each caller keeps busy; never zero. Counted only where there is a bound.
    working: HashMap<u64, usize>,
    /// Who called last, and when.
    last: Option<(u64, Instant)>,
    /// The same for the last other caller.
    other: Option<(u64, Instant)>,
}

impl Shares {
    pub(crate) fn new(share: Share) -> Self {
        let share = match share {
            // The only thread cannot be left to others.
            Share::LeaveOne(..=1) => Share::All,
            share => share,
        };
        Self { share, working: HashMap::new(), last: None, other: None }
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.share != Share::All
    }

    /// A call of theirs came.
    pub(super) fn note(&mut self, caller: u64, now: Instant) {
        if !matches!(self.share, Share::LeaveOne(_)) {
            return;
        }
        if self.last.is_some_and(|(last, _)| last != caller) {
            self.other = self.last;
        }
        self.last = Some((caller, now));
    }

    /// A thread took something of theirs.
    pub(crate) fn start(&mut self, caller: u64) {
        if self.is_bounded() {
            *self.working.entry(caller).or_default() += 1;
        }
    }

    /// It is through with it.
    pub(super) fn stop(&mut self, caller: u64) {
        if let Some(count) = self.working.get_mut(&caller) {
            *count -= 1;
            if *count == 0 {
                self.working.remove(&caller);
            }
        }
    }

    /// The callers who keep as many threads busy as they may.
    pub(super) fn exhausted(&self, now: Instant) -> Vec<u64> {
        let full = |(caller, count): (&u64, &usize)| (*count >= self.of(*caller, now)).then_some(*caller);
        self.working.iter().filter_map(full).collect()
    }

    fn of(&self, caller: u64, now: Instant) -> usize {
        match self.share {
            Share::All => usize::MAX,
            Share::Fixed(threads) => threads,
            Share::LeaveOne(threads) => threads - usize::from(self.has_neighbour(caller, now)),
        }
    }

    fn has_neighbour(&self, caller: u64, now: Instant) -> bool {
        let somebody_else = |(other, time): &(u64, Instant)| {
            *other != caller && now.saturating_duration_since(*time) < NEIGHBOUR
        };
        self.last.iter().chain(&self.other).any(somebody_else)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_is_alone_has_every_thread_and_one_beside_others_leaves_one() {
        let begun = Instant::now();
        let mut shares = Shares::new(Share::LeaveOne(2));
        shares.note(1, begun);
        shares.start(1);
        assert!(shares.exhausted(begun).is_empty());
        shares.note(2, begun);
        assert_eq!(shares.exhausted(begun), [1], "the other thread is for the second caller");
        shares.start(2);
        shares.stop(2);
        shares.note(1, begun + NEIGHBOUR / 2);
        assert_eq!(shares.exhausted(begun + NEIGHBOUR / 2), [1]);
        shares.note(1, begun + NEIGHBOUR);
        assert!(shares.exhausted(begun + NEIGHBOUR).is_empty(), "the second caller has gone");
        shares.stop(1);
        assert!(shares.working.is_empty());
    }

    #[test]
    fn a_fixed_share_is_the_same_for_one_who_is_alone_and_one_thread_is_for_all() {
        let now = Instant::now();
        let mut shares = Shares::new(Share::Fixed(1));
        shares.note(1, now);
        shares.start(1);
        assert_eq!(shares.exhausted(now), [1]);
        assert!(!Shares::new(Share::LeaveOne(1)).is_bounded());
    }
}
