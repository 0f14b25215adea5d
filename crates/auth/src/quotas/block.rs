//! A block: the part of a quota that this replica has reserved, of one period of one subject.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use parking_lot::{Mutex, MutexGuard};
use storage::QuotaPeriod as Period;

use super::{MICROSECONDS, Quota};

/// How long an exhausted quota is remembered before the database is queried again.
const EXHAUSTED_FOR: Duration = Duration::seconds(1);

/// Blocks smaller than this are not reserved ahead.
const WORTH_ASKING: i64 = 8;

/// What this replica holds of one period of one subject.
pub(super) struct Block {
    pub period: Period,
    state: Mutex<State>,
    /// Held while the database is queried: one request at a time.
    pub turn: Arc<tokio::sync::Mutex<()>>,
}

/// Amounts are in the ledger's measure.
#[derive(Default)]
pub(super) struct State {
    /// The cap and whether it is hard, which all of this belongs to; none before the first.
    cap: Option<(i64, bool)>,
    /// Reserved and not taken. Below nothing: compute time that was used and is not reserved yet.
    pub remaining: i64,
    /// Reserved under another cap, to be given back.
    pub surplus: i64,
    /// What the database had left at the last query.
    pub left: i64,
    /// What was reserved then.
    pub given: i64,
    /// Whether the period's row is there.
    pub open: bool,
    /// Whether it is known already that the cap was met.
    pub reported: bool,
    /// The amount that was refused, and until when it is refused again.
    refused: Option<(i64, DateTime<Utc>)>,
    /// Whether it was used since the last look.
    pub touched: bool,
}

/// What was taken out of a block while the database is queried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// Is taken for the request.
    pub held: i64,
    /// Was used without being reserved.
    pub debt: i64,
    /// Is given back.
    pub surplus: i64,
}

/// The result of taking from a block, without the database.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TakeResult {
    Taken,
    Exhausted,
    Unknown,
}

impl Block {
    pub fn new(period: Period) -> Self {
        Self { period, state: Mutex::default(), turn: Arc::default() }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    /// Adopts the quota's present cap. What was reserved under another cap is not given out any more.
    fn adopt(&mut self, quota: &Quota) {
        let cap = Some((quota.ledger_cap(), quota.hard));
        if self.cap != cap {
            let kept = self.remaining.max(0);
            self.surplus += kept;
            self.remaining -= kept;
            (self.cap, self.refused, self.reported) = (cap, None, false);
        }
    }

    /// Takes `cost`; for 0 something must be there, and nothing is taken.
    pub fn take(&mut self, quota: &Quota, cost: i64, now: DateTime<Utc>) -> TakeResult {
        self.adopt(quota);
        self.touched = true;
        let need = cost.max(1);
        if self.remaining >= need {
            self.remaining -= cost;
            return TakeResult::Taken;
        }
        match self.refused {
            // A clock that was set back must not make it last.
            Some((refused, until)) if need >= refused && now < until && until - now <= EXHAUSTED_FOR => {
                TakeResult::Exhausted
            }
            _ => TakeResult::Unknown,
        }
    }

    /// Whether the state of this quota was read from the database.
    pub fn knows(&self, quota: &Quota) -> bool {
        self.open && self.cap == Some((quota.ledger_cap(), quota.hard))
    }

    /// Takes out what a request needs, and what has to be settled with the database.
    pub fn claim(&mut self, need: i64) -> Claim {
        let held = self.remaining.clamp(0, need);
        let debt = -self.remaining.min(0);
        self.remaining += debt - held;
        Claim { held, debt, surplus: std::mem::take(&mut self.surplus) }
    }

    /// Whether it is time to reserve more, before a request has to wait. Small blocks are not refilled ahead.
    pub fn runs_low(&self) -> bool {
        self.given >= WORTH_ASKING && self.remaining < self.given / 4
    }

    /// Nothing of `need` could be had.
    pub fn refuse(&mut self, need: i64, now: DateTime<Utc>) {
        self.refused = Some((need, now + EXHAUSTED_FOR));
    }

    /// What is left for callers, as far as this replica knows; below nothing: so much was used beyond the cap.
    pub fn known_left(&self) -> i64 {
        self.remaining + self.left
    }

    /// Takes out all that nobody has touched since the last look: what is to be given back.
    pub fn idle(&mut self) -> i64 {
        if std::mem::take(&mut self.touched) {
            return 0;
        }
        std::mem::take(&mut self.remaining) + std::mem::take(&mut self.surplus)
    }

    /// Whether it can be forgotten.
    pub fn is_empty(&self) -> bool {
        !self.touched && self.remaining == 0 && self.surplus == 0
    }
}

/// Something that was taken; what is not used goes back when this is dropped.
pub(super) struct Taken {
    pub block: Arc<Block>,
    pub quota: Quota,
    pub amount: i64,
    used: i64,
}

impl Taken {
    pub fn new(block: Arc<Block>, quota: Quota, amount: i64) -> Self {
        Self { block, quota, amount, used: 0 }
    }

