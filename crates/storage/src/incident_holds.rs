//! Holds of answers to incidents: several answers may hold one subject, and it is released with the last.

use uuid::Uuid;

use crate::durable::query;
use crate::{IncidentEntry, Result, Tx};

/// The most holders of one subject that are listed, the newest.
const MOST_HOLDERS: i64 = 100;

/// Queries on holds.
pub struct IncidentHolds<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl IncidentHolds<'_> {
    /// Notes that an entry of a timeline holds a subject.
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

    /// The entries that hold a subject, newest first.
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

    /// Ends the holds of an entry, and returns their subjects.
    pub async fn release(&mut self, entry: Uuid) -> Result<Vec<String>> {
        query!(self.tx, values String, "DELETE FROM incident_holds WHERE entry_id = $1 RETURNING subject", entry)
    }

    /// Ends every hold on a subject: it was changed by hand.
    pub async fn dissolve(&mut self, subject: &str) -> Result<()> {
        query!(self.tx, execute, "DELETE FROM incident_holds WHERE subject = $1", subject)?;
        Ok(())
    }
}
