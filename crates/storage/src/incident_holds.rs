//! What answers to incidents hold: one thing may be held by several, and is let go with the last.

use uuid::Uuid;

use crate::query::query;
use crate::{IncidentEntry, Result, Tx};

/// Most holders of one thing that are told, the newest.
const MOST_HOLDERS: i64 = 100;

/// Queries on what answers hold.
pub struct IncidentHolds<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl IncidentHolds<'_> {
    /// Notes that an entry of a timeline holds something.
    pub async fn hold(&mut self, entry: Uuid, subject: &str) -> Result<()> {
        query!(
            self.tx,
            execute,
            "INSERT INTO incident_holds (entry_id, subject) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            entry,
            subject
        )?;
        Ok(())
    }

    /// The entries that hold something, newest first.
    pub async fn holders(&mut self, subject: &str) -> Result<Vec<IncidentEntry>> {
        query!(
            self.tx,
            all IncidentEntry,
            "SELECT id, incident_id, at, kind, actor, detail, undone_at FROM incident_entries \
             JOIN incident_holds ON entry_id = id WHERE subject = $1 ORDER BY id DESC LIMIT $2",
            subject,
            MOST_HOLDERS
        )
    }

    /// Ends what an entry holds, and tells what that was.
    pub async fn release(&mut self, entry: Uuid) -> Result<Vec<String>> {
        query!(self.tx, values String, "DELETE FROM incident_holds WHERE entry_id = $1 RETURNING subject", entry)
    }

    /// Ends every hold on something: somebody said otherwise.
    pub async fn dissolve(&mut self, subject: &str) -> Result<()> {
        query!(self.tx, execute, "DELETE FROM incident_holds WHERE subject = $1", subject)?;
        Ok(())
    }
}