    /// What goes back; below nothing where more was used.
    pub fn unused(&self) -> i64 {
        self.amount - self.used
    }

    /// It was used, all of it, or so much compute time.
    pub fn settle(&mut self, compute: std::time::Duration) -> i64 {
        self.used = match self.quota.unit {
            super::QuotaUnit::ComputeMilliseconds => {
                i64::try_from(compute.as_micros()).unwrap_or(i64::MAX / MICROSECONDS)
            }
            _ => self.amount,
        };
        self.used
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.block.state().remaining += self.unused();
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use uuid::Uuid;

    use super::super::{QuotaPeriod, QuotaUnit};
    use super::*;

    fn quota(cap: i64) -> Quota {
        Quota {
            subject: Uuid::nil(),
            is_key: false,
            unit: QuotaUnit::Inferences,
            period: QuotaPeriod::Day,
            cap,
            hard: true,
        }
    }

    #[test]
    fn what_is_held_is_taken_and_a_refusal_remembered_for_as_much() {
        let now = DateTime::UNIX_EPOCH;
        let mut state = State::default();
        assert_eq!(state.take(&quota(10), 3, now), TakeResult::Unknown);
        state.remaining = 4;
        assert_eq!(state.take(&quota(10), 3, now), TakeResult::Taken);
        assert_eq!(state.take(&quota(10), 0, now), TakeResult::Taken, "something is there");
        assert_eq!(state.claim(3), Claim { held: 1, debt: 0, surplus: 0 });
        state.refuse(3, now);
        state.remaining += 1;
        assert_eq!(state.take(&quota(10), 3, now), TakeResult::Exhausted);
        assert_eq!(state.take(&quota(10), 2, now), TakeResult::Unknown, "less may still be had");
        assert_eq!(state.take(&quota(10), 3, now + EXHAUSTED_FOR), TakeResult::Unknown);
        assert_eq!(state.take(&quota(10), 3, now - EXHAUSTED_FOR), TakeResult::Unknown, "a clock set back");
    }

    #[test]
    fn another_cap_ends_what_was_held_under_the_one_before() {
        let now = DateTime::UNIX_EPOCH;
        let mut state = State { remaining: 60, ..State::default() };
        state.cap = Some((1000, true));
        assert_eq!(state.take(&quota(10), 1, now), TakeResult::Unknown);
        assert_eq!((state.remaining, state.surplus), (0, 60));
        assert_eq!(state.claim(1), Claim { held: 0, debt: 0, surplus: 60 });
        state.remaining = -5;
        assert_eq!(state.claim(1), Claim { held: 0, debt: 5, surplus: 0 }, "used beyond is made good");
        assert_eq!(state.remaining, 0);
    }

    #[test]
    fn what_is_not_used_goes_back() {
        let starts_on = "2026-03-01".parse().unwrap();
        let account_id = Uuid::nil();
        let period = Period { account_id, subject: account_id, unit: "inferences", period: "day", starts_on };
        let block = Arc::new(Block::new(period));
        drop(Taken::new(Arc::clone(&block), quota(10), 3));
        assert_eq!(block.state().remaining, 3);
        let mut kept = Taken::new(Arc::clone(&block), quota(10), 2);
        kept.settle(std::time::Duration::ZERO);
        drop(kept);
        assert_eq!(block.state().remaining, 3);
    }
}
