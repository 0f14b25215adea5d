//! The blocks of this replica: where they come from and when they go back.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use parking_lot::Mutex;
use storage::{QuotaPeriod as Period, Scope, Service, Store};
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use super::Quota;
use super::block::{Block, Claim, TakeResult, Taken};
use crate::{Error, Result};

/// A replica reserves what a request needs plus this part of the rest: the most that a crash can lose, of each quota.
/// Towards the end each request reserves for itself, so that no replica holds what others lack.
const SHARE: i64 = 16;
/// Periods of subjects that this replica holds something of at a time; beyond it is busy.
const MAX_BLOCKS: usize = 100_000;
/// Blocks given back in one transaction.
const BATCH: usize = 500;

/// What this replica may give out.
pub(crate) struct QuotaBook {
    store: Store,
    blocks: Mutex<HashMap<Period, Arc<Block>>>,
    met: Mutex<Vec<ReachedCap>>,
}

/// A cap that was met, to be recorded.
pub(super) struct ReachedCap {
    pub period: Period,
    pub quota: Quota,
}

/// What the database answered.
struct Reservation {
    amount: i64,
    left: i64,
    /// Whether there was less than was missing.
    is_met: bool,
}

impl QuotaBook {
    pub fn new(store: Store) -> Self {
        Self { store, blocks: Mutex::default(), met: Mutex::default() }
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.store.clock().now()
    }

    /// The caps that were met since the last time; each once for as long as its block is kept.
    pub(super) fn take_reached_caps(&self) -> Vec<ReachedCap> {
        std::mem::take(&mut *self.met.lock())
    }

    /// Puts a cap back that could not be recorded yet.
    pub(super) fn return_reached_cap(&self, met: ReachedCap) {
        self.met.lock().push(met);
    }

    /// Takes `cost` of a quota for an account, in the ledger's measure; 0 only makes sure that something is left. None:
    /// there is not enough.
    pub(super) async fn take(
        self: &Arc<Self>,
        block: &Arc<Block>,
        quota: Quota,
        cost: i64,
        now: DateTime<Utc>,
    ) -> Result<Option<Taken>> {
        if let Some(answer) = self.from_memory(block, quota, cost, now) {
            return Ok(answer);
        }
        let turn = Arc::clone(&block.turn).lock_owned().await;
        // The request before may have reserved enough for both, or found nothing left.
        if let Some(answer) = self.from_memory(block, quota, cost, self.now()) {
            return Ok(answer);
        }
        // By itself, so that a caller who goes away meanwhile takes nothing with them.
        let asking = tokio::spawn(Arc::clone(self).ask(Arc::clone(block), quota, cost, turn));
        asking.await.map_err(|error| Error::Internal(error.to_string()))?
    }

    /// The block of a quota on a day.
    pub(super) fn block(&self, account: Uuid, quota: &Quota, day: NaiveDate) -> Result<Arc<Block>> {
        let period = period_of(account, quota, day);
        let mut blocks = self.blocks.lock();
        if let Some(block) = blocks.get(&period) {
            return Ok(Arc::clone(block));
        }
        if blocks.len() >= MAX_BLOCKS {
            return Err(Error::Overloaded);
        }
        let block = Arc::new(Block::new(period.clone()));
        blocks.insert(period, Arc::clone(&block));
        Ok(block)
    }

    /// What this replica holds of a quota on a day and may still give out, in the ledger's measure.
    pub(super) fn held(&self, account: Uuid, quota: &Quota, day: NaiveDate) -> i64 {
        let blocks = self.blocks.lock();
        blocks.get(&period_of(account, quota, day)).map_or(0, |block| {
            let state = block.state();
            state.remaining.max(0) + state.surplus
        })
    }

    /// Returns to the database what was not used since the last call, or everything: other replicas may need it.
    pub async fn give_back(&self, everything: bool) -> Result<()> {
        let mut blocks: Vec<Arc<Block>> = self.blocks.lock().values().cloned().collect();
        // One order for everyone, so that two replicas cannot wait for each other.
        blocks.sort_by(|one, other| one.period.cmp(&other.period));
        let taken_out = blocks.into_iter().filter_map(|block| {
            let amount = {
                let mut state = block.state();
                state.touched &= !everything;
                state.idle()
            };
            (amount != 0).then_some((block, amount))
        });
        let taken_out: Vec<(Arc<Block>, i64)> = taken_out.collect();
        let mut result = Ok(());
        for batch in taken_out.chunks(BATCH) {
            let returned = match self.return_batch(batch).await {
                Err(Error::Internal(_)) => self.return_each(batch).await,
                returned => returned,
            };
            result = result.and(returned);
        }
        drop(taken_out);
        let mut blocks = self.blocks.lock();
        blocks.retain(|_, block| Arc::strong_count(block) > 1 || !block.state().is_empty());
        result
    }

    /// Of a batch that was refused as a whole: what the database does not take (it was put back, and knows nothing of it)
    /// is not offered again, and keeps nothing else from going back.
    async fn return_each(&self, batch: &[(Arc<Block>, i64)]) -> Result<()> {
        let take_out = |one: &[(Arc<Block>, i64)]| {
            one.iter().for_each(|(block, amount)| block.state().remaining -= amount)
        };
        for one in batch.chunks(1) {
            take_out(one);
            match self.return_batch(one).await {
                Err(Error::Internal(error)) => {
                    tracing::error!(error, "what was reserved of a quota could not be given back");
                    take_out(one);
                }
                returned => returned?,
            }
        }
        Ok(())
    }

