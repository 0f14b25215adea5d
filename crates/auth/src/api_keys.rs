//! API keys: made, listed, changed and revoked by their owner.

use chrono::{DateTime, Duration, Utc};
use secrecy::SecretString;
use storage::{ApiKey, ApiKeyUpdate, NewApiKey, Page, PageRequest, Scope};
use uuid::Uuid;

use crate::access::{Permission, Permissions};
use crate::audit::Entry;
use crate::authentication;
use crate::events::Event;
use crate::freshness::Watched;
use crate::principal::Principal;
use crate::service::Origin;
use crate::{Auth, Error, Result, Violations, key_format};

/// Longest time that a rotated key's old secret works on.
const MAX_OVERLAP: Duration = Duration::days(7);
/// How long a key is good when nothing else is asked for.
const DEFAULT_LIFETIME: Duration = Duration::days(90);
/// The longest: what lies beyond is a slip of the pen, and years of five digits sort wrongly where times are texts.
const MAX_LIFETIME: Duration = Duration::days(100 * 365);

/// The key that is wished for.
#[derive(Clone, Debug)]
pub struct KeyRequest {
    /// What its owner calls it.
    pub name: String,
    /// Names of permissions, a subset of the owner's.
    pub scopes: Vec<String>,
    /// The only models it may use.
    pub models: Option<Vec<String>>,
    /// The only addresses or CIDR blocks it may be used from.
    pub allowed_ips: Option<Vec<String>>,
    /// When it ends, at most a hundred years from now; 90 days from now if none.
    pub expires_at: Option<DateTime<Utc>>,
}

/// What to change about a key; what is none stays, an inner none lifts the restriction.
#[derive(Clone, Debug, Default)]
pub struct KeyChange {
    /// What its owner calls it.
    pub name: Option<String>,
    /// Names of permissions.
    pub scopes: Option<Vec<String>>,
    /// The only models it may use.
    pub models: Option<Option<Vec<String>>>,
    /// The only addresses or CIDR blocks.
    pub allowed_ips: Option<Option<Vec<String>>>,
}

/// A new key and its text, which is shown this once.
#[derive(Debug)]
pub struct IssuedKey {
    /// The key.
    pub key: ApiKey,
    /// `mg_…`
    pub text: SecretString,
}

