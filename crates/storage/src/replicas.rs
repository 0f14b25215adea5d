//! The replicas that run on this database.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::durable::query;
use crate::pruning::PRUNED_AT_ONCE;
use crate::{Result, Tx};

/// Queries on replicas.
pub struct Replicas<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl Replicas<'_> {
    /// Records that a replica is alive now.
    pub async fn heartbeat(&mut self, id: Uuid) -> Result<()> {
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "INSERT INTO replicas (id, started_at, seen_at) VALUES ($1, $2, $2) \
             ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at",
            id,
            now
        )?;
        Ok(())
    }

    /// How many other replicas were alive at a moment or later.
    pub async fn others_live(&mut self, id: Uuid, since: DateTime<Utc>) -> Result<i64> {
        query!(self.tx, one i64, "SELECT COUNT(*) FROM replicas WHERE id <> $1 AND seen_at >= $2", id, since)
    }

    /// Records that a replica stops, so that nobody waits for it to time out.
    pub async fn leave(&mut self, id: Uuid) -> Result<()> {
        query!(self.tx, execute, "DELETE FROM replicas WHERE id = $1", id)?;
        Ok(())
    }

    /// Forgets the replicas that have not been seen since a moment. Answers how many.
    pub async fn prune(&mut self, before: DateTime<Utc>) -> Result<u64> {
        query!(
            self.tx,
            execute,
            "DELETE FROM replicas WHERE id IN (SELECT id FROM replicas WHERE seen_at < $1 LIMIT $2)",
            before,
            PRUNED_AT_ONCE
        )
    }
}
