//! What was used, by account, key, model, version and day (UTC).

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::query::query;
use crate::{Result, Tx};

/// The most rows of a summary.
const MAX_ROWS: i64 = 10_000;

/// What is added to one counter row. Every count is at least zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageEntry {
    /// Who used it.
    pub account_id: Uuid,
    /// The key that was used; nil for a bearer token.
    pub api_key_id: Uuid,
    /// The model.
    pub model: String,
    /// Its version.
    pub version: String,
    /// The day, in UTC.
    pub day: NaiveDate,
    /// Requests answered or failed.
    pub requests: i64,
    /// Rows inferred.
    pub inferences: i64,
    /// Images decoded.
    pub images: i64,
    /// Bytes of the request bodies.
    pub bytes: i64,
    /// Time in the model, in microseconds.
    pub compute_microseconds: i64,
    /// Requests that failed.
    pub failures: i64,
}

/// One counter row of an account.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct UsageRow {
    /// The day, in UTC.
    pub day: NaiveDate,
    /// The key that was used; nil for a bearer token.
    pub api_key_id: Uuid,
    /// The model.
    pub model: String,
    /// Its version.
    pub version: String,
    /// Requests answered or failed.
    pub requests: i64,
    /// Rows inferred.
    pub inferences: i64,
    /// Images decoded.
    pub images: i64,
    /// Bytes of the request bodies.
    pub bytes: i64,
    /// Time in the model, in microseconds.
    pub compute_microseconds: i64,
    /// Requests that failed.
    pub failures: i64,
}

/// Queries on usage.
pub struct Usage<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl Usage<'_> {
    /// Adds a batch to the counters, once: false where this batch of this replica was recorded before, and
    /// nothing is added again.
    pub async fn record(&mut self, replica: Uuid, batch_no: i64, entries: &[UsageEntry]) -> Result<bool> {
        let now = self.tx.now();
        let first = query!(
            self.tx,
            execute,
            "INSERT INTO usage_batches (replica, batch_no, recorded_at) VALUES ($1, $2, $3) \
             ON CONFLICT (replica, batch_no) DO NOTHING",
            replica,
            batch_no,
            now
        )?;
        if first == 0 {
            return Ok(false);
        }
        // One order for everyone, so that two replicas cannot wait for each other.
        let mut entries: Vec<_> = entries.iter().collect();
        entries.sort_by_key(|entry| {
            (entry.account_id, entry.api_key_id, &entry.model, &entry.version, entry.day)
        });
        for entry in entries {
            self.add(entry).await?;
        }
        Ok(true)
    }

    /// The counters of an account from one day to another, both included, newest day first. Ten thousand rows
    /// at most.
    pub async fn summary(&mut self, account: Uuid, from: NaiveDate, to: NaiveDate) -> Result<Vec<UsageRow>> {
        query!(
            self.tx,
            all UsageRow,
            "SELECT day, api_key_id, model, version, requests, inferences, images, bytes, compute_microseconds, \
             failures FROM usage_daily WHERE account_id = $1 AND day >= $2 AND day <= $3 \
             ORDER BY day DESC, model, version, api_key_id LIMIT $4",
            account,
            from,
            to,
            MAX_ROWS
        )
    }

    /// Forgets which batches were recorded before a moment; no retry may be that late. Answers how many.
    pub async fn prune_batches(&mut self, before: DateTime<Utc>) -> Result<u64> {
        query!(self.tx, execute, "DELETE FROM usage_batches WHERE recorded_at < $1", before)
    }

    async fn add(&mut self, entry: &UsageEntry) -> Result<()> {
        query!(
            self.tx,
            execute,
            "INSERT INTO usage_daily (account_id, api_key_id, model, version, day, requests, inferences, images, \
             bytes, compute_microseconds, failures) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
             ON CONFLICT (account_id, api_key_id, model, version, day) DO UPDATE SET \
             requests = usage_daily.requests + excluded.requests, \
             inferences = usage_daily.inferences + excluded.inferences, \
             images = usage_daily.images + excluded.images, \
             bytes = usage_daily.bytes + excluded.bytes, \
             compute_microseconds = usage_daily.compute_microseconds + excluded.compute_microseconds, \
             failures = usage_daily.failures + excluded.failures",
            entry.account_id,
            entry.api_key_id,
            &entry.model,
            &entry.version,
            entry.day,
            entry.requests,
            entry.inferences,
            entry.images,
            entry.bytes,
            entry.compute_microseconds,
            entry.failures
        )?;
        Ok(())
    }
}
