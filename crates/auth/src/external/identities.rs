//! Identities at other issuers: listed by their owners, linked and unlinked by administrators.

use std::time::Duration;

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use storage::{AccountStanding, Identity, IdentityState, Scope, SealedColumn, Service, Tx};
use uuid::Uuid;

use crate::accounts::directory::refuse_more_powerful;
use crate::audit::Entry;
use crate::callers::access::{Permission, Permissions};
use crate::callers::freshness::ChangeSubject;
use crate::callers::principal::{ExternalToken, Principal};
use crate::events::Event;
use crate::limits::Window;
use crate::mail::notices::NoticeKind;
use crate::service::Origin;
use crate::{Auth, Error, Result};

/// Identities that one account may have.
const MOST: i64 = 10;
/// How long the tokens of an identity that was removed are remembered as ended: longer than any is good.
const REMOVED_FOR: chrono::Duration = chrono::Duration::days(8);
/// Refusals of one identity that are recorded in an hour.
const REFUSALS_PER_HOUR: u32 = 1;

/// An identity at another issuer that belongs to an account here.
pub struct ExternalIdentity {
    /// Its id here.
    pub id: Uuid,
    /// Who vouches for it.
    pub issuer: String,
    /// Who it is there.
    pub subject: String,
    /// When it became this account's.
    pub created_at: DateTime<Utc>,
    /// When a token of it came that was newer than all before; none before the first.
    pub last_seen_at: Option<DateTime<Utc>>,
}

impl Auth {
    /// The caller's own identities, oldest first.
    pub async fn own_identities(&self, principal: &Principal) -> Result<Vec<ExternalIdentity>> {
        principal.require_person()?;
        let mut tx = self.store.read(Scope::Account(principal.account)).await?;
        self.open_identities(tx.identities().list(principal.account, MOST).await?)
    }

    /// The identities of a person, oldest first.
    pub async fn identities_of(&self, account: Uuid) -> Result<Vec<ExternalIdentity>> {
        let mut tx = self.store.read(Scope::Service(Service::Administration)).await?;
        tx.users().find(account).await?.ok_or(Error::NotFound)?;
        self.open_identities(tx.identities().list(account, MOST).await?)
    }

    /// Links an identity to a person, who can log in with it from now on; its issuer must be trusted. They get a
    /// notice: it is as good as a password.
    pub async fn link_identity(
        &self,
        actor: &Principal,
        account: Uuid,
        issuer: &str,
        subject: &str,
        origin: &Origin,
    ) -> Result<ExternalIdentity> {
        if self.external.find(issuer).is_none() {
            return Err(Error::invalid("issuer", "there is no such issuer in OIDC_ISSUERS_FILE"));
        }
        let (mut tx, own) = self.begin_administration(actor, Permission::UsersManage).await?;
        refuse_more_powerful(&mut tx, own, account).await?;
        tx.users().find(account).await?.ok_or(Error::NotFound)?;
        if i64::try_from(tx.identities().list(account, MOST).await?.len()).is_ok_and(|count| count >= MOST) {
            return Err(Error::Refused("the account has as many identities as it may; unlink one first"));
        }
        // One's own leads to whatever one may do later.
        let lacked = Permissions::all().without(own);
        let lacked = (actor.account != account).then_some(lacked);
        let id = self.add_identity(&mut tx, account, issuer, subject, lacked).await?;
        let entry = Entry::success(Event::IdentityLinked, origin).by(actor.account).on("account", account);
        self.record(&mut tx, entry.with(recorded(id, issuer))).await?;
        self.notify(&mut tx, account, NoticeKind::IdentityLinked).await?;
        let created_at = tx.now();
        tx.commit().await?;
        let (issuer, subject) = (issuer.to_owned(), subject.to_owned());
        Ok(ExternalIdentity { id, issuer, subject, created_at, last_seen_at: None })
    }

