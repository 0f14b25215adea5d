//! API keys: made, listed, changed and revoked by their owner, or, for a service account, by administrators.

use chrono::{DateTime, Duration, Utc};
use secrecy::SecretString;
use storage::{ApiKey, ApiKeyUpdate, KeyLimits, NewApiKey, Page, PageRequest, Scope, Service, Tx};
use uuid::Uuid;

use crate::accounts::directory::refuse_more_powerful;
use crate::audit::Entry;
use crate::callers::access::{Permission, Permissions};
use crate::callers::authentication;
use crate::callers::freshness::ChangeSubject;
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::service::Origin;
use crate::{Auth, Error, Result, Violations, keys::key_format};

/// Longest time that a rotated key's old secret works on, in seconds: a week. The parameter is no number beyond it.
pub const MAX_OVERLAP_SECONDS: u32 = 7 * 24 * 3600;
/// How long a key is good when nothing else is asked for.
const DEFAULT_LIFETIME: Duration = Duration::days(90);
/// The longest life of a key: more is a typing error, and years of five digits would sort wrongly as text.
const MAX_LIFETIME: Duration = Duration::days(100 * 365);

/// Whose keys are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOwner {
    /// The caller's own.
    Caller,
    /// Those of this service account.
    ServiceAccount(Uuid),
}

/// A key to be made.
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
    /// What it is held to besides its account's limits.
    pub limits: Option<KeyLimits>,
    /// Whether it signs its requests and is never sent itself; that stays.
    pub require_signature: bool,
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
    /// What it is held to besides its account's limits.
    pub limits: Option<Option<KeyLimits>>,
}

/// A new key and its text, which is shown this once.
#[derive(Debug)]
pub struct IssuedKey {
    /// The key.
    pub key: ApiKey,
    /// `mg_…`
    pub text: SecretString,
}

/// A change of somebody's keys that has begun.
struct Change {
    tx: Tx,
    owner: Uuid,
    /// What a key of theirs may have at most.
    permissions: Permissions,
    /// What whoever makes the change may do as of now.
    own: Permissions,
}

