//! API keys: a stable public id; their secrets are in `key_secrets`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use crate::debug::debug_only;
use crate::durable::query;
use crate::{Page, PageRequest, Result, Tx};

/// Rate limits of a key, besides its account's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLimits {
    /// Requests a minute; none: as its account.
    pub requests_per_minute: Option<u32>,
    /// Requests an hour; none: as its account.
    pub requests_per_hour: Option<u32>,
}

/// A new API key.
#[derive(Clone)]
pub struct NewApiKey {
    /// A version 7 id.
    pub id: Uuid,
    /// The unique part of the key that is no secret.
    pub public_id: String,
    /// Whose it is.
    pub account_id: Uuid,
    /// What its owner calls it.
    pub name: String,
    /// The permissions it may use, as far as its owner has them.
    pub scopes: Vec<String>,
    /// The models it may use; none: all that its owner may.
    pub models: Option<Vec<String>>,
    /// The networks it may be used from; none: any.
    pub allowed_ips: Option<Vec<String>>,
    /// Its own rate limits; none: as its account.
    pub limits: Option<KeyLimits>,
    /// When it stops working; none: never.
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether it signs its requests and is never sent itself.
    pub require_signature: bool,
    /// The hash of its secret.
    pub secret_hash: Vec<u8>,
    /// Its text, sealed; for a key that signs.
    pub sealed_secret: Option<Vec<u8>>,
}

debug_only!(NewApiKey { id, public_id, account_id, name, scopes, expires_at });

/// An API key.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct ApiKey {
    /// Its id.
    pub id: Uuid,
    /// The unique part of the key that is no secret.
    pub public_id: String,
    /// Whose it is.
    pub account_id: Uuid,
    /// What its owner calls it.
    pub name: String,
    /// The permissions it may use, as far as its owner has them.
    #[sqlx(json)]
    pub scopes: Vec<String>,
    /// The models it may use; none: all that its owner may.
    #[sqlx(json(nullable))]
    pub models: Option<Vec<String>>,
    /// The networks it may be used from; none: any.
    #[sqlx(json(nullable))]
    pub allowed_ips: Option<Vec<String>>,
    /// Its own rate limits; none: as its account.
    #[sqlx(json(nullable))]
    pub limits: Option<KeyLimits>,
    /// Whether it signs its requests and is never sent itself.
    pub require_signature: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it stops working; none: never.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was last used; written with a delay.
    pub last_used_at: Option<DateTime<Utc>>,
    /// The truncated address it was last used from.
    pub last_used_address: Option<String>,
}

/// What an owner changes about a key; none leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct ApiKeyUpdate {
    /// What its owner calls it.
    pub name: Option<String>,
    /// The permissions it may use.
    pub scopes: Option<Vec<String>>,
    /// The models it may use; `Some(None)` lifts the restriction.
    pub models: Option<Option<Vec<String>>>,
    /// The networks it may be used from; `Some(None)` lifts the restriction.
    pub allowed_ips: Option<Option<Vec<String>>>,
    /// Its own rate limits; `Some(None)`: as its account.
    pub limits: Option<Option<KeyLimits>>,
}

/// The columns of an [`ApiKey`].
macro_rules! key_columns {
    () => {
        "api_keys.id, api_keys.public_id, api_keys.account_id, api_keys.name, api_keys.scopes, api_keys.models, \
         api_keys.allowed_ips, api_keys.limits, api_keys.require_signature, api_keys.created_at, api_keys.expires_at, api_keys.revoked_at, \
         api_keys.last_used_at, api_keys.last_used_address"
    };
}

pub(crate) use key_columns;