impl Auth {
    /// Makes a key of the caller's.
    pub async fn create_key(
        &self,
        owner: &Principal,
        request: KeyRequest,
        origin: &Origin,
    ) -> Result<IssuedKey> {
        owner.require_session()?;
        let now = self.now();
        let expires_at = request.expires_at.unwrap_or(now + DEFAULT_LIFETIME);
        let mut violations = violations(owner, Some(&request.scopes), request.allowed_ips.as_deref());
        if expires_at <= now || expires_at > now + MAX_LIFETIME {
            let message = "choose a time in the future, at most a hundred years from now";
            violations.insert("expires_at".into(), vec![message.into()]);
        }
        refuse_any(violations)?;
        let minted = key_format::mint(self.environment)?;
        let mut tx = self.begin_own(owner).await?;
        let key = tx
            .api_keys()
            .create(&NewApiKey {
                id: Uuid::now_v7(),
                public_id: minted.public_id,
                account_id: owner.account,
                name: request.name.trim().to_owned(),
                scopes: request.scopes,
                models: request.models,
                allowed_ips: request.allowed_ips,
                expires_at: Some(expires_at),
                secret_hash: minted.hash.to_vec(),
            })
            .await?;
        let entry = Entry::success(Event::ApiKeyCreated, origin).by(owner.account).on("api_key", key.id);
        self.record(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(IssuedKey { key, text: minted.text })
    }

    /// The caller's keys, newest first.
    pub async fn keys(&self, owner: &Principal, page: &PageRequest) -> Result<Page<ApiKey>> {
        owner.require_session()?;
        let mut tx = self.store.read(Scope::Account(owner.account)).await?;
        Ok(tx.api_keys().list(owner.account, page).await?)
    }

    /// One of the caller's keys.
    pub async fn key(&self, owner: &Principal, id: Uuid) -> Result<ApiKey> {
        owner.require_session()?;
        let mut tx = self.store.read(Scope::Account(owner.account)).await?;
        tx.api_keys().find(owner.account, id).await?.ok_or(Error::NotFound)
    }

    /// Changes one of the caller's keys.
    pub async fn change_key(
        &self,
        owner: &Principal,
        id: Uuid,
        change: KeyChange,
        origin: &Origin,
    ) -> Result<ApiKey> {
        owner.require_session()?;
        let networks = change.allowed_ips.as_ref().and_then(Option::as_deref);
        refuse_any(violations(owner, change.scopes.as_deref(), networks))?;
        let update = ApiKeyUpdate {
            name: change.name.map(|name| name.trim().to_owned()),
            scopes: change.scopes,
            models: change.models,
            allowed_ips: change.allowed_ips,
            expires_at: None,
        };
        let mut tx = self.begin_own(owner).await?;
        let key = tx.api_keys().update(owner.account, id, &update).await?.ok_or(Error::NotFound)?;
        let entry = Entry::success(Event::ApiKeyChanged, origin).by(owner.account).on("api_key", id);
        self.record(&mut tx, entry).await?;
        self.commit_change(tx, &[Watched::ApiKey(id)]).await?;
        Ok(key)
    }

    /// Gives one of the caller's keys another secret; its id, its rights and its end stay. The old secret works on for
    /// `overlap`, though never longer than the key.
    pub async fn rotate_key(
        &self,
        owner: &Principal,
        id: Uuid,
        overlap: Duration,
        origin: &Origin,
    ) -> Result<IssuedKey> {
        owner.require_session()?;
        if overlap < Duration::zero() || overlap > MAX_OVERLAP {
            let most = MAX_OVERLAP.num_seconds();
            return Err(Error::invalid("overlap_seconds", format!("use 0 to {most}")));
        }
        let mut tx = self.begin_own(owner).await?;
        let key = tx.api_keys().find(owner.account, id).await?.ok_or(Error::NotFound)?;
        let minted = key_format::mint_again(self.environment, key.public_id.clone())?;
        tx.api_keys().expire_secrets(id, self.now() + overlap).await?;
        if !tx.api_keys().add_secret(owner.account, id, &minted.hash).await? {
            return Err(Error::NotFound);
        }
        let entry = Entry::success(Event::ApiKeyRotated, origin).by(owner.account).on("api_key", id);
        self.record(&mut tx, entry).await?;
        self.commit_change(tx, &[Watched::ApiKey(id)]).await?;
        Ok(IssuedKey { key, text: minted.text })
    }

    /// Revokes one of the caller's keys; it is refused from the next request.
    pub async fn revoke_key(&self, owner: &Principal, id: Uuid, origin: &Origin) -> Result<()> {
        owner.require_session()?;
        let mut tx = self.begin_own(owner).await?;
        if !tx.api_keys().revoke(owner.account, id).await? {
            return Err(Error::NotFound);
        }
        let entry = Entry::success(Event::ApiKeyRevoked, origin).by(owner.account).on("api_key", id);
        self.record(&mut tx, entry).await?;
        self.commit_change(tx, &[Watched::ApiKey(id)]).await
    }
}

fn violations(owner: &Principal, scopes: Option<&[String]>, networks: Option<&[String]>) -> Violations {
    let mut violations = Violations::new();
    if let Some(scopes) = scopes {
        let unknown = scopes.iter().filter(|name| name.parse::<Permission>().is_err());
        let mut messages: Vec<String> = unknown.map(|name| format!("there is no scope {name:?}")).collect();
        let beyond =
            Permissions::from_names(scopes).iter().filter(|scope| !owner.permissions.contains(*scope));
        messages.extend(beyond.map(|scope| format!("{scope} is more than you may do yourself")));
        if scopes.is_empty() {
            messages.push("name at least one scope".into());
        }
        if !messages.is_empty() {
            violations.insert("scopes".into(), messages);
        }
    }
    let bad = networks.into_iter().flatten().filter(|text| authentication::network(text).is_none());
    let messages: Vec<String> = bad.map(|text| format!("{text:?} is no address and no CIDR block")).collect();
    if !messages.is_empty() {
        violations.insert("allowed_ips".into(), messages);
    }
    violations
}

fn refuse_any(violations: Violations) -> Result<()> {
    if violations.is_empty() { Ok(()) } else { Err(Error::Invalid(violations)) }
}