impl Auth {
    /// Makes a key.
    pub async fn create_key(
        &self,
        actor: &Principal,
        whose: KeyOwner,
        request: KeyRequest,
        origin: &Origin,
    ) -> Result<IssuedKey> {
        actor.require_enrolled()?;
        let Change { mut tx, owner, permissions, .. } = self.begin_keys(actor, whose).await?;
        let now = self.now();
        let expires_at = request.expires_at.unwrap_or(now + DEFAULT_LIFETIME);
        let mut violations = violations(permissions, Some(&request.scopes), request.allowed_ips.as_deref());
        if expires_at <= now || expires_at > now + MAX_LIFETIME {
            let message = "choose a time in the future, at most a hundred years from now";
            violations.insert("expires_at".into(), vec![message.into()]);
        }
        refuse_any(violations)?;
        if tx.api_keys().live_count(owner).await? >= i64::from(self.max_keys) {
            return Err(Error::TooManyKeys);
        }
        let minted = key_format::mint(self.environment)?;
        let key = tx
            .api_keys()
            .create(&NewApiKey {
                id: Uuid::now_v7(),
                public_id: minted.public_id,
                account_id: owner,
                name: request.name.trim().to_owned(),
                scopes: request.scopes,
                models: request.models,
                allowed_ips: request.allowed_ips,
                limits: request.limits,
                expires_at: Some(expires_at),
                require_signature: request.require_signature,
                sealed_secret: self.sealed_key(request.require_signature, &minted.hash, &minted.text)?,
                secret_hash: minted.hash.to_vec(),
            })
            .await?;
        let entry = Entry::success(Event::ApiKeyCreated, origin).by(actor.account).on("api_key", key.id);
        self.record(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(IssuedKey { key, text: minted.text })
    }

    /// The live keys, newest first.
    pub async fn keys(&self, actor: &Principal, whose: KeyOwner, page: &PageRequest) -> Result<Page<ApiKey>> {
        let (mut tx, owner) = self.read_keys(actor, whose).await?;
        Ok(tx.api_keys().list(owner, page).await?)
    }

    /// One key.
    pub async fn key(&self, actor: &Principal, whose: KeyOwner, id: Uuid) -> Result<ApiKey> {
        let (mut tx, owner) = self.read_keys(actor, whose).await?;
        tx.api_keys().find(owner, id).await?.ok_or(Error::NotFound)
    }

    /// Changes a key; it holds from the next request. One that may do more than the actor can only be narrowed.
    pub async fn change_key(
        &self,
        actor: &Principal,
        whose: KeyOwner,
        id: Uuid,
        change: KeyChange,
        origin: &Origin,
    ) -> Result<ApiKey> {
        actor.require_enrolled()?;
        let Change { mut tx, owner, permissions, own } = self.begin_keys(actor, whose).await?;
        let networks = change.allowed_ips.as_ref().and_then(Option::as_deref);
        refuse_any(violations(permissions, change.scopes.as_deref(), networks))?;
        if change.scopes.is_none() {
            let key = tx.api_keys().find(owner, id).await?.ok_or(Error::NotFound)?;
            refuse_wider(&key, own)?;
        }
        let update = ApiKeyUpdate {
            name: change.name.map(|name| name.trim().to_owned()),
            scopes: change.scopes,
            models: change.models,
            allowed_ips: change.allowed_ips,
            limits: change.limits,
        };
        let key = tx.api_keys().update(owner, id, &update).await?.ok_or(Error::NotFound)?;
        let entry = Entry::success(Event::ApiKeyChanged, origin).by(actor.account).on("api_key", id);
        self.record(&mut tx, entry).await?;
        self.commit_change(tx, &[ChangeSubject::ApiKey(id)]).await?;
        Ok(key)
    }

    /// Gives a key another secret; its id, its rights and its end stay. The old secret works on for `overlap`, which the
    /// type of the route's parameter bounds, though never longer than the key. Refused where the key may do more than the
    /// actor, who would hold those rights with the new secret.
    pub async fn rotate_key(
        &self,
        actor: &Principal,
        whose: KeyOwner,
        id: Uuid,
        overlap: Duration,
        origin: &Origin,
    ) -> Result<IssuedKey> {
        actor.require_enrolled()?;
        let Change { mut tx, owner, own, .. } = self.begin_keys(actor, whose).await?;
        let key = tx.api_keys().find(owner, id).await?.ok_or(Error::NotFound)?;
        refuse_wider(&key, own)?;
        let minted = key_format::mint_again(self.environment, key.public_id.clone())?;
        tx.api_keys().expire_secrets(id, self.now() + overlap).await?;
        let sealed = self.sealed_key(key.require_signature, &minted.hash, &minted.text)?;
        if !tx.api_keys().add_secret(owner, id, &minted.hash, sealed.as_deref()).await? {
            return Err(Error::NotFound);
        }
        let entry = Entry::success(Event::ApiKeyRotated, origin).by(actor.account).on("api_key", id);
        self.record(&mut tx, entry).await?;
        self.commit_change(tx, &[ChangeSubject::ApiKey(id)]).await?;
        Ok(IssuedKey { key, text: minted.text })
    }

    /// Revokes a key; it is refused from the next request.
    pub async fn revoke_key(
        &self,
        actor: &Principal,
        whose: KeyOwner,
        id: Uuid,
        origin: &Origin,
    ) -> Result<()> {
        let Change { tx, owner, .. } = self.begin_keys(actor, whose).await?;
        self.end_key(tx, actor, owner, id, origin).await
    }

    /// The live keys of everyone, or of one account, newest first.
    pub async fn all_keys(&self, account: Option<Uuid>, page: &PageRequest) -> Result<Page<ApiKey>> {
        let mut tx = self.store.read(Scope::Service(Service::Administration)).await?;
        Ok(tx.api_keys().list_all(account, page).await?)
    }

    /// Revokes any account's key. Needs no comparison of permissions: revoking gives the actor none.
    pub async fn revoke_any_key(&self, actor: &Principal, id: Uuid, origin: &Origin) -> Result<()> {
        actor.require_person()?;
        let (mut tx, _) = self.begin_administration(actor, Permission::KeysManage).await?;
        let owner = tx.api_keys().owner(id).await?.ok_or(Error::NotFound)?;
        self.end_key(tx, actor, owner, id, origin).await
    }

    async fn end_key(
        &self,
        mut tx: Tx,
        actor: &Principal,
        owner: Uuid,
        id: Uuid,
        origin: &Origin,
    ) -> Result<()> {
        if !tx.api_keys().revoke(owner, id).await? {
            return Err(Error::NotFound);
        }
        let entry = Entry::success(Event::ApiKeyRevoked, origin).by(actor.account).on("api_key", id);
        self.record(&mut tx, entry).await?;
        self.commit_change(tx, &[ChangeSubject::ApiKey(id)]).await
    }

    async fn read_keys(&self, actor: &Principal, whose: KeyOwner) -> Result<(Tx, Uuid)> {
        match whose {
            KeyOwner::Caller => {
                actor.require_person()?;
                Ok((self.store.read(Scope::Account(actor.account)).await?, actor.account))
            }
            KeyOwner::ServiceAccount(owner) => {
                let mut tx = self.store.read(Scope::Service(Service::Administration)).await?;
                tx.service_accounts().find(owner).await?.ok_or(Error::NotFound)?;
                Ok((tx, owner))
            }
        }
    }

    /// Begins a change under a lock on the owner, so that what is counted stays. Keys manage no keys.
    async fn begin_keys(&self, actor: &Principal, whose: KeyOwner) -> Result<Change> {
        actor.require_person()?;
        match whose {
            KeyOwner::Caller => {
                let (tx, permissions) = self.begin_own_as_of_now(actor).await?;
                Ok(Change { tx, owner: actor.account, permissions, own: permissions })
            }
            KeyOwner::ServiceAccount(owner) => {
                let (mut tx, own) = self.begin_administration(actor, Permission::KeysManage).await?;
                tx.service_accounts().find(owner).await?.ok_or(Error::NotFound)?;
                tx.accounts().lock(owner).await?;
                let permissions = refuse_more_powerful(&mut tx, own, owner).await?;
                Ok(Change { tx, owner, permissions, own })
            }
        }
    }
}

fn violations(
    permissions: Permissions,
    scopes: Option<&[String]>,
    networks: Option<&[String]>,
) -> Violations {
    let mut violations = Violations::new();
    if let Some(scopes) = scopes {
        let unknown = scopes.iter().filter(|name| name.parse::<Permission>().is_err());
        let mut messages: Vec<String> = unknown.map(|name| format!("there is no scope {name:?}")).collect();
        let beyond = Permissions::from_names(scopes).iter().filter(|scope| !permissions.contains(*scope));
        messages.extend(beyond.map(|scope| format!("{scope} is more than the key's owner may do")));
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

/// Refuses a key with a scope that the actor lacks now, such as one whose token is held to its scopes.
fn refuse_wider(key: &ApiKey, own: Permissions) -> Result<()> {
    let beyond = Permissions::from_names(&key.scopes).iter().find(|scope| !own.contains(*scope));
    beyond.map_or(Ok(()), |scope| Err(Error::Forbidden(scope)))
}

fn refuse_any(violations: Violations) -> Result<()> {
    if violations.is_empty() { Ok(()) } else { Err(Error::Invalid(violations)) }
}
