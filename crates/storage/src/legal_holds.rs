//! Legal holds: accounts of which nothing may be removed, because of a legal case.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::durable::query;
use crate::{Page, PageRequest, Result, Tx};

/// A hold.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct LegalHold {
    /// The account that is held.
    pub account_id: Uuid,
    /// Why, such as the number of a case.
    pub reason: String,
    /// Who placed it, or gave this reason.
    pub placed_by: Uuid,
    /// Since when.
    pub placed_at: DateTime<Utc>,
}

/// Queries on holds.
pub struct LegalHolds<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl LegalHolds<'_> {
    /// Holds an account, or changes the reason and its author. False: it is held for this reason already.
    pub async fn place(&mut self, account: Uuid, reason: &str, placed_by: Uuid) -> Result<bool> {
        let now = self.tx.now();
        let placed = query!(
            self.tx,
            execute,
            "INSERT INTO legal_holds (account_id, reason, placed_by, placed_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (account_id) DO UPDATE SET reason = excluded.reason, placed_by = excluded.placed_by \
             WHERE legal_holds.reason <> excluded.reason",
            account,
            reason,
            placed_by,
            now
        )?;
        Ok(placed > 0)
    }

    /// Releases an account. False: it is not held.
    pub async fn release(&mut self, account: Uuid) -> Result<bool> {
        Ok(query!(self.tx, execute, "DELETE FROM legal_holds WHERE account_id = $1", account)? > 0)
    }

    /// Whether an account is held.
    pub async fn has(&mut self, account: Uuid) -> Result<bool> {
        let found =
            query!(self.tx, value Uuid, "SELECT account_id FROM legal_holds WHERE account_id = $1", account)?;
        Ok(found.is_some())
    }

    /// Every account that is held.
    pub async fn accounts(&mut self) -> Result<Vec<Uuid>> {
        query!(self.tx, values Uuid, "SELECT account_id FROM legal_holds ORDER BY account_id")
    }

    /// Holds, those of the newest accounts first.
    pub async fn list(&mut self, page: &PageRequest) -> Result<Page<LegalHold>> {
        let holds = query!(
            self.tx,
            all LegalHold,
            "SELECT account_id, reason, placed_by, placed_at FROM legal_holds WHERE account_id < $1 \
             ORDER BY account_id DESC LIMIT $2",
            page.below(),
            page.rows()
        )?;
        Ok(page.page(holds, |hold| hold.account_id))
    }
}
