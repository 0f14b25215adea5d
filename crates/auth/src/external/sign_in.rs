//! From a token of another issuer to a principal: whose account it is, and what they may do now.
//!
//! A token that is newer than all before decides the role and may make the account, in one transaction; an older one
//! decides nothing, and is refused if it names another role: otherwise an old token could restore a role that was taken
//! away. One without a role switches the account off, with its keys and its password here, until one with a role comes.

use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use serde_json::json;
use storage::{
    AccountStanding, IdentityStanding, IdentityState, NewIdentity, Scope, Service, Tx, UserUpdate,
};
use uuid::Uuid;

use super::claims::Assertion;
use super::identities::subject_place;
use super::issuer::TrustedIssuer;
use super::keys::Issuer;
use crate::accounts::directory::keep_one_administrator;
use crate::accounts::people::{is_address, name_of};
use crate::audit::Entry;
use crate::callers::access::Permissions;
use crate::callers::authentication::REVOKED;
use crate::callers::freshness::{CACHED_FOR, ChangeSubject};
use crate::callers::principal::{Credential, ExternalToken, Principal};
use crate::events::Event;
use crate::service::Origin;
use crate::token::foreign;
use crate::{Auth, Error, Result, crypto, operation};

const OUTDATED: Error =
    Error::InvalidCredential("your role has changed since this token was issued; get a new one");
const NOT_LINKED: Error =
    Error::Refused("no account here is linked to you; ask an administrator to link yours");
const ADDRESS_TAKEN: Error = Error::Refused(
    "your e-mail address belongs to an account here that is not linked to you; ask an administrator to link it",
);
const NO_ROLE: Error = Error::Refused("your provider gives you no role here; ask whoever manages it");
const NO_SUCH_ROLE: Error =
    Error::Refused("the role that your provider gives you does not exist here; tell an administrator");
const LAST_ADMINISTRATOR: Error = Error::Refused(
    "your provider no longer makes you an administrator, and you are the last one here; make another one first",
);

const OUTGROWN: Error = Error::Refused(
    "your account may do more now than whoever linked you to it; ask an administrator to unlink you and link you anew",
);

/// Why an account was switched off whose newest token gives it no role.
const ROLE_LOST: &str = "role_lost";

/// A verified token on its way in.
struct VerifiedToken<'a> {
    trusted: &'a TrustedIssuer,
    assertion: Assertion,
    /// What the identity is found by.
    lookup: String,
    /// The digest of what was signed.
    digest: [u8; 32],
    origin: Origin,
}

impl Auth {
    /// The caller behind a token of this issuer.
    pub(crate) async fn read_external(
        &self,
        text: &str,
        issuer: &Arc<Issuer>,
        address: Option<IpAddr>,
        now: DateTime<Utc>,
    ) -> Result<Principal> {
        let trusted = &issuer.trusted;
        let kid = foreign::key_id(text, &trusted.token_types)?;
        let key = issuer.key(&kid, &self.external.source, now).await?;
        let assertion = Assertion::read(trusted, &foreign::verify(text, &key)?, now)?;
        let token = VerifiedToken {
            trusted,
            lookup: self.email_index.of_identity(&trusted.issuer, &assertion.subject),
            digest: crypto::sha256(foreign::signed_part(text).as_bytes()),
            assertion,
            origin: Origin { address, ..Origin::default() },
        };
        if let Some(principal) = self.known(&token, now).await? {
            return Ok(principal);
        }
        self.take_in(&token).await?;
        self.known(&token, now).await?.ok_or(REVOKED)
    }

