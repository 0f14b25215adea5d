//! Second factors and recovery codes. Secrets are sealed, codes are kept as digests.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::debug::debug_only;
use crate::durable::query;
use crate::{Result, Tx};

/// An authenticator that shares a secret with us (TOTP, RFC 6238).
#[derive(Clone, PartialEq, Eq, FromRow)]
pub struct TotpFactor {
    /// A version 7 id.
    pub id: Uuid,
    /// The shared secret, sealed.
    pub secret: Vec<u8>,
    /// When it was confirmed; none: it is pending.
    pub confirmed_at: Option<DateTime<Utc>>,
}

debug_only!(TotpFactor { id, confirmed_at });

/// Queries on what people have besides their password.
pub struct SecondFactors<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl SecondFactors<'_> {
    /// Adds a pending authenticator in the place of one that is pending. [`crate::Error::Conflict`]: one is confirmed.
    pub async fn begin_totp(&mut self, id: Uuid, account: Uuid, secret: &[u8]) -> Result<()> {
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "DELETE FROM second_factors WHERE account_id = $1 AND kind = 'totp' AND confirmed_at IS NULL",
            account
        )?;
        query!(
            self.tx,
            execute,
            "INSERT INTO second_factors (id, account_id, kind, secret, created_at) VALUES ($1, $2, 'totp', $3, $4)",
            id,
            account,
            secret,
            now
        )?;
        Ok(())
    }

    /// The confirmed authenticator of an account.
    pub async fn totp(&mut self, account: Uuid) -> Result<Option<TotpFactor>> {
        query!(
            self.tx,
            optional TotpFactor,
            "SELECT id, secret, confirmed_at FROM second_factors \
             WHERE account_id = $1 AND kind = 'totp' AND confirmed_at IS NOT NULL",
            account
        )
    }

    /// The pending authenticator of an account, if it began after a moment.
    pub async fn pending_totp(&mut self, account: Uuid, after: DateTime<Utc>) -> Result<Option<TotpFactor>> {
        query!(
            self.tx,
            optional TotpFactor,
            "SELECT id, secret, confirmed_at FROM second_factors \
             WHERE account_id = $1 AND kind = 'totp' AND confirmed_at IS NULL AND created_at > $2",
            account,
            after
        )
    }

    /// Confirms a pending one with the code of a time step. False: it is not pending (any more).
    pub async fn confirm(&mut self, id: Uuid, step: i64) -> Result<bool> {
        let now = self.tx.now();
        let confirmed = query!(
            self.tx,
            execute,
            "UPDATE second_factors SET confirmed_at = $2, last_step = $3 WHERE id = $1 AND confirmed_at IS NULL",
            id,
            now,
            step
        )?;
        Ok(confirmed > 0)
    }

    /// Uses up the code of a time step: of many who try at once, one succeeds. False: it, or a later one, was used.
    pub async fn take_step(&mut self, id: Uuid, step: i64) -> Result<bool> {
        let taken = query!(
            self.tx,
            execute,
            "UPDATE second_factors SET last_step = $2 \
             WHERE id = $1 AND confirmed_at IS NOT NULL AND last_step < $2",
            id,
            step
        )?;
        Ok(taken > 0)
    }

    /// Removes every second factor of an account, pending ones too, and its recovery codes. False: it had none.
    pub async fn remove(&mut self, account: Uuid) -> Result<bool> {
        query!(self.tx, execute, "DELETE FROM recovery_codes WHERE account_id = $1", account)?;
        Ok(query!(self.tx, execute, "DELETE FROM second_factors WHERE account_id = $1", account)? > 0)
    }

    /// Sets an account's recovery codes, by their digests, in place of all it had.
    pub async fn set_recovery_codes(&mut self, account: Uuid, hashes: &[Vec<u8>]) -> Result<()> {
        query!(self.tx, execute, "DELETE FROM recovery_codes WHERE account_id = $1", account)?;
        for hash in hashes {
            query!(
                self.tx,
                execute,
                "INSERT INTO recovery_codes (account_id, hash) VALUES ($1, $2)",
                account,
                hash
            )?;
        }
        Ok(())
    }

    /// Uses up a recovery code: of many who try at once, one succeeds. False: there is no such code, or it was used.
    pub async fn take_recovery_code(&mut self, account: Uuid, hash: &[u8]) -> Result<bool> {
        let now = self.tx.now();
        let taken = query!(
            self.tx,
            execute,
            "UPDATE recovery_codes SET used_at = $3 WHERE account_id = $1 AND hash = $2 AND used_at IS NULL",
            account,
            hash,
            now
        )?;
        Ok(taken > 0)
    }

    /// How many recovery codes an account has left.
    pub async fn recovery_codes_left(&mut self, account: Uuid) -> Result<i64> {
        query!(
            self.tx,
            one i64,
            "SELECT COUNT(*) FROM recovery_codes WHERE account_id = $1 AND used_at IS NULL",
            account
        )
    }
}
