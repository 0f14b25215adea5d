//! Beginning a change on behalf of a caller.
//!
//! A request is admitted before its body is read, and a body may take long to arrive: by then the caller may have been
//! demoted, disabled or logged out. So the caller is checked again inside the transaction of the change, with their
//! account locked: what was revoked before the change began is refused, whatever was cached.

use data_encoding::HEXLOWER;
use serde_json::Value;
use storage::{Scope, Service, Tx};

use crate::audit::Entry;
use crate::callers::access::{Permission, Permissions};
use crate::callers::freshness::ChangeSubject;
use crate::callers::principal::{Credential, Principal};
use crate::events::Event;
use crate::service::Origin;
use crate::{Auth, Error, Result, operation};

const NO_LONGER: Error = Error::InvalidCredential("this credential has been revoked meanwhile");

impl Auth {
    /// Begins a change of what is the caller's own.
    pub(crate) async fn begin_own(&self, principal: &Principal) -> Result<Tx> {
        Ok(self.begin_own_as_of_now(principal).await?.0)
    }

    /// The same, and what the caller may do as of now.
    pub(crate) async fn begin_own_as_of_now(&self, principal: &Principal) -> Result<(Tx, Permissions)> {
        let mut tx = self.store.begin(Scope::Account(principal.account)).await?;
        let permissions = self.confirm(&mut tx, principal).await?;
        Ok((tx, permissions))
    }

    /// Begins a change of other people's accounts. Such changes wait for each other, so that two administrators can
    /// neither remove each other nor wait for each other for ever. Answers also what the caller may do as of now.
    pub(crate) async fn begin_administration(
        &self,
        principal: &Principal,
        permission: Permission,
    ) -> Result<(Tx, Permissions)> {
        let mut tx = self.begin_exclusive().await?;
        let permissions = self.confirm(&mut tx, principal).await?;
        if permissions.contains(permission) {
            Ok((tx, permissions))
        } else {
            Err(Error::Forbidden(permission))
        }
    }

    /// Begins what an administrator does, or (without one) the command line, which may do everything.
    pub(crate) async fn begin_operation(
        &self,
        actor: Option<&Principal>,
        permission: Permission,
    ) -> Result<(Tx, Permissions)> {
        match actor {
            Some(actor) => self.begin_administration(actor, permission).await,
            None => Ok((self.begin_exclusive().await?, Permissions::all())),
        }
    }

    /// Begins a change of accounts, which waits for every other: what the program does by itself, too.
    pub(crate) async fn begin_exclusive(&self) -> Result<Tx> {
        let mut tx = self.store.begin(Scope::Service(Service::Administration)).await?;
        tx.users().lock_administrators().await?;
        Ok(tx)
    }

    /// Begins what changes nothing and is audited all the same: a look at what is everyone's.
    pub(crate) async fn begin_reading(&self, principal: &Principal, permission: Permission) -> Result<Tx> {
        let mut tx = self.store.begin(Scope::Service(Service::Administration)).await?;
        let permissions = self.confirm(&mut tx, principal).await?;
        if permissions.contains(permission) { Ok(tx) } else { Err(Error::Forbidden(permission)) }
    }

    /// Whether a caller who was let in may still read what is everyone's.
    pub async fn may_still(&self, principal: &Principal, permission: Permission) -> bool {
        self.begin_reading(principal, permission).await.is_ok()
    }

    /// Begins the removal of the caller's own account. It waits for changes of other people's accounts, as those do for
    /// each other: administrators may be leaving at the same moment.
    pub(crate) async fn begin_leaving(&self, principal: &Principal) -> Result<Tx> {
        let mut tx = self.begin_exclusive().await?;
        self.confirm(&mut tx, principal).await?;
        Ok(tx)
    }

    /// Commits a change of what roles may do or of who may use which model: it concerns everyone.
    pub(crate) async fn commit_policy(
        &self,
        mut tx: Tx,
        event: Event,
        actor: &Principal,
        detail: Value,
        origin: &Origin,
    ) -> Result<()> {
        self.record(&mut tx, Entry::success(event, origin).by(actor.account).with(detail)).await?;
        self.commit_change(tx, &[ChangeSubject::Policy]).await
    }

    /// What the caller may do as of now, under a lock on their account. [`Error::Closed`]: the service was closed
    /// meanwhile.
    async fn confirm(&self, tx: &mut Tx, principal: &Principal) -> Result<Permissions> {
        let permissions = self.confirm_credential(tx, principal).await?;
        operation::read(tx).await?.admit(permissions, principal.credential.is_key())?;
        Ok(permissions)
    }

    async fn confirm_credential(&self, tx: &mut Tx, principal: &Principal) -> Result<Permissions> {
        tx.accounts().lock(principal.account).await?;
        let account = tx.accounts().standing(principal.account).await?.ok_or(NO_LONGER)?;
        if !account.active || account.security_version != principal.security_version {
            return Err(NO_LONGER);
        }
        let granted = self.granted(&account);
        let now = self.now();
        match principal.credential {
            Credential::Session { id, .. } => {
                let session = tx.sessions().find(id).await?.ok_or(NO_LONGER)?;
                if session.is_live(now) { Ok(granted) } else { Err(NO_LONGER) }
            }
            Credential::External(token) => {
                let digest = HEXLOWER.encode(&token.digest);
                let state = tx.identities().state(principal.account, token.identity, &digest).await?;
                let state = state.ok_or(NO_LONGER)?;
                let ended = state.token_ended || state.ended_at.is_some_and(|at| token.issued_at <= at);
                if !ended && now < token.expires_at && !self.is_outgrown(&state, &account) {
                    Ok(self.granted_to_external(&account, &token))
                } else {
                    Err(NO_LONGER)
                }
            }
            Credential::ApiKey { id } => {
                let key = tx.api_keys().find(principal.account, id).await?.ok_or(NO_LONGER)?;
                let live = key.revoked_at.is_none() && key.expires_at.is_none_or(|end| now < end);
                let is_known = match &principal.secret {
                    Some(secret) => tx.api_keys().has_secret(id, secret, now).await?,
                    None => true,
                };
                if live && is_known {
                    Ok(granted.intersection(Permissions::from_names(&key.scopes)))
                } else {
                    Err(NO_LONGER)
                }
            }
        }
    }
}
