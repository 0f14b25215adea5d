//! The secrets of API keys, in a table of their own: two at a time during a rotation.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::accounts::standing_columns;
use crate::api_keys::key_columns;
use crate::debug::debug_only;
use crate::durable::query;
use crate::{AccountStanding, ApiKey, ApiKeys, Result};

/// One secret of a key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySecret {
    /// The hash of the secret.
    pub hash: Vec<u8>,
    /// The key's text, sealed; for a key that signs.
    pub sealed: Option<Vec<u8>>,
    /// When it stops working; none: with the key.
    pub expires_at: Option<DateTime<Utc>>,
}

debug_only!(KeySecret { expires_at });

/// The present state of a key, its secrets and its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStanding {
    /// The key, revoked or not.
    pub key: ApiKey,
    /// Its secrets, newest first, expired ones included.
    pub secrets: Vec<KeySecret>,
    /// Its owner.
    pub account: AccountStanding,
}

/// The last use of a key: the key, when, and the truncated address it came from.
pub type KeyUse = (Uuid, DateTime<Utc>, Option<String>);

/// One row for each secret.
#[derive(FromRow)]
struct StandingRow {
    #[sqlx(flatten)]
    key: ApiKey,
    #[sqlx(flatten)]
    account: AccountStanding,
    secret_hash: Vec<u8>,
    secret_sealed: Option<Vec<u8>>,
    secret_expires_at: Option<DateTime<Utc>>,
}
impl ApiKeys<'_> {
    /// Gives a key of an account another secret and drops all but the newest of those before, so that no more
    /// than two work. False: the account has no such key, or the key was revoked or has ended.
    pub async fn add_secret(
        &mut self,
        account: Uuid,
        id: Uuid,
        hash: &[u8],
        sealed: Option<&[u8]>,
    ) -> Result<bool> {
        let now = self.tx.now();
        // The update is also the lock under which the secrets are counted.
        let owned = query!(
            self.tx,
            execute,
            "UPDATE api_keys SET updated_at = $3 WHERE account_id = $1 AND id = $2 AND revoked_at IS NULL \
             AND (expires_at IS NULL OR expires_at > $3)",
            account,
            id,
            now
        )?;
        if owned == 0 {
            return Ok(false);
        }
        let newest = query!(self.tx, one i64, "SELECT COALESCE(MAX(number), -1) FROM api_key_secrets WHERE key_id = $1", id)?;
        query!(
            self.tx,
            execute,
            "DELETE FROM api_key_secrets WHERE key_id = $1 AND number < $2",
            id,
            newest
        )?;
        self.insert_secret(id, newest + 1, hash, sealed).await?;
        Ok(true)
    }

    /// Lets every secret that a key has now end at a moment, or earlier where it was to end earlier.
    pub async fn expire_secrets(&mut self, key_id: Uuid, at: DateTime<Utc>) -> Result<()> {
        query!(
            self.tx,
            execute,
            "UPDATE api_key_secrets SET expires_at = $2 WHERE key_id = $1 AND (expires_at IS NULL OR expires_at > $2)",
            key_id,
            at
        )?;
        Ok(())
    }

    /// Whether a key has this secret at a moment.
    pub async fn has_secret(&mut self, key_id: Uuid, hash: &[u8], at: DateTime<Utc>) -> Result<bool> {
        let found = query!(
            self.tx,
            value i64,
            "SELECT number FROM api_key_secrets WHERE key_id = $1 AND hash = $2 AND (expires_at IS NULL OR expires_at > $3)",
            key_id,
            hash,
            at
        )?;
        Ok(found.is_some())
    }

    /// How a key, its secrets and its owner stand now, in one query.
    pub async fn standing(&mut self, public_id: &str) -> Result<Option<KeyStanding>> {
        let mut rows = query!(
            self.tx,
            all StandingRow,
            concat!(
                "SELECT ", key_columns!(), ", api_key_secrets.hash AS secret_hash, \
                 api_key_secrets.sealed AS secret_sealed, api_key_secrets.expires_at AS secret_expires_at, ", standing_columns!(), " FROM api_keys \
                 JOIN api_key_secrets ON api_key_secrets.key_id = api_keys.id \
                 JOIN accounts ON accounts.id = api_keys.account_id JOIN roles ON roles.name = accounts.role \
                 WHERE api_keys.public_id = $1 ORDER BY api_key_secrets.number DESC"
            ),
            public_id
        )?
        .into_iter();
        let Some(first) = rows.next() else { return Ok(None) };
        let StandingRow { key, account, secret_hash, secret_sealed, secret_expires_at } = first;
        let newest = KeySecret { hash: secret_hash, sealed: secret_sealed, expires_at: secret_expires_at };
        let others = rows.map(|row| KeySecret {
            hash: row.secret_hash,
            sealed: row.secret_sealed,
            expires_at: row.secret_expires_at,
        });
        let secrets = std::iter::once(newest).chain(others).collect();
        Ok(Some(KeyStanding { key, account, secrets }))
    }

    /// Writes down when keys were last used, where that is later than what is known; keys that are gone are
    /// passed over.
    pub async fn touch(&mut self, uses: &[KeyUse]) -> Result<()> {
        // One order for everyone, so that two replicas cannot wait for each other.
        let mut uses: Vec<_> = uses.iter().collect();
        uses.sort();
        for (key, at, address) in uses {
            query!(
                self.tx,
                execute,
                "UPDATE api_keys SET last_used_at = $2, last_used_address = $3 \
                 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)",
                key,
                at,
                address.as_deref()
            )?;
        }
        Ok(())
    }

    pub(crate) async fn insert_secret(
        &mut self,
        key_id: Uuid,
        number: i64,
        hash: &[u8],
        sealed: Option<&[u8]>,
    ) -> Result<()> {
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "INSERT INTO api_key_secrets (key_id, number, hash, created_at, sealed) VALUES ($1, $2, $3, $4, $5)",
            key_id,
            number,
            hash,
            now,
            sealed
        )?;
        Ok(())
    }
}
