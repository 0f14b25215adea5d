//! Secrets that the program generates for itself and stores sealed.

use crate::durable::query;
use crate::{Result, Tx};

/// Queries on the program's own secrets.
pub struct Secrets<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl Secrets<'_> {
    /// The sealed value of a secret; none where it was never kept.
    pub async fn find(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        query!(self.tx, value Vec<u8>, "SELECT value FROM secrets WHERE name = $1", name)
    }

    /// Keeps a secret unless there is one of this name. Of several that come at once, one does.
    pub async fn keep(&mut self, name: &str, sealed: &[u8]) -> Result<()> {
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "INSERT INTO secrets (name, value, created_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING",
            name,
            sealed,
            now
        )?;
        Ok(())
    }
}