/// Queries on API keys. Ownership is part of each that takes an account: another account's key is not there.
pub struct ApiKeys<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl ApiKeys<'_> {
    /// Adds a key with its first secret. [`crate::Error::Conflict`]: its public id is taken.
    pub async fn create(&mut self, new: &NewApiKey) -> Result<ApiKey> {
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "INSERT INTO api_keys (id, public_id, account_id, name, scopes, models, allowed_ips, created_at, \
             updated_at, expires_at, limits, require_signature) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9, $10, $11)",
            new.id,
            &new.public_id,
            new.account_id,
            &new.name,
            Json(&new.scopes),
            new.models.as_ref().map(Json),
            new.allowed_ips.as_ref().map(Json),
            now,
            new.expires_at,
            new.limits.map(Json),
            new.require_signature
        )?;
        self.insert_secret(new.id, 0, &new.secret_hash, new.sealed_secret.as_deref()).await?;
        Ok(ApiKey {
            id: new.id,
            public_id: new.public_id.clone(),
            account_id: new.account_id,
            name: new.name.clone(),
            scopes: new.scopes.clone(),
            models: new.models.clone(),
            allowed_ips: new.allowed_ips.clone(),
            limits: new.limits,
            require_signature: new.require_signature,
            created_at: now,
            expires_at: new.expires_at,
            revoked_at: None,
            last_used_at: None,
            last_used_address: None,
        })
    }

    /// Finds a key of an account, revoked or not.
    pub async fn find(&mut self, account: Uuid, id: Uuid) -> Result<Option<ApiKey>> {
        query!(
            self.tx,
            optional ApiKey,
            concat!("SELECT ", key_columns!(), " FROM api_keys WHERE account_id = $1 AND id = $2"),
            account,
            id
        )
    }

    /// The keys of an account that were not revoked, newest first.
    pub async fn list(&mut self, account: Uuid, page: &PageRequest) -> Result<Page<ApiKey>> {
        let keys = query!(
            self.tx,
            all ApiKey,
            concat!(
                "SELECT ", key_columns!(), " FROM api_keys \
                 WHERE account_id = $1 AND id < $2 AND revoked_at IS NULL ORDER BY id DESC LIMIT $3"
            ),
            account,
            page.below(),
            page.rows()
        )?;
        Ok(page.page(keys, |key| key.id))
    }

    /// The keys that were not revoked, of everyone or of one account, newest first.
    pub async fn list_all(&mut self, account: Option<Uuid>, page: &PageRequest) -> Result<Page<ApiKey>> {
        let keys = query!(
            self.tx,
            all ApiKey,
            concat!(
                "SELECT ", key_columns!(), " FROM api_keys WHERE id < $1 AND revoked_at IS NULL \
                 AND (NOT $2 OR account_id = $3) ORDER BY id DESC LIMIT $4"
            ),
            page.below(),
            account.is_some(),
            account.unwrap_or_default(),
            page.rows()
        )?;
        Ok(page.page(keys, |key| key.id))
    }

    /// Whose a key is.
    pub async fn owner(&mut self, id: Uuid) -> Result<Option<Uuid>> {
        query!(self.tx, value Uuid, "SELECT account_id FROM api_keys WHERE id = $1", id)
    }

    /// How many keys of an account are neither revoked nor expired.
    pub async fn live_count(&mut self, account: Uuid) -> Result<i64> {
        let now = self.tx.now();
        query!(
            self.tx,
            one i64,
            "SELECT COUNT(*) FROM api_keys WHERE account_id = $1 AND revoked_at IS NULL \
             AND (expires_at IS NULL OR expires_at > $2)",
            account,
            now
        )
    }

    /// Changes a key of an account. None: it has no such key, or the key was revoked.
    pub async fn update(&mut self, account: Uuid, id: Uuid, update: &ApiKeyUpdate) -> Result<Option<ApiKey>> {
        let now = self.tx.now();
        query!(
            self.tx,
            optional ApiKey,
            concat!(
                "UPDATE api_keys SET name = COALESCE($3, name), scopes = COALESCE($4, scopes), \
                 models = CASE WHEN $5 THEN $6 ELSE models END, \
                 allowed_ips = CASE WHEN $7 THEN $8 ELSE allowed_ips END, \
                 limits = CASE WHEN $10 THEN $11 ELSE limits END, updated_at = $9 \
                 WHERE account_id = $1 AND id = $2 AND revoked_at IS NULL RETURNING ", key_columns!()
            ),
            account,
            id,
            update.name.as_deref(),
            update.scopes.as_ref().map(Json),
            update.models.is_some(),
            update.models.as_ref().and_then(Option::as_ref).map(Json),
            update.allowed_ips.is_some(),
            update.allowed_ips.as_ref().and_then(Option::as_ref).map(Json),
            now,
            update.limits.is_some(),
            update.limits.flatten().map(Json)
        )
    }

    /// Revokes a key of an account. False: it has no such key, or the key was revoked before.
    pub async fn revoke(&mut self, account: Uuid, id: Uuid) -> Result<bool> {
        let now = self.tx.now();
        let revoked = query!(
            self.tx,
            execute,
            "UPDATE api_keys SET revoked_at = $3, updated_at = $3 \
             WHERE account_id = $1 AND id = $2 AND revoked_at IS NULL",
            account,
            id,
            now
        )?;
        Ok(revoked > 0)
    }
}
