//! Identities at other issuers: their subjects, the accounts that they belong to, and their revoked tokens.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use crate::accounts::standing_columns;
use crate::debug::debug_only;
use crate::durable::query;
use crate::pruning::PRUNED_AT_ONCE;
use crate::{AccountStanding, Result, Tx};

/// A new identity.
#[derive(Clone)]
pub struct NewIdentity {
    /// A version 7 id.
    pub id: Uuid,
    /// Whose it is.
    pub account_id: Uuid,
    /// The issuer that vouches for it.
    pub issuer: String,
    /// Its subject at the issuer, sealed.
    pub subject: Vec<u8>,
    /// A keyed digest of issuer and subject, which must be unique.
    pub lookup: String,
    /// Tokens issued until then are refused; none: whatever was issued before.
    pub ended_at: Option<DateTime<Utc>>,
    /// What whoever links it may not do: it leads to no account that may do any of that. None: it does to any.
    pub linker_lacked: Option<Vec<String>>,
}

debug_only!(NewIdentity { id, account_id, issuer });

/// An identity.
#[derive(Clone, PartialEq, Eq, FromRow)]
pub struct Identity {
    /// Its id here.
    pub id: Uuid,
    /// Whose it is.
    pub account_id: Uuid,
    /// The issuer that vouches for it.
    pub issuer: String,
    /// Its subject at the issuer, sealed.
    pub subject: Vec<u8>,
    /// When it became this account's.
    pub created_at: DateTime<Utc>,
    /// When a token of it came that was newer than all before; none before the first.
    pub last_seen_at: Option<DateTime<Utc>>,
}

debug_only!(Identity { id, account_id, issuer, created_at, last_seen_at });

/// The part of an identity that decides whether a token of it still holds.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct IdentityState {
    /// Its id here.
    pub id: Uuid,
    /// The issuer that vouches for it.
    pub issuer: String,
    /// What whoever linked it could not do then: it leads to no account that may do any of that. None: it does to any.
    #[sqlx(json(nullable))]
    pub linker_lacked: Option<Vec<String>>,
    /// When the newest token that came was issued.
    pub newest_token_at: Option<DateTime<Utc>>,
    /// When its owner last proved to the issuer who they are.
    pub authenticated_at: Option<DateTime<Utc>>,
    /// Tokens issued until then are refused.
    pub ended_at: Option<DateTime<Utc>>,
    /// Since when its account is off because its issuer gives no role any more; none: it is on, or off by somebody's word.
    pub role_lost_at: Option<DateTime<Utc>>,
    /// Whether the given token was ended by itself.
    pub token_ended: bool,
}

/// How an identity, a token of it and the account behind it stand now.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct IdentityStanding {
    /// The identity.
    #[sqlx(flatten)]
    pub identity: IdentityState,
    /// Its owner.
    #[sqlx(flatten)]
    pub account: AccountStanding,
}

macro_rules! identity_columns {
    () => {
        "id, account_id, issuer, subject, created_at, last_seen_at"
    };
}

/// The columns of an [`IdentityState`] that only identities have.
macro_rules! state_columns {
    () => {
        "issuer, linker_lacked, newest_token_at, authenticated_at, ended_at, role_lost_at"
    };
}