    /// The principal, where the token is not news.
    async fn known(&self, token: &VerifiedToken<'_>, now: DateTime<Utc>) -> Result<Option<Principal>> {
        let mut tx = self.store.read(Scope::Service(Service::Token)).await?;
        // Before the rest, so that a change in between makes this stale rather than unseen.
        let seen = tx.changes().head().await?;
        let standing = tx.identities().standing(&token.lookup, &token.token()).await?;
        let is_old = |standing: &IdentityStanding| !token.is_news(&standing.identity);
        if token.assertion.role.is_none() && standing.as_ref().is_some_and(is_old) {
            return Err(NO_ROLE);
        }
        let Some(standing) = token.live(standing)?.filter(is_old) else {
            return Ok(None);
        };
        let IdentityStanding { identity, account } = standing;
        if self.is_outgrown(&identity, &account) {
            return Err(OUTGROWN);
        }
        if token.changes(&account) {
            return Err(OUTDATED);
        }
        let policy = self.read_policy(&mut tx, seen, &account, None).await?;
        let expires_at = token.assertion.expires_at;
        let token = token.credential(identity.id, &account);
        let permissions = self.granted_to_external(&account, &token);
        let must_enrol = self.lacks_second_factor(&account, &token);
        let (credential, good_until) = (Credential::External(token), expires_at.min(now + CACHED_FOR));
        Ok(Some(Principal::of(account, permissions, must_enrol, credential, policy, seen, good_until)))
    }

    /// What a token of another issuer may do, as its account stands now.
    pub(crate) fn granted_to_external(
        &self,
        account: &AccountStanding,
        token: &ExternalToken,
    ) -> Permissions {
        if self.lacks_second_factor(account, token) {
            return Permissions::default();
        }
        let permissions = Permissions::from_names(&account.permissions);
        token.limit.map_or(permissions, |limit| permissions.intersection(limit))
    }

    /// Whether the account needs a second factor that the issuer did not see. One that is kept here does not count:
    /// this login did not ask for it.
    fn lacks_second_factor(&self, account: &AccountStanding, token: &ExternalToken) -> bool {
        (account.must_enrol || self.mfa_required_roles.contains(&account.role)) && !token.second_factor
    }

    /// Lets a token decide that is newer than all before. Those who do this wait for each other and for administrators:
    /// nobody becomes two accounts, and the last administrator stays one.
    async fn take_in(&self, token: &VerifiedToken<'_>) -> Result<()> {
        let mut tx = self.store.begin(Scope::Service(Service::Login)).await?;
        tx.users().lock_administrators().await?;
        let standing = tx.identities().standing(&token.lookup, &token.token()).await?;
        let settled = match token.live(standing)? {
            Some(standing) => self.note(tx, token, standing).await,
            None => self.provision(tx, token).await,
        };
        match settled {
            Err(Error::Refused(why)) => {
                self.record_refusal(token, why).await?;
                Err(Error::Refused(why))
            }
            settled => settled,
        }
    }

    /// Notes a new token of one who is known, and takes over the role that it gives, or that it gives none.
    async fn note(&self, mut tx: Tx, token: &VerifiedToken<'_>, standing: IdentityStanding) -> Result<()> {
        let IdentityStanding { identity, account } = standing;
        if self.is_outgrown(&identity, &account) {
            return Err(OUTGROWN);
        }
        let id = account.account_id;
        tx.accounts().lock(id).await?;
        if !self.note_login(&mut tx, token, &account, identity.id, identity.authenticated_at).await? {
            return Ok(());
        }
        let Some(role) = &token.assertion.role else {
            self.lose_role(tx, token, &account, identity.id).await?;
            return Err(NO_ROLE);
        };
        if account.active && !token.changes(&account) {
            return Ok(tx.commit().await?);
        }
        tx.roles().find(role).await?.ok_or(NO_SUCH_ROLE)?;
        keep_administrator(&mut tx, id).await?;
        // Off is here only who lost their role, which this token gives again.
        let active = (!account.active).then_some(true);
        let update = UserUpdate { role: Some(role.clone()), active, ..UserUpdate::default() };
        tx.users().update(id, &update).await?.ok_or(REVOKED)?;
        let mut detail = json!({"role": role, "before": account.role, "issuer": token.trusted.issuer});
        if !account.active {
            detail["active"] = json!(true);
        }
        let entry = Entry::success(Event::AccountChanged, &token.origin).on("account", id);
        self.record(&mut tx, entry.with(detail)).await?;
        self.commit_change(tx, &[ChangeSubject::Account(id)]).await
    }

