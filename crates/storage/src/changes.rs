//! The change feed, from which replicas learn what changed. Numbers are assigned under a locked head row: they have no
//! gaps, and a reader who has read up to one never finds a lower one later.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use crate::durable::query;
use crate::pruning::PRUNED_AT_ONCE;
use crate::{Result, Tx};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Change {
    /// Its number.
    pub seq: i64,
    /// What kind of thing changed.
    pub kind: String,
    /// Which one changed.
    pub subject: String,
}

/// Queries on the feed.
pub struct Changes<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl Changes<'_> {
    /// Adds a change and answers its number. From here to the end of the transaction nobody else adds one:
    /// let it be the last thing a transaction does.
    pub async fn append(&mut self, kind: &str, subject: &str) -> Result<i64> {
        let now = self.tx.now();
        let seq =
            query!(self.tx, one i64, "UPDATE change_head SET seq = seq + 1 WHERE id = 1 RETURNING seq")?;
        query!(
            self.tx,
            execute,
            "INSERT INTO changes (seq, kind, subject, created_at) VALUES ($1, $2, $3, $4)",
            seq,
            kind,
            subject,
            now
        )?;
        Ok(seq)
    }

    /// The changes after a number, in order, `limit` at most.
    pub async fn since(&mut self, seq: i64, limit: u32) -> Result<Vec<Change>> {
        query!(
            self.tx,
            all Change,
            "SELECT seq, kind, subject FROM changes WHERE seq > $1 ORDER BY seq LIMIT $2",
            seq,
            i64::from(limit)
        )
    }

    /// The number of the last change; 0 before the first.
    pub async fn head(&mut self) -> Result<i64> {
        query!(self.tx, one i64, "SELECT seq FROM change_head WHERE id = 1")
    }

    /// Removes the changes made before a moment, except the last: a reader that was further behind then finds a first
    /// number that does not follow its own, and has to start afresh. The oldest go first. Answers how many.
    pub async fn prune(&mut self, before: DateTime<Utc>) -> Result<u64> {
        query!(
            self.tx,
            execute,
            "DELETE FROM changes WHERE seq IN (SELECT seq FROM changes WHERE created_at < $1 \
             AND seq < (SELECT seq FROM change_head WHERE id = 1) ORDER BY seq LIMIT $2)",
            before,
            PRUNED_AT_ONCE
        )
    }
}
