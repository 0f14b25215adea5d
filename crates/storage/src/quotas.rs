//! Quotas, and their use in each period. The database is the authority: a replica grants only what it has reserved here
//! before, under the lock of the period's row.

use chrono::{DateTime, Days, Months, NaiveDate, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::durable::query;
use crate::page::{Page, PageRequest};
use crate::pruning::PRUNED_AT_ONCE;
use crate::{Result, Tx};

/// How much of something may be used in a period.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Quota {
    /// Its id.
    pub id: Uuid,
    /// `role`, `account` or `key`.
    pub scope: String,
    /// The name of the role, or the id of the account or key.
    pub subject: String,
    /// Whose it is; none for a role's.
    pub account_id: Option<Uuid>,
    /// What is counted: `requests`, `inferences`, `images`, `bytes`, `compute_ms` or `credits`.
    pub unit: String,
    /// `day` or `month`.
    pub period: String,
    /// The most of it.
    pub cap: i64,
    /// Whether what is beyond is refused.
    pub hard: bool,
    /// When it was last set.
    pub updated_at: DateTime<Utc>,
}

/// One period of one subject: a row of what was taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QuotaPeriod {
    /// The account that pays.
    pub account_id: Uuid,
    /// The account, or one of its keys.
    pub subject: Uuid,
    /// What is counted; `compute_ms` in microseconds.
    pub unit: &'static str,
    /// `day` or `month`.
    pub period: &'static str,
    /// Its first day, in UTC.
    pub starts_on: NaiveDate,
}

impl QuotaPeriod {
    /// The first day that is no longer of it: a clock that was set back has left usage of days to come.
    fn ends_before(&self) -> NaiveDate {
        let next = if self.period == "month" {
            self.starts_on.checked_add_months(Months::new(1))
        } else {
            self.starts_on.checked_add_days(Days::new(1))
        };
        next.unwrap_or(NaiveDate::MAX)
    }
}

/// How a period stands.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct QuotaStanding {
    /// The account, or one of its keys.
    pub subject: Uuid,
    /// What is counted; `compute_ms` in microseconds.
    pub unit: String,
    /// `day` or `month`.
    pub period: String,
    /// Its first day, in UTC.
    pub starts_on: NaiveDate,
    /// What was given out, to be used or given back.
    pub reserved: i64,
    /// What was used.
    pub settled: i64,
}

