//! Metering: what a run costs, counted in memory on the hot path and written in numbered batches off it.

use std::collections::HashMap;
use std::mem;
use std::net::IpAddr;
use std::time::Duration;

use auth::{Credential, Demand, Principal, QuotaLease};
use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use inference::Model;
use parking_lot::Mutex;
use storage::{KeyUse, QuotaPeriod, Scope, Service, Store, UsageCounts, UsageEntry};
use uuid::Uuid;

/// How often usage is written: what a crash can lose.
pub const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// What a call is metered by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work {
    inferences: u64,
    images: u64,
    bytes: u64,
}

impl Work {
    /// Pictures to classify.
    pub fn pictures(pictures: &[Bytes]) -> Self {
        let bytes = pictures.iter().map(|picture| picture.len() as u64).sum();
        Self { inferences: pictures.len() as u64, images: pictures.len() as u64, bytes }
    }

    /// What it takes of quotas.
    pub fn demand(self, model: &Model) -> Demand {
        let Self { inferences, images, bytes } = self;
        Demand { inferences, images, bytes, credits: self.credits(model) }
    }

    /// Bytes of what was sent.
    pub fn body(self) -> usize {
        usize::try_from(self.bytes).unwrap_or(usize::MAX)
    }

    /// What it costs, each row or picture the model's price.
    fn credits(self, model: &Model) -> u64 {
        self.inferences.saturating_mul(model.manifest().price.get().into())
    }

    /// Tensors of `rows` rows in a body of `bytes` bytes.
    pub fn tensors(rows: usize, bytes: usize) -> Self {
        Self { inferences: rows as u64, images: 0, bytes: bytes as u64 }
    }
}

/// The account and credential that pay.
pub struct User<'a> {
    /// Who it is.
    pub principal: &'a Principal,
    /// Where they call from.
    pub address: Option<IpAddr>,
    /// What the call takes of quotas; none where there are none.
    pub lease: Option<&'a QuotaLease>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Account {
    account: Uuid,
    /// Nil: an access token.
    key: Uuid,
    model: String,
    version: String,
    day: NaiveDate,
}

#[derive(Default)]
struct Ledger {
    usage: HashMap<Account, UsageCounts>,
    keys: HashMap<Uuid, (DateTime<Utc>, Option<IpAddr>)>,
    quotas: HashMap<QuotaPeriod, i64>,
}

/// A batch on its way to the database; kept until it is there, under the same number.
struct Batch {
    number: i64,
    usage: Vec<UsageEntry>,
    keys: Vec<KeyUse>,
    quotas: Vec<(QuotaPeriod, i64)>,
}

/// The ledger of this replica.
pub struct Metering {
    replica: Uuid,
    store: Store,
    ledger: Mutex<Ledger>,
    /// Also keeps two flushes from running at once.
    unwritten: tokio::sync::Mutex<(i64, Option<Batch>)>,
}

impl Metering {
    /// An empty ledger for this replica.
    pub fn new(replica: Uuid, store: Store) -> Self {
        Self { replica, store, ledger: Mutex::default(), unwritten: tokio::sync::Mutex::new((0, None)) }
    }

    /// The replica whose ledger this is.
    pub fn replica(&self) -> Uuid {
        self.replica
    }

    /// `compute` is none for a failure, which is counted but not charged. What quotas paid for is of the day that paid.
    pub fn note(&self, user: &User<'_>, model: &Model, work: Work, compute: Option<Duration>) {
        let User { principal, address, lease } = *user;
        let now = self.store.clock().now();
        let charges = lease.zip(compute).map(|(lease, compute)| lease.settle(compute));
        let key = match principal.credential {
            Credential::ApiKey { id } => id,
            Credential::Session { .. } | Credential::External(_) => Uuid::nil(),
        };
        let account = Account {
            account: principal.account,
            key,
            model: model.name().to_owned(),
            version: model.version().to_owned(),
            day: lease.map_or_else(|| now.date_naive(), QuotaLease::day),
        };
        let mut ledger = self.ledger.lock();
        if !key.is_nil() {
            ledger.keys.insert(key, (now, address));
        }
        for (period, amount) in charges.into_iter().flatten() {
            *ledger.quotas.entry(period).or_default() += amount;
        }
        let counts = ledger.usage.entry(account).or_default();
        counts.requests += 1;
        match compute {
            Some(compute) => {
                add(&mut counts.inferences, work.inferences);
                add(&mut counts.images, work.images);
                add(&mut counts.bytes, work.bytes);
                add(&mut counts.credits, work.credits(model));
                add(&mut counts.compute_microseconds, compute.as_micros());
            }
            None => counts.failures += 1,
        }
    }

    /// Writes what has come together. A batch that failed is tried again under its number, so that it counts once.
    pub async fn flush(&self) -> storage::Result<()> {
        let mut unwritten = self.unwritten.lock().await;
        let (last, pending) = &mut *unwritten;
        if let Some(batch) = pending.as_ref() {
            self.write(batch).await?;
            *pending = None;
        }
        let ledger = mem::take(&mut *self.ledger.lock());
        if ledger.usage.is_empty() {
            return Ok(());
        }
        *last += 1;
        let batch = pending.insert(batch(*last, ledger));
        self.write(batch).await?;
        *pending = None;
        Ok(())
    }

    async fn write(&self, batch: &Batch) -> storage::Result<()> {
        let mut tx = self.store.begin(Scope::Service(Service::Metering)).await?;
        if !tx.usage().record(self.replica, batch.number, &batch.usage).await? {
            return Ok(());
        }
        tx.api_keys().touch(&batch.keys).await?;
        for (period, amount) in &batch.quotas {
            tx.quotas().settle(period, *amount).await?;
        }
        tx.commit().await
    }
}

/// As the database counts.
fn add(counter: &mut i64, number: impl TryInto<i64>) {
    *counter = counter.saturating_add(number.try_into().unwrap_or(i64::MAX));
}

fn batch(number: i64, ledger: Ledger) -> Batch {
    let usage = ledger.usage.into_iter().map(|(account, counts)| UsageEntry {
        account_id: account.account,
        api_key_id: account.key,
        model: account.model,
        version: account.version,
        day: account.day,
        counts,
    });
    let keys = ledger.keys.into_iter().map(|(key, (at, address))| (key, at, address.map(truncated)));
    // One order for everyone, so that two replicas cannot wait for each other.
    let mut quotas: Vec<_> = ledger.quotas.into_iter().collect();
    quotas.sort_by(|(one, _), (other, _)| one.cmp(other));
    Batch { number, usage: usage.collect(), keys: keys.collect(), quotas }
}

/// An address without the part that identifies a single machine: its /24 or /48.
fn truncated(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}::/48")
        }
    }
}
