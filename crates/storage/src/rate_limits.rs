//! Rate limits set by administrators at run time.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::durable::query;
use crate::{Result, Tx};

/// A rate limit.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct RateLimit {
    /// `class`, `role`, `account`, `key` or `model`.
    pub scope: String,
    /// The name of the class, role or model, or the id of the account or key.
    pub subject: String,
    /// Whose it is; none where it is nobody's alone.
    pub account_id: Option<Uuid>,
    /// Requests a minute; 0: no limit; none: not set.
    pub per_minute: Option<i64>,
    /// Requests an hour; 0: no limit; none: not set.
    pub per_hour: Option<i64>,
    /// When it was last set.
    pub updated_at: DateTime<Utc>,
}

/// Queries on limits.
pub struct RateLimits<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl RateLimits<'_> {
    /// Sets a limit, in place of the subject's present one.
    pub async fn set(&mut self, limit: &RateLimit) -> Result<()> {
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "INSERT INTO rate_limits (scope, subject, account_id, per_minute, per_hour, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (scope, subject) DO UPDATE \
             SET per_minute = excluded.per_minute, per_hour = excluded.per_hour, updated_at = excluded.updated_at",
            &limit.scope,
            &limit.subject,
            limit.account_id,
            limit.per_minute,
            limit.per_hour,
            now
        )?;
        Ok(())
    }

    /// Removes a limit. False: there was none.
    pub async fn remove(&mut self, scope: &str, subject: &str) -> Result<bool> {
        let removed = query!(
            self.tx,
            execute,
            "DELETE FROM rate_limits WHERE scope = $1 AND subject = $2",
            scope,
            subject
        )?;
        Ok(removed > 0)
    }

    /// Every limit, `most` at most.
    pub async fn all(&mut self, most: u32) -> Result<Vec<RateLimit>> {
        query!(
            self.tx,
            all RateLimit,
            "SELECT scope, subject, account_id, per_minute, per_hour, updated_at FROM rate_limits \
             ORDER BY scope, subject LIMIT $1",
            i64::from(most)
        )
    }

    /// How many limits there are.
    pub async fn count(&mut self) -> Result<i64> {
        query!(self.tx, one i64, "SELECT COUNT(*) FROM rate_limits")
    }
}
