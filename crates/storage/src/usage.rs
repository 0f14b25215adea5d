//! Usage, by account, key, model, version and day (UTC).

use chrono::{DateTime, NaiveDate, Utc};
use data_encoding::BASE64URL_NOPAD;
use sqlx::FromRow;
use uuid::Uuid;

use crate::durable::query;
use crate::pruning::PRUNED_AT_ONCE;
use crate::{Result, Tx};

/// The most rows of a summary.
const MAX_ROWS: i64 = 10_000;

macro_rules! counters {
    ($($(#[$doc:meta])* $counter:ident,)*) => {
        /// How much was used. Every count is at least zero.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromRow)]
        pub struct UsageCounts { $($(#[$doc])* pub $counter: i64,)* }

        impl UsageCounts {
            /// The names of the counters, in order.
            pub const NAMES: &[&str] = &[$(stringify!($counter),)*];

            /// The counters, in the order of their names.
            pub fn values(&self) -> impl Iterator<Item = i64> {
                [$(self.$counter,)*].into_iter()
            }
        }
    };
}

counters! {
    /// Requests answered or failed.
    requests,
    /// Rows inferred.
    inferences,
    /// Images decoded.
    images,
    /// Bytes of the request bodies.
    bytes,
    /// Time in the model, in microseconds.
    compute_microseconds,
    /// Requests that failed.
    failures,
    /// What the rows cost, each the price of its model.
    credits,
}

/// What is added to one counter row.
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
    /// How much.
    pub counts: UsageCounts,
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
    /// How much.
    #[sqlx(flatten)]
    pub counts: UsageCounts,
}

/// Which usage to select; a filter that is none does not restrict.
#[derive(Clone, Debug, Default)]
pub struct UsageFilter {
    /// One account's.
    pub account: Option<Uuid>,
    /// One key's; nil: with bearer tokens.
    pub api_key: Option<Uuid>,
    /// Of one model.
    pub model: Option<String>,
    /// The first day.
    pub from: NaiveDate,
    /// The last day.
    pub to: NaiveDate,
    /// Whether the days of a month are added up.
    pub by_month: bool,
}

/// What an account used in a day or a month of one version of a model with one credential.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct UsageSlice {
    /// The day (`2026-03-01`) or month (`2026-03`), in UTC.
    pub period: String,
    /// Who used it.
    pub account_id: Uuid,
    /// The key that was used; nil for a bearer token.
    pub api_key_id: Uuid,
    /// The model.
    pub model: String,
    /// Its version.
    pub version: String,
    /// How much.
    #[sqlx(flatten)]
    pub counts: UsageCounts,
}

/// A place behind a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageCursor(String, Uuid, Uuid, String, String);

impl UsageCursor {
    /// Reads a cursor that an earlier page gave; none when it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))?;
        let mut parts = text.splitn(5, ' ').map(str::to_owned);
        let period = parts.next()?;
        let (account, key) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self(period, account, key, parts.next()?, parts.next()?))
    }

    /// The form in which clients get it. Names of models and periods have no spaces.
    pub fn encode(&self) -> String {
        let Self(period, account, key, model, version) = self;
        BASE64URL_NOPAD.encode(format!("{period} {account} {key} {model} {version}").as_bytes())
    }
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

    /// The counters of an account from one day to another, both included, newest day first; ten thousand rows at most,
    /// and whether there are more.
    pub async fn summary(
        &mut self,
        account: Uuid,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<(Vec<UsageRow>, bool)> {
        let mut rows = query!(
            self.tx,
            all UsageRow,
            "SELECT day, api_key_id, model, version, requests, inferences, images, bytes, compute_microseconds, \
             failures, credits FROM usage_daily WHERE account_id = $1 AND day >= $2 AND day <= $3 \
             ORDER BY day DESC, model, version, api_key_id LIMIT $4",
            account,
            from,
            to,
            MAX_ROWS + 1
        )?;
        let most = usize::try_from(MAX_ROWS).unwrap_or(usize::MAX);
        let are_more = rows.len() > most;
        rows.truncate(most);
        Ok((rows, are_more))
    }

    /// What was used, added up by day or month, oldest first, `limit` rows at most; and where to go on, unless that
    /// is all.
    pub async fn slices(
        &mut self,
        filter: &UsageFilter,
        after: Option<&UsageCursor>,
        limit: u32,
    ) -> Result<(Vec<UsageSlice>, Option<UsageCursor>)> {
        let start = UsageCursor::default();
        let UsageCursor(period, account, key, model, version) = after.unwrap_or(&start);
        let letters: i32 = if filter.by_month { 7 } else { 10 };
        let mut slices = query!(
            self.tx,
            all UsageSlice,
            "SELECT * FROM (SELECT substr(CAST(day AS TEXT), 1, $1) AS period, account_id, api_key_id, model, version, \
             CAST(SUM(requests) AS BIGINT) AS requests, CAST(SUM(inferences) AS BIGINT) AS inferences, \
             CAST(SUM(images) AS BIGINT) AS images, CAST(SUM(bytes) AS BIGINT) AS bytes, \
             CAST(SUM(compute_microseconds) AS BIGINT) AS compute_microseconds, \
             CAST(SUM(failures) AS BIGINT) AS failures, CAST(SUM(credits) AS BIGINT) AS credits FROM usage_daily WHERE day >= $2 AND day <= $3 \
             AND (NOT $4 OR account_id = $5) AND (NOT $6 OR api_key_id = $7) AND (NOT $8 OR model = $9) \
             GROUP BY 1, account_id, api_key_id, model, version) AS slices \
             WHERE (period, account_id, api_key_id, model, version) > ($10, $11, $12, $13, $14) \
             ORDER BY period, account_id, api_key_id, model, version LIMIT $15",
            letters,
            filter.from,
            filter.to,
            filter.account.is_some(),
            filter.account.unwrap_or_default(),
            filter.api_key.is_some(),
            filter.api_key.unwrap_or_default(),
            filter.model.is_some(),
            filter.model.as_deref().unwrap_or_default(),
            period,
            account,
            key,
            model,
            version,
            i64::from(limit) + 1
        )?;
        let more = slices.len() > limit as usize;
        slices.truncate(limit as usize);
        let last = slices.last().filter(|_| more);
        let next = last.cloned().map(|slice| {
            UsageCursor(slice.period, slice.account_id, slice.api_key_id, slice.model, slice.version)
        });
        Ok((slices, next))
    }

    /// Forgets which batches were recorded before a moment; no retry may be that late. Answers how many.
    pub async fn prune_batches(&mut self, before: DateTime<Utc>) -> Result<u64> {
        query!(
            self.tx,
            execute,
            "DELETE FROM usage_batches WHERE (replica, batch_no) IN (SELECT replica, batch_no FROM usage_batches WHERE recorded_at < $1 LIMIT $2)",
            before,
            PRUNED_AT_ONCE
        )
    }

    /// Removes what was used on the oldest day before `before`, but nothing of an account under a legal hold. Answers
    /// how many rows. The database refuses a day of the last 62: the quotas of a month begin with its usage so far.
    pub async fn prune(&mut self, before: NaiveDate) -> Result<u64> {
        // Of two replicas that look at once, the second finds what the first left.
        self.tx.lock("usage_daily").await?;
        let oldest = query!(
            self.tx,
            optional(NaiveDate, i64),
            "SELECT day, COUNT(*) FROM usage_daily WHERE day < $1 \
             AND account_id NOT IN (SELECT account_id FROM legal_holds) GROUP BY day ORDER BY day LIMIT 1",
            before
        )?;
        let Some((day, rows)) = oldest else { return Ok(0) };
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "INSERT INTO usage_prunings (id, through, pruned_at) VALUES ($1, $2, $3)",
            Uuid::now_v7(),
            day,
            now
        )?;
        Ok(rows.unsigned_abs())
    }

    async fn add(&mut self, entry: &UsageEntry) -> Result<()> {
        query!(
            self.tx,
            execute,
            "INSERT INTO usage_daily (account_id, api_key_id, model, version, day, requests, inferences, images, \
             bytes, compute_microseconds, failures, credits) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
             ON CONFLICT (account_id, api_key_id, model, version, day) DO UPDATE SET \
             requests = usage_daily.requests + excluded.requests, \
             inferences = usage_daily.inferences + excluded.inferences, \
             images = usage_daily.images + excluded.images, \
             bytes = usage_daily.bytes + excluded.bytes, \
             compute_microseconds = usage_daily.compute_microseconds + excluded.compute_microseconds, \
             failures = usage_daily.failures + excluded.failures, \
             credits = usage_daily.credits + excluded.credits",
            entry.account_id,
            entry.api_key_id,
            &entry.model,
            &entry.version,
            entry.day,
            entry.counts.requests,
            entry.counts.inferences,
            entry.counts.images,
            entry.counts.bytes,
            entry.counts.compute_microseconds,
            entry.counts.failures,
            entry.counts.credits
        )?;
        Ok(())
    }
}
