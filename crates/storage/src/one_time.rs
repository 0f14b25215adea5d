//! One-time tokens: valid once and for a short time. Only their digests are stored.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::debug::debug_only;
use crate::durable::query;
use crate::pruning::PRUNED_AT_ONCE;
use crate::{Result, Tx};

/// Whom a token or a mail is for.
#[derive(Debug, Clone, Copy)]
pub enum Holder<'a> {
    /// An account.
    Account(Uuid),
    /// An address, by its keyed digest, whether or not there is an account of it.
    Address(&'a str),
}

impl<'a> Holder<'a> {
    /// As it is stored: the id of the account, or the digest.
    pub fn columns(self) -> (Option<Uuid>, Option<&'a str>) {
        match self {
            Self::Account(account) => (Some(account), None),
            Self::Address(lookup) => (None, Some(lookup)),
        }
    }
}

/// A one-time token.
#[derive(Clone, PartialEq, Eq, FromRow)]
pub struct OneTimeToken {
    /// The digest of its text.
    pub hash: Vec<u8>,
    /// Its purpose; it is not found under another one.
    pub purpose: String,
    /// Whose it is; none where there is no account yet.
    pub account_id: Option<Uuid>,
    /// Where there is no account yet, the keyed digest of the address that is to have one.
    pub email_lookup: Option<String>,
    /// What it is about, sealed.
    pub payload: Option<Vec<u8>>,
    /// How many wrong tries it still survives.
    pub attempts_left: i64,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
}

debug_only!(OneTimeToken { purpose, account_id, attempts_left, expires_at });

/// The columns of a [`OneTimeToken`].
macro_rules! token_columns {
    () => {
        "hash, purpose, account_id, email_lookup, payload, attempts_left, expires_at"
    };
}

/// Queries on one-time tokens. One that has expired, by the transaction's time, is not there.
pub struct OneTimeTokens<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl OneTimeTokens<'_> {
    /// Adds a token. [`crate::Error::Refused`]: there is no such account.
    pub async fn create(&mut self, new: &OneTimeToken) -> Result<()> {
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "INSERT INTO one_time_tokens \
             (hash, purpose, account_id, email_lookup, payload, attempts_left, created_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            &new.hash,
            &new.purpose,
            new.account_id,
            new.email_lookup.as_deref(),
            new.payload.as_deref(),
            new.attempts_left,
            now,
            new.expires_at
        )?;
        Ok(())
    }

    /// Looks at a token without spending it.
    pub async fn find(&mut self, hash: &[u8], purpose: &str) -> Result<Option<OneTimeToken>> {
        let now = self.tx.now();
        query!(
            self.tx,
            optional OneTimeToken,
            concat!(
                "SELECT ", token_columns!(),
                " FROM one_time_tokens WHERE hash = $1 AND purpose = $2 AND expires_at > $3"
            ),
            hash,
            purpose,
            now
        )
    }

    /// Counts a try before it is made. None: there is no such token, or its tries are used up.
    pub async fn attempt(&mut self, hash: &[u8], purpose: &str) -> Result<Option<OneTimeToken>> {
        let now = self.tx.now();
        query!(
            self.tx,
            optional OneTimeToken,
            concat!(
                "UPDATE one_time_tokens SET attempts_left = attempts_left - 1 \
                 WHERE hash = $1 AND purpose = $2 AND expires_at > $3 AND attempts_left > 0 RETURNING ",
                token_columns!()
            ),
            hash,
            purpose,
            now
        )
    }

    /// Spends a token: of many who try at once, one gets it.
    pub async fn take(&mut self, hash: &[u8], purpose: &str) -> Result<Option<OneTimeToken>> {
        let now = self.tx.now();
        query!(
            self.tx,
            optional OneTimeToken,
            concat!(
                "DELETE FROM one_time_tokens WHERE hash = $1 AND purpose = $2 AND expires_at > $3 RETURNING ",
                token_columns!()
            ),
            hash,
            purpose,
            now
        )
    }

    /// Spends a token with all others for the same address: of many who try at once, whichever theirs is, one gets it.
    pub async fn take_for_address(&mut self, hash: &[u8], email_lookup: &str) -> Result<bool> {
        let taken = query!(
            self.tx,
            values Vec<u8>,
            "DELETE FROM one_time_tokens WHERE email_lookup = $1 RETURNING hash",
            email_lookup
        )?;
        Ok(taken.iter().any(|taken| taken == hash))
    }

    /// Ends the tokens for the address of an account.
    pub async fn forget_address_of(&mut self, account: Uuid) -> Result<u64> {
        query!(
            self.tx,
            execute,
            "DELETE FROM one_time_tokens WHERE email_lookup = \
             (SELECT email_lookup FROM people WHERE account_id = $1)",
            account
        )
    }

    /// Ends every token of an account for one purpose. Answers how many.
    pub async fn forget(&mut self, account: Uuid, purpose: &str) -> Result<u64> {
        query!(
            self.tx,
            execute,
            "DELETE FROM one_time_tokens WHERE account_id = $1 AND purpose = $2",
            account,
            purpose
        )
    }

    /// Removes those that ended before a moment. Answers how many.
    pub async fn prune(&mut self, before: DateTime<Utc>) -> Result<u64> {
        query!(
            self.tx,
            execute,
            "DELETE FROM one_time_tokens WHERE hash IN (SELECT hash FROM one_time_tokens WHERE expires_at < $1 LIMIT $2)",
            before,
            PRUNED_AT_ONCE
        )
    }
}
