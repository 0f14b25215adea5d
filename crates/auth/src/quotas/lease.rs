//! The charges of one request to its caller's quotas: before the body is read, before the work, and after it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use parking_lot::Mutex;
use storage::QuotaPeriod as Period;
use uuid::Uuid;

use super::block::{Block, Taken};
use super::{Quota, QuotaBook, QuotaUnit};
use crate::callers::admission::AllowanceState;
use crate::{Error, Result, Throttle};

/// What a request turned out to need, known when its body was read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Demand {
    /// Rows or pictures.
    pub inferences: u64,
    /// Pictures.
    pub images: u64,
    /// Bytes of the body.
    pub bytes: u64,
    /// What the rows or pictures cost.
    pub credits: u64,
}

/// What was used of which period, in the ledger's measure.
pub type Charges = Vec<(Period, i64)>;

/// What a request has taken of its caller's quotas. Dropped without being settled, all of it goes back.
pub struct QuotaLease {
    book: Arc<QuotaBook>,
    account: Uuid,
    day: NaiveDate,
    quotas: Vec<(Quota, Arc<Block>)>,
    taken: Mutex<Vec<Taken>>,
}

impl fmt::Debug for QuotaLease {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("QuotaLease").field("account", &self.account).finish_non_exhaustive()
    }
}

impl QuotaLease {
    /// Takes one request, and checks that something is left of every other quota. Also returns what is left of each.
    /// [`Error::QuotaExceeded`]: one is used up.
    pub(crate) async fn begin(
        book: &Arc<QuotaBook>,
        account: Uuid,
        quotas: &[Quota],
        now: DateTime<Utc>,
    ) -> Result<(Self, Vec<AllowanceState>)> {
        let day = now.date_naive();
        let block = |quota: &Quota| Ok((*quota, book.block(account, quota, day)?));
        let quotas = quotas.iter().map(block).collect::<Result<Vec<_>>>()?;
        let taken = Mutex::new(Vec::with_capacity(2 * quotas.len()));
        let lease = Self { book: Arc::clone(book), account, day, quotas, taken };
        let mut states = Vec::with_capacity(lease.quotas.len());
        for (quota, block) in &lease.quotas {
            let state = match quota.unit {
                QuotaUnit::Requests => lease.take(*quota, block, 1, now).await?,
                // Whether the body holds pictures is not known yet: this only reads the remaining amount.
                QuotaUnit::Images => {
                    if !block.state().knows(quota) {
                        drop(lease.book.take(block, *quota, 0, now).await?);
                    }
                    state(quota, block, 0, now)
                }
                _ => lease.take(*quota, block, 0, now).await?,
            };
            states.push(state);
        }
        Ok((lease, states))
    }

    /// The day whose quotas pay, in UTC.
    pub fn day(&self) -> NaiveDate {
        self.day
    }

    /// Takes what the request needs. [`Error::QuotaExceeded`]: there is not as much left.
    pub async fn demand(&self, demand: Demand, now: DateTime<Utc>) -> Result<()> {
        for (quota, block) in &self.quotas {
            let cost = match quota.unit {
                QuotaUnit::Inferences => demand.inferences,
                QuotaUnit::Images => demand.images,
                QuotaUnit::Bytes => demand.bytes,
                QuotaUnit::Credits => demand.credits,
                QuotaUnit::Requests | QuotaUnit::ComputeMilliseconds => 0,
            };
            if cost > 0 {
                self.take(*quota, block, i64::try_from(cost).unwrap_or(i64::MAX), now).await?;
            }
        }
        Ok(())
    }

    /// Updates what is left of each quota once the answer is made: with all that it took, and without what goes back.
    pub fn refresh_states(&self, states: &mut [AllowanceState]) {
        let now = self.book.now();
        let taken = self.taken.lock();
        for (quota, block) in &self.quotas {
            let of_block = taken.iter().filter(|taken| Arc::ptr_eq(&taken.block, block));
            let unused = of_block.map(Taken::unused).sum();
            if let Some(known) = states.iter_mut().find(|known| known.name == quota.policy()) {
                *known = state(quota, block, unused, now);
            }
        }
    }

    /// What was taken was used, and so much compute time. What it was, for the ledger.
    pub fn settle(&self, compute: Duration) -> Charges {
        let mut taken = self.taken.lock();
        let charge = |taken: &mut Taken| (taken.block.period.clone(), taken.settle(compute));
        taken.iter_mut().map(charge).filter(|(_, amount)| *amount > 0).collect()
    }

    async fn take(
        &self,
        quota: Quota,
        block: &Arc<Block>,
        cost: i64,
        now: DateTime<Utc>,
    ) -> Result<AllowanceState> {
        let taken = self.book.take(block, quota, cost, now).await?;
        let state = state(&quota, block, 0, now);
        let Some(taken) = taken else {
            return Err(Error::QuotaExceeded(Throttle {
                policy: state.name,
                retry_after: state.reset_after,
                windows: vec![state],
            }));
        };
        // What only was looked at has nothing to give back, except that compute time is settled later.
        if taken.amount > 0 || quota.unit == QuotaUnit::ComputeMilliseconds {
            self.taken.lock().push(taken);
        }
        Ok(state)
    }
}

/// `unused` was taken and goes back.
fn state(quota: &Quota, block: &Block, unused: i64, now: DateTime<Utc>) -> AllowanceState {
    let left = block.state().known_left() + unused;
    let starts_on = block.period.starts_on;
    AllowanceState {
        name: quota.policy(),
        limit: u64::try_from(quota.cap).unwrap_or(0),
        period: quota.period.length(starts_on),
        remaining: quota.unit.to_unit(left),
        reset_after: quota.period.left(starts_on, now),
        unit: quota.unit,
        is_over: !quota.hard && left < 0,
    }
}
