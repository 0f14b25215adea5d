//! Notices to people about their own accounts.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::durable::query;
use crate::pruning::PRUNED_AT_ONCE;
use crate::{Page, PageRequest, Result, Tx};

/// A notice.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Notice {
    /// Its id.
    pub id: Uuid,
    /// Whom it is for.
    pub account_id: Uuid,
    /// What happened.
    pub kind: String,
    /// When it happened.
    pub created_at: DateTime<Utc>,
    /// When it was mailed; none: not (yet).
    pub mailed_at: Option<DateTime<Utc>>,
}

/// Queries on notices.
pub struct Notices<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl Notices<'_> {
    /// Adds a notice. [`crate::Error::Refused`]: there is no such account.
    pub async fn add(&mut self, id: Uuid, account: Uuid, kind: &str) -> Result<()> {
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "INSERT INTO notices (id, account_id, kind, created_at) VALUES ($1, $2, $3, $4)",
            id,
            account,
            kind,
            now
        )?;
        Ok(())
    }

    /// The notices of an account, newest first.
    pub async fn list(&mut self, account: Uuid, page: &PageRequest) -> Result<Page<Notice>> {
        let notices = query!(
            self.tx,
            all Notice,
            "SELECT id, account_id, kind, created_at, mailed_at FROM notices WHERE account_id = $1 AND id < $2 \
             ORDER BY id DESC LIMIT $3",
            account,
            page.below(),
            page.rows()
        )?;
        Ok(page.page(notices, |notice| notice.id))
    }

    /// Notes that a notice was mailed.
    pub async fn mailed(&mut self, id: Uuid) -> Result<()> {
        let now = self.tx.now();
        query!(self.tx, execute, "UPDATE notices SET mailed_at = $2 WHERE id = $1", id, now)?;
        Ok(())
    }

    /// Removes those of before a moment. Answers how many.
    pub async fn prune(&mut self, before: DateTime<Utc>) -> Result<u64> {
        query!(
            self.tx,
            execute,
            "DELETE FROM notices WHERE id IN (SELECT id FROM notices WHERE created_at < $1 \
             AND account_id NOT IN (SELECT account_id FROM legal_holds) LIMIT $2)",
            before,
            PRUNED_AT_ONCE
        )
    }
}