    /// Unlinks an identity from a person: its tokens lead to their account no more.
    pub async fn unlink_identity(
        &self,
        actor: &Principal,
        account: Uuid,
        identity: Uuid,
        origin: &Origin,
    ) -> Result<()> {
        let (mut tx, own) = self.begin_administration(actor, Permission::UsersManage).await?;
        refuse_more_powerful(&mut tx, own, account).await?;
        let all = tx.identities().list(account, MOST).await?;
        let removed = all.iter().find(|one| one.id == identity).ok_or(Error::NotFound)?;
        let until = tx.now() + REMOVED_FOR;
        tx.identities().remove(account, Some(identity), until).await?;
        let entry = Entry::success(Event::IdentityUnlinked, origin).by(actor.account).on("account", account);
        self.record(&mut tx, entry.with(recorded(identity, &removed.issuer))).await?;
        self.notify(&mut tx, account, NoticeKind::IdentityUnlinked).await?;
        self.commit_change(tx, &[ChangeSubject::Identity(identity)]).await
    }

    /// Whether what a person may do is decided at one of their issuers.
    pub(crate) async fn is_role_given(&self, tx: &mut Tx, account: Uuid) -> Result<bool> {
        let identities = tx.identities().list(account, MOST).await?;
        Ok(identities.iter().any(|one| self.external.gives_roles(&one.issuer)))
    }

    /// Whether an identity was linked by somebody who could not touch its account as it is now: or linking would lead to
    /// what others are given later. Where its issuer gives roles, it is the issuer who says what the account may do.
    pub(crate) fn is_outgrown(&self, identity: &IdentityState, account: &AccountStanding) -> bool {
        let lacked = identity.linker_lacked.as_ref().map(Permissions::from_names).unwrap_or_default();
        let may = Permissions::from_names(&account.permissions);
        may.intersection(lacked) != Permissions::default() && !self.external.gives_roles(&identity.issuer)
    }

    /// Ends one token of another issuer, wherever copies of it are.
    pub(crate) async fn end_external(
        &self,
        account: Uuid,
        token: &ExternalToken,
        reason: &str,
        origin: &Origin,
    ) -> Result<()> {
        let mut tx = self.store.begin(Scope::Account(account)).await?;
        let digest = HEXLOWER.encode(&token.digest);
        if !tx.identities().end_token(account, &digest, token.expires_at).await? {
            drop(tx);
            self.outlast_confirmations().await;
            return Ok(());
        }
        let entry = Entry::success(Event::SessionEnded, origin).by(account).on("identity", token.identity);
        self.record(&mut tx, entry.with(json!({"reason": reason}))).await?;
        self.commit_change(tx, &[ChangeSubject::Identity(token.identity)]).await
    }

    /// Opens what is stored of identities.
    pub(crate) fn open_identities(&self, identities: Vec<Identity>) -> Result<Vec<ExternalIdentity>> {
        let open = |one: Identity| {
            let subject = self.encryption.open_text(&subject_place(one.id), &one.subject)?;
            let Identity { id, issuer, created_at, last_seen_at, .. } = one;
            Ok(ExternalIdentity { id, issuer, subject, created_at, last_seen_at })
        };
        identities.into_iter().map(open).collect()
    }
}

/// An identity as the events of its account tell of it.
fn recorded(identity: Uuid, issuer: &str) -> Value {
    json!({"issuer": issuer, "identity": identity})
}

/// Removes all identities of an account that goes. Who they were is remembered, as a digest and for a while: or the
/// next token from before would make the account anew.
pub(crate) async fn remove_all(tx: &mut Tx, account: Uuid) -> Result<()> {
    let until = tx.now() + REMOVED_FOR;
    tx.identities().remove(account, None, until).await?;
    Ok(())
}

/// Where a subject is sealed for.
pub(super) fn subject_place(identity: Uuid) -> String {
    SealedColumn::IdentitySubject.place(identity)
}

/// The window in which refusals of an identity are recorded.
pub(super) fn refusals(lookup: &str) -> Window {
    let key = format!("window:identity:{lookup}");
    Window { name: "identity", key, limit: REFUSALS_PER_HOUR, period: Duration::from_secs(3600) }
}