/// Queries on identities and ended tokens.
pub struct Identities<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl Identities<'_> {
    /// Adds an identity. [`crate::Error::Conflict`]: it is somebody's already.
    pub async fn create(&mut self, new: &NewIdentity) -> Result<()> {
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "INSERT INTO external_identities \
             (id, account_id, issuer, subject, lookup, created_at, ended_at, linker_lacked) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            new.id,
            new.account_id,
            &new.issuer,
            &new.subject,
            &new.lookup,
            now,
            new.ended_at,
            new.linker_lacked.as_ref().map(Json)
        )?;
        Ok(())
    }

    /// How an identity, a token of this digest and the owner stand now, in one query.
    pub async fn standing(&mut self, lookup: &str, token: &str) -> Result<Option<IdentityStanding>> {
        query!(
            self.tx,
            optional IdentityStanding,
            concat!(
                "SELECT external_identities.id, ", state_columns!(), ", \
                 EXISTS (SELECT 1 FROM ended_tokens WHERE digest = $2) AS token_ended, \
                 accounts.id AS account_id, ", standing_columns!(),
                " FROM external_identities JOIN accounts ON accounts.id = external_identities.account_id \
                 JOIN roles ON roles.name = accounts.role WHERE lookup = $1"
            ),
            lookup,
            token
        )
    }

    /// How an identity of an account and a token of this digest stand now.
    pub async fn state(&mut self, account: Uuid, id: Uuid, token: &str) -> Result<Option<IdentityState>> {
        query!(
            self.tx,
            optional IdentityState,
            concat!(
                "SELECT id, ", state_columns!(), ", \
                 EXISTS (SELECT 1 FROM ended_tokens WHERE digest = $3) AS token_ended \
                 FROM external_identities WHERE account_id = $1 AND id = $2"
            ),
            account,
            id,
            token
        )
    }

    /// Notes a token that is newer than all before. False: one that is as new came meanwhile.
    pub async fn note_token(
        &mut self,
        id: Uuid,
        issued_at: DateTime<Utc>,
        authenticated_at: DateTime<Utc>,
    ) -> Result<bool> {
        let now = self.tx.now();
        let noted = query!(
            self.tx,
            execute,
            "UPDATE external_identities SET newest_token_at = $2, authenticated_at = $3, last_seen_at = $4 \
             WHERE id = $1 AND (newest_token_at IS NULL OR newest_token_at < $2)",
            id,
            issued_at,
            authenticated_at,
            now
        )?;
        Ok(noted > 0)
    }

    /// Ends every token of an account's identities that was issued until now.
    pub async fn end_tokens(&mut self, account: Uuid) -> Result<()> {
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "UPDATE external_identities SET ended_at = $2 WHERE account_id = $1",
            account,
            now
        )?;
        Ok(())
    }

    /// Notes that an account was switched off because this identity's issuer gives it no role.
    pub async fn lose_role(&mut self, id: Uuid) -> Result<()> {
        let now = self.tx.now();
        query!(self.tx, execute, "UPDATE external_identities SET role_lost_at = $2 WHERE id = $1", id, now)?;
        Ok(())
    }

    /// Forgets that: whether the account is on is somebody else's word from now on, and no token's.
    pub async fn forget_lost_roles(&mut self, account: Uuid) -> Result<()> {
        query!(
            self.tx,
            execute,
            "UPDATE external_identities SET role_lost_at = NULL WHERE account_id = $1 AND role_lost_at IS NOT NULL",
            account
        )?;
        Ok(())
    }

    /// Ends every token of every identity that was issued until now.
    pub async fn end_every_token(&mut self) -> Result<()> {
        let now = self.tx.now();
        query!(self.tx, execute, "UPDATE external_identities SET ended_at = $1", now)?;
        Ok(())
    }

    /// Ends one token, by its digest, until it ends by itself. False: it was ended before.
    pub async fn end_token(&mut self, account: Uuid, token: &str, expires_at: DateTime<Utc>) -> Result<bool> {
        let now = self.tx.now();
        let ended = query!(
            self.tx,
            execute,
            "INSERT INTO ended_tokens (digest, account_id, ended_at, expires_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (digest) DO NOTHING",
            token,
            account,
            now,
            expires_at
        )?;
        Ok(ended > 0)
    }

    /// The identities of an account, oldest first, `most` at most.
    pub async fn list(&mut self, account: Uuid, most: i64) -> Result<Vec<Identity>> {
        query!(
            self.tx,
            all Identity,
            concat!(
                "SELECT ", identity_columns!(),
                " FROM external_identities WHERE account_id = $1 ORDER BY id LIMIT $2"
            ),
            account,
            most
        )
    }

    /// Removes one identity of an account, or all of them; the tokens that they have are remembered as ended until
    /// `expires_at`, or the next of them would count as a new person's. Answers how many there were.
    pub async fn remove(
        &mut self,
        account: Uuid,
        only: Option<Uuid>,
        expires_at: DateTime<Utc>,
    ) -> Result<u64> {
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "INSERT INTO ended_tokens (digest, account_id, ended_at, expires_at) \
             SELECT lookup, NULL, $2, $3 FROM external_identities \
             WHERE account_id = $1 AND id = COALESCE($4, id) \
             ON CONFLICT (digest) DO UPDATE SET ended_at = excluded.ended_at, expires_at = excluded.expires_at",
            account,
            now,
            expires_at,
            only
        )?;
        query!(
            self.tx,
            execute,
            "DELETE FROM external_identities WHERE account_id = $1 AND id = COALESCE($2, id)",
            account,
            only
        )
    }

    /// Until when the tokens of an identity that was removed are ended; none: it was never here, or long ago.
    pub async fn removed_at(&mut self, lookup: &str) -> Result<Option<DateTime<Utc>>> {
        query!(
            self.tx,
            value DateTime<Utc>,
            "SELECT ended_at FROM ended_tokens WHERE digest = $1",
            lookup
        )
    }

    /// Forgets the ended tokens that have ended by themselves before a moment. Answers how many.
    pub async fn prune(&mut self, before: DateTime<Utc>) -> Result<u64> {
        query!(
            self.tx,
            execute,
            "DELETE FROM ended_tokens WHERE digest IN (SELECT digest FROM ended_tokens WHERE expires_at < $1 LIMIT $2)",
            before,
            PRUNED_AT_ONCE
        )
    }
}
