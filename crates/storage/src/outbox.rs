//! The outbox of mails: written in the transaction that causes them, sent by any replica.

use chrono::{DateTime, Duration, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::debug::debug_only;
use crate::durable::query;
use crate::one_time::Holder;
use crate::pruning::PRUNED_AT_ONCE;
use crate::{Result, Tx};

/// A mail to send.
#[derive(Clone, PartialEq, Eq, FromRow)]
pub struct OutboxItem {
    /// Its id.
    pub id: Uuid,
    /// Whose account it is about; none: perhaps nobody's.
    pub account_id: Option<Uuid>,
    /// The mail task: what to send and to whom, sealed.
    pub errand: Vec<u8>,
    /// How often it was tried, this time included.
    pub attempts: i64,
}

debug_only!(OutboxItem { id, account_id, attempts });

/// Queries on mails on their way.
pub struct Outbox<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl Outbox<'_> {
    /// Adds a mail, to be sent at once, unless `most` of the account, or of nobody's, wait already. False: they do.
    pub async fn add(&mut self, id: Uuid, holder: Holder<'_>, errand: &[u8], most: i64) -> Result<bool> {
        let now = self.tx.now();
        let (account, lookup) = holder.columns();
        let added = query!(
            self.tx,
            execute,
            "INSERT INTO outbox (id, account_id, email_lookup, errand, attempts, created_at, next_attempt_at) \
             SELECT $1, $2, $3, $4, 0, $5, $5 WHERE (SELECT COUNT(*) FROM outbox \
                    WHERE account_id IS NOT DISTINCT FROM $2 AND failed_at IS NULL) < $6",
            id,
            account,
            lookup,
            errand,
            now,
            most
        )?;
        Ok(added > 0)
    }

    /// Takes the mail that has been due for longest. Until `lease` is over nobody else gets it: one that is neither
    /// [`remove`](Self::remove)d nor [`postpone`](Self::postpone)d by then is tried again.
    pub async fn take(&mut self, lease: Duration) -> Result<Option<OutboxItem>> {
        let now = self.tx.now();
        query!(
            self.tx,
            optional OutboxItem,
            "UPDATE outbox SET attempts = attempts + 1, next_attempt_at = $2 \
             WHERE id = (SELECT id FROM outbox WHERE failed_at IS NULL AND next_attempt_at <= $1 \
                         ORDER BY next_attempt_at LIMIT 1) \
             AND failed_at IS NULL AND next_attempt_at <= $1 \
             RETURNING id, account_id, errand, attempts",
            now,
            now + lease
        )
    }

    /// Lets a mail be tried again later.
    pub async fn postpone(&mut self, id: Uuid, until: DateTime<Utc>) -> Result<()> {
        query!(self.tx, execute, "UPDATE outbox SET next_attempt_at = $2 WHERE id = $1", id, until)?;
        Ok(())
    }

    /// Gives a mail up; the row stays as a record.
    pub async fn fail(&mut self, id: Uuid) -> Result<()> {
        let now = self.tx.now();
        query!(self.tx, execute, "UPDATE outbox SET failed_at = $2 WHERE id = $1", id, now)?;
        Ok(())
    }

    /// Removes a mail that was sent. False: it was removed meanwhile.
    pub async fn remove(&mut self, id: Uuid) -> Result<bool> {
        Ok(query!(self.tx, execute, "DELETE FROM outbox WHERE id = $1", id)? > 0)
    }

    /// Removes the mails to the address of an account that are not its own: whoever asked for them was not known. Answers how
    /// many.
    pub async fn forget_address_of(&mut self, account: Uuid) -> Result<u64> {
        query!(
            self.tx,
            execute,
            "DELETE FROM outbox WHERE email_lookup = (SELECT email_lookup FROM people WHERE account_id = $1)",
            account
        )
    }

    /// Removes those that were put here before a moment: given up, or left by a program that sends no mail any more.
    /// Answers how many.
    pub async fn prune(&mut self, before: DateTime<Utc>) -> Result<u64> {
        query!(
            self.tx,
            execute,
            "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE created_at < $1 LIMIT $2)",
            before,
            PRUNED_AT_ONCE
        )
    }
}