    /// Switches off the account of one who has no role any more: neither older tokens nor keys, nor a password here, may
    /// keep what the last role gave.
    async fn lose_role(
        &self,
        mut tx: Tx,
        token: &VerifiedToken<'_>,
        account: &AccountStanding,
        identity: Uuid,
    ) -> Result<()> {
        let id = account.account_id;
        if account.active {
            keep_administrator(&mut tx, id).await?;
            let update = UserUpdate { active: Some(false), ..UserUpdate::default() };
            tx.users().update(id, &update).await?.ok_or(REVOKED)?;
            tx.sessions().revoke_all(id, None, ROLE_LOST).await?;
            tx.identities().lose_role(identity).await?;
            let detail = json!({"active": false, "reason": ROLE_LOST, "issuer": token.trusted.issuer});
            let entry = Entry::success(Event::AccountChanged, &token.origin).on("account", id);
            self.record(&mut tx, entry.with(detail)).await?;
        }
        tx.identities().end_tokens(id).await?;
        self.commit_change(tx, &[ChangeSubject::Account(id)]).await
    }

    /// Makes an account for one who is not known, where the issuer's people get one.
    async fn provision(&self, mut tx: Tx, token: &VerifiedToken<'_>) -> Result<()> {
        let (trusted, assertion) = (token.trusted, &token.assertion);
        let removed = tx.identities().removed_at(&token.lookup).await?;
        if removed.is_some_and(|at| assertion.issued_at <= at) {
            return Err(REVOKED);
        }
        if !trusted.provision {
            return Err(NOT_LINKED);
        }
        let role = assertion.role.as_deref().ok_or(NO_ROLE)?;
        tx.roles().find(role).await?.ok_or(NO_SUCH_ROLE)?;
        let email = assertion.email.as_deref().filter(|email| is_address(email));
        if let Some(email) = email
            && tx.users().credentials(&self.email_index.of(email)).await?.is_some()
        {
            return Err(ADDRESS_TAKEN);
        }
        let name = name_of(assertion.name.as_deref());
        let person = self.create_person(&mut tx, email, &name, role).await?;
        let entry = Entry::success(Event::AccountCreated, &token.origin).on("account", person.id);
        self.record(&mut tx, entry.with(json!({"role": role, "issuer": trusted.issuer}))).await?;
        let identity =
            self.add_identity(&mut tx, person.id, &trusted.issuer, &assertion.subject, None).await?;
        let account = tx.accounts().standing(person.id).await?.ok_or(REVOKED)?;
        self.note_login(&mut tx, token, &account, identity, None).await?;
        // While the service is closed, whoever is not let in leaves no account behind.
        let permissions = self.granted_to_external(&account, &token.credential(identity, &account));
        operation::read(&mut tx).await?.admit(permissions, false)?;
        Ok(tx.commit().await?)
    }

    /// Adds an identity to an account, which leads to it while the account may do nothing of what the linker `lacked`. Where
    /// it was somebody's before, what was issued until it was removed stays ended.
    pub(super) async fn add_identity(
        &self,
        tx: &mut Tx,
        account: Uuid,
        issuer: &str,
        subject: &str,
        lacked: Option<Permissions>,
    ) -> Result<Uuid> {
        let id = Uuid::now_v7();
        let lookup = self.email_index.of_identity(issuer, subject);
        let new = NewIdentity {
            id,
            account_id: account,
            issuer: issuer.to_owned(),
            subject: self.encryption.seal(&subject_place(id), subject.as_bytes())?,
            ended_at: tx.identities().removed_at(&lookup).await?,
            linker_lacked: lacked.map(Permissions::names),
            lookup,
        };
        match tx.identities().create(&new).await {
            Err(storage::Error::Conflict) => Err(Error::IdentityTaken),
            created => Ok(created.map(|()| id)?),
        }
    }