/// Queries on quotas.
pub struct Quotas<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl Quotas<'_> {
    /// Sets a quota, in place of the one for the same scope, subject, unit and period, whose id stays.
    pub async fn set(&mut self, quota: &Quota) -> Result<()> {
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "INSERT INTO quotas (id, scope, subject, account_id, unit, period, cap, hard, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (scope, subject, unit, period) DO UPDATE \
             SET cap = excluded.cap, hard = excluded.hard, updated_at = excluded.updated_at",
            quota.id,
            &quota.scope,
            &quota.subject,
            quota.account_id,
            &quota.unit,
            &quota.period,
            quota.cap,
            quota.hard,
            now
        )?;
        Ok(())
    }

    /// Removes a quota and returns it.
    pub async fn remove(
        &mut self,
        scope: &str,
        subject: &str,
        unit: &str,
        period: &str,
    ) -> Result<Option<Quota>> {
        query!(
            self.tx,
            optional Quota,
            "DELETE FROM quotas WHERE scope = $1 AND subject = $2 AND unit = $3 AND period = $4 \
             RETURNING id, scope, subject, account_id, unit, period, cap, hard, updated_at",
            scope,
            subject,
            unit,
            period
        )
    }

    /// Quotas, the newest first; of one subject where one is named.
    pub async fn list(&mut self, subject: Option<&str>, page: &PageRequest) -> Result<Page<Quota>> {
        let rows = query!(
            self.tx,
            all Quota,
            "SELECT id, scope, subject, account_id, unit, period, cap, hard, updated_at FROM quotas \
             WHERE id < $1 AND (CAST($2 AS TEXT) IS NULL OR subject = $2) ORDER BY id DESC LIMIT $3",
            page.below(),
            subject,
            page.rows()
        )?;
        Ok(page.page(rows, |quota| quota.id))
    }

    /// Every quota that may concern a caller: of the account, of its role, and of the key that they use.
    pub async fn of_caller(&mut self, account: Uuid, role: &str, key: Option<Uuid>) -> Result<Vec<Quota>> {
        query!(
            self.tx,
            all Quota,
            "SELECT id, scope, subject, account_id, unit, period, cap, hard, updated_at FROM quotas \
             WHERE (scope = 'account' AND subject = $1) OR (scope = 'role' AND subject = $2) \
             OR (scope = 'key' AND subject = $3)",
            account.to_string(),
            role,
            key.map(|key| key.to_string())
        )
    }

    /// Begins a period with its usage so far, or adds that to one that has begun: while there was no quota nothing was
    /// reserved.
    pub async fn open(&mut self, period: &QuotaPeriod) -> Result<()> {
        query!(
            self.tx,
            execute,
            "INSERT INTO quota_periods (account_id, subject, unit, period, starts_on, reserved, settled) \
             SELECT $1, $2, $3, $4, $5, used, used FROM (SELECT CAST(COALESCE(SUM(CASE CAST($3 AS TEXT) \
             WHEN 'requests' THEN requests - failures WHEN 'inferences' THEN inferences WHEN 'images' THEN images \
             WHEN 'bytes' THEN bytes WHEN 'credits' THEN credits ELSE compute_microseconds END), 0) AS BIGINT) AS used FROM usage_daily \
             WHERE account_id = $1 AND ($2 = $1 OR api_key_id = $2) AND day >= $5 \
             AND day < $6) AS prior \
             WHERE TRUE ON CONFLICT (subject, unit, period, starts_on) DO UPDATE \
             SET reserved = quota_periods.reserved + excluded.settled - quota_periods.settled, \
             settled = excluded.settled WHERE excluded.settled > quota_periods.settled",
            period.account_id,
            period.subject,
            period.unit,
            period.period,
            period.starts_on,
            period.ends_before()
        )?;
        Ok(())
    }

    /// Adds to what is reserved, or takes from it, and answers how much is. From here to the end of the transaction
    /// nobody else changes the period. [`crate::Error::Refused`]: less than nothing would be reserved.
    pub async fn reserve(&mut self, period: &QuotaPeriod, amount: i64) -> Result<i64> {
        query!(
            self.tx,
            one i64,
            "UPDATE quota_periods SET reserved = reserved + $5 \
             WHERE subject = $1 AND unit = $2 AND period = $3 AND starts_on = $4 RETURNING reserved",
            period.subject,
            period.unit,
            period.period,
            period.starts_on,
            amount
        )
    }

    /// Notes that some of what is reserved was used.
    pub async fn settle(&mut self, period: &QuotaPeriod, amount: i64) -> Result<()> {
        query!(
            self.tx,
            execute,
            "UPDATE quota_periods SET settled = settled + $5 \
             WHERE subject = $1 AND unit = $2 AND period = $3 AND starts_on = $4",
            period.subject,
            period.unit,
            period.period,
            period.starts_on,
            amount
        )?;
        Ok(())
    }

    /// Notes that the cap was met. True the first time.
    pub async fn mark_exceeded(&mut self, period: &QuotaPeriod) -> Result<bool> {
        let now = self.tx.now();
        let marked = query!(
            self.tx,
            execute,
            "UPDATE quota_periods SET exceeded_at = $5 WHERE subject = $1 AND unit = $2 AND period = $3 \
             AND starts_on = $4 AND exceeded_at IS NULL",
            period.subject,
            period.unit,
            period.period,
            period.starts_on,
            now
        )?;
        Ok(marked > 0)
    }

    /// How the periods of an account and its keys stand that began on one of two days: today, and the first of the
    /// month.
    pub async fn standing(
        &mut self,
        account: Uuid,
        day: NaiveDate,
        month: NaiveDate,
    ) -> Result<Vec<QuotaStanding>> {
        query!(
            self.tx,
            all QuotaStanding,
            "SELECT subject, unit, period, starts_on, reserved, settled FROM quota_periods WHERE account_id = $1 \
             AND ((period = 'day' AND starts_on = $2) OR (period = 'month' AND starts_on = $3)) \
             ORDER BY subject, unit, period",
            account,
            day,
            month
        )
    }

    /// Forgets the periods that began before a day. Answers how many.
    pub async fn prune(&mut self, before: NaiveDate) -> Result<u64> {
        query!(
            self.tx,
            execute,
            "DELETE FROM quota_periods WHERE (subject, unit, period, starts_on) IN (SELECT subject, unit, period, starts_on FROM quota_periods WHERE starts_on < $1 LIMIT $2)",
            before,
            PRUNED_AT_ONCE
        )
    }
}