    async fn return_batch(&self, batch: &[(Arc<Block>, i64)]) -> Result<()> {
        let prepared: storage::Result<_> = async {
            let mut tx = self.store.begin(Scope::Service(Service::Metering)).await?;
            for (block, amount) in batch {
                tx.quotas().reserve(&block.period, -amount).await?;
            }
            Ok(tx)
        }
        .await;
        let (result, is_known) = match prepared {
            Ok(tx) => (tx.commit().await, false),
            Err(error) => (Err(error), true),
        };
        if result.is_err() {
            for (block, amount) in batch {
                // Where nobody knows whether it went back it counts as spent; what was used beyond stays owed.
                block.state().remaining += if is_known { *amount } else { (*amount).min(0) };
            }
        }
        Ok(result?)
    }

    fn from_memory(
        self: &Arc<Self>,
        block: &Arc<Block>,
        quota: Quota,
        cost: i64,
        now: DateTime<Utc>,
    ) -> Option<Option<Taken>> {
        let (word, runs_low) = {
            let mut state = block.state();
            (state.take(&quota, cost, now), state.runs_low())
        };
        match word {
            TakeResult::Unknown => None,
            TakeResult::Exhausted => Some(None),
            TakeResult::Taken => {
                if runs_low && let Ok(turn) = Arc::clone(&block.turn).try_lock_owned() {
                    drop(tokio::spawn(Arc::clone(self).ask(Arc::clone(block), quota, 0, turn)));
                }
                Some(Some(Taken::new(Arc::clone(block), quota, cost)))
            }
        }
    }

    /// Reserves in the database what a request needs, and some more.
    async fn ask(
        self: Arc<Self>,
        block: Arc<Block>,
        quota: Quota,
        cost: i64,
        _turn: OwnedMutexGuard<()>,
    ) -> Result<Option<Taken>> {
        let need = cost.max(1);
        let (claim, is_open) = {
            let mut state = block.state();
            (state.claim(need), state.open)
        };
        let missing = need - claim.held;
        let answer = self.reserve(&block.period, &quota, claim, missing, is_open).await;
        let mut state = block.state();
        state.remaining += claim.held;
        match answer {
            Ok(given) => {
                (state.open, state.left) = (true, given.left);
                if given.is_met && !std::mem::replace(&mut state.reported, true) {
                    self.return_reached_cap(ReachedCap { period: block.period.clone(), quota });
                }
                state.given = given.amount;
                state.remaining += given.amount;
                if given.amount < missing {
                    state.refuse(need, self.now());
                    return Ok(None);
                }
                state.remaining -= cost;
                drop(state);
                Ok(Some(Taken::new(block, quota, cost)))
            }
            Err(error) => {
                // Nobody knows whether it was done: what was to go back counts as spent, what is owed stays owed.
                state.remaining -= claim.debt;
                // A database that was put back may not know the period any more.
                state.open &= error.is_unavailable();
                Err(error.into())
            }
        }
    }

    async fn reserve(
        &self,
        period: &Period,
        quota: &Quota,
        claim: Claim,
        missing: i64,
        is_open: bool,
    ) -> storage::Result<Reservation> {
        let mut tx = self.store.begin(Scope::Service(Service::Quota)).await?;
        if !is_open {
            tx.quotas().open(period).await?;
        }
        let reserved = tx.quotas().reserve(period, claim.debt - claim.surplus).await?;
        let available = quota.ledger_cap() - reserved;
        let amount = share(available, missing, quota);
        if amount > 0 {
            tx.quotas().reserve(period, amount).await?;
        }
        tx.commit().await?;
        Ok(Reservation { amount, left: available - amount, is_met: available < missing })
    }
}

fn period_of(account: Uuid, quota: &Quota, day: NaiveDate) -> Period {
    Period {
        account_id: account,
        subject: quota.subject,
        unit: quota.unit.name(),
        period: quota.period.name(),
        starts_on: quota.period.start(day),
    }
}

/// How much to reserve where so much is missing and so much available.
fn share(available: i64, missing: i64, quota: &Quota) -> i64 {
    if available >= missing {
        missing + (available - missing) / SHARE
    } else if quota.hard {
        0
    } else {
        // There is no cap to keep to any more, only something to count.
        missing.saturating_add(quota.ledger_cap() / SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{QuotaPeriod, QuotaUnit};
    use super::*;

    #[test]
    fn blocks_become_smaller_towards_the_end_and_never_pass_a_hard_cap() {
        let quota = |hard| Quota {
            subject: Uuid::nil(),
            is_key: false,
            unit: QuotaUnit::Requests,
            period: QuotaPeriod::Day,
            cap: 1600,
            hard,
        };
        assert_eq!(share(1600, 1, &quota(true)), 100);
        assert_eq!(share(16, 1, &quota(true)), 1, "each for itself");
        assert_eq!(share(5, 5, &quota(true)), 5);
        assert_eq!(share(4, 5, &quota(true)), 0);
        assert_eq!(share(-100, 1, &quota(true)), 0, "a cap that was lowered");
        assert_eq!(share(0, 1, &quota(false)), 101);
        let mut left = 1000;
        let mut asked = 0;
        while left > 0 {
            left -= share(left, 1, &quota(true));
            asked += 1;
        }
        assert!(left == 0 && asked < 100, "{asked}");
    }
}