    /// Notes a token, and that its owner logged in where they did since the last one. False: there is one as new
    /// already.
    async fn note_login(
        &self,
        tx: &mut Tx,
        token: &VerifiedToken<'_>,
        account: &AccountStanding,
        identity: Uuid,
        before: Option<DateTime<Utc>>,
    ) -> Result<bool> {
        let assertion = &token.assertion;
        // An issuer that does not say when they logged in is taken to mean: when it issued the token.
        let at = assertion.authenticated_at.unwrap_or(assertion.issued_at);
        if !tx.identities().note_token(identity, assertion.issued_at, at).await? {
            return Ok(false);
        }
        if before.is_none_or(|before| before < at) {
            tx.users().record_login(account.account_id).await?;
            let entry = Entry::success(Event::LoginSuccess, &token.origin).by(account.account_id);
            let detail = json!({"issuer": token.trusted.issuer, "second_factor": assertion.second_factor});
            self.record(tx, entry.on("identity", identity).with(detail)).await?;
        }
        Ok(true)
    }

    /// Records that the owner of a good token was let in nowhere: once an hour, however often they try.
    async fn record_refusal(&self, token: &VerifiedToken<'_>, why: &str) -> Result<()> {
        match self.reserve(&[super::identities::refusals(&token.lookup)]).await {
            Err(Error::Throttled(_)) => return Ok(()),
            counted => counted?,
        };
        let mut tx = self.store.begin(Scope::Service(Service::Login)).await?;
        let entry = Entry::failure(Event::IdentityRefused, &token.origin);
        self.record(&mut tx, entry.with(json!({"issuer": token.trusted.issuer, "reason": why}))).await?;
        Ok(tx.commit().await?)
    }
}

impl VerifiedToken<'_> {
    /// The token's digest as it is stored.
    fn token(&self) -> String {
        HEXLOWER.encode(&self.digest)
    }

    /// Whether it is newer than all that came before.
    fn is_news(&self, identity: &IdentityState) -> bool {
        identity.newest_token_at.is_none_or(|newest| newest < self.assertion.issued_at)
    }

    /// What a caller proves with it who they are.
    fn credential(&self, identity: Uuid, account: &AccountStanding) -> ExternalToken {
        let Assertion { issued_at, expires_at, authenticated_at, second_factor, limit, .. } = self.assertion;
        let all = Permissions::from_names(&account.permissions);
        let is_narrowed = limit.is_some_and(|limit| !all.is_subset(limit));
        let digest = self.digest;
        ExternalToken {
            identity,
            digest,
            issued_at,
            expires_at,
            authenticated_at,
            second_factor,
            limit,
            is_narrowed,
        }
    }

    /// Refuses a token that was ended, by itself or with others, or whose account is switched off. Who is off for want
    /// of a role alone may come back with one: there a newer token decides.
    fn live(&self, standing: Option<IdentityStanding>) -> Result<Option<IdentityStanding>> {
        let is_over = |IdentityStanding { identity, account }: &IdentityStanding| {
            let ended = identity.ended_at.is_some_and(|at| self.assertion.issued_at <= at);
            let may_return = identity.role_lost_at.is_some() && self.is_news(identity);
            identity.token_ended || ended || !(account.active || may_return)
        };
        if standing.as_ref().is_some_and(is_over) { Err(REVOKED) } else { Ok(standing) }
    }

    /// Whether it gives another role than the account has.
    fn changes(&self, account: &AccountStanding) -> bool {
        self.trusted.gives_roles() && self.assertion.role.as_ref() != Some(&account.role)
    }
}

/// Refuses what would leave nobody to administer the installation, in words for whom a token is about.
async fn keep_administrator(tx: &mut Tx, losing: Uuid) -> Result<()> {
    keep_one_administrator(tx, losing).await.map_err(|error| match error {
        Error::LastAdministrator => LAST_ADMINISTRATOR,
        error => error,
    })
}
