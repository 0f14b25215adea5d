//! Administration of people's accounts.

use serde_json::json;
use storage::{Page, PageRequest, Scope, Service, UserUpdate};
use uuid::Uuid;

use crate::accounts::legal_holds::refuse_held;
use crate::accounts::people::Person;
use crate::audit::{Entry, subject};
use crate::callers::access::{Permission, Permissions, Role};
use crate::callers::freshness::ChangeSubject;
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::external::remove_all;
use crate::incidents::{HeldSubject, forget_whereabouts};
use crate::limits::rules::Allowance;
use crate::service::Origin;
use crate::{Auth, Error, Result};

/// What to change about an account; what is none stays.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    /// The name of a role.
    pub role: Option<String>,
    /// Whether the account may be used at all.
    pub active: Option<bool>,
    /// The name to show.
    pub name: Option<String>,
    /// Its rate limits; an inner none removes them.
    pub limits: Option<Option<Allowance>>,
}

impl Auth {
    /// People's accounts, newest first; with `search`, those of whom it is a part of the address or the name.
    pub async fn users(&self, search: Option<&str>, page: &PageRequest) -> Result<Page<Person>> {
        if let Some(text) = search.filter(|text| !text.is_empty()) {
            return self.search_people(text, page).await;
        }
        let mut tx = self.store.read(Scope::Service(Service::Administration)).await?;
        self.open_people(tx.users().list(page).await?)
    }

    /// One person's account.
    pub async fn user(&self, id: Uuid) -> Result<Person> {
        let mut tx = self.store.read(Scope::Service(Service::Administration)).await?;
        self.open_person(tx.users().find(id).await?.ok_or(Error::NotFound)?)
    }

    /// Changes an account; it holds from the next request.
    pub async fn change_user(
        &self,
        actor: &Principal,
        id: Uuid,
        change: UserChange,
        origin: &Origin,
    ) -> Result<Person> {
        let (mut tx, own) = self.begin_administration(actor, Permission::UsersManage).await?;
        self.refuse_change(&mut tx, own, id, &change).await?;
        let detail = json!({"role": change.role, "active": change.active, "renamed": change.name.is_some()});
        let name = change.name.map(|name| self.seal_name(id, &name)).transpose()?;
        let update = UserUpdate { role: change.role, active: change.active, name };
        let user = tx.users().update(id, &update).await?.ok_or(Error::NotFound)?;
        if let Some(active) = update.active {
            follow_switch(&mut tx, id, active).await?;
        }
        let entry = Entry::success(Event::AccountChanged, origin).by(actor.account).on("account", id);
        self.record(&mut tx, entry.with(detail)).await?;
        if let Some(limits) = change.limits {
            self.change_account_limit(&mut tx, actor, own, id, limits, origin).await?;
        }
        self.commit_change(tx, &[ChangeSubject::Account(id)]).await?;
        if change.limits.is_some() {
            self.renew_limits().await;
        }
        self.open_person(user)
    }

    /// Refuses a change that the actor may not make, or nobody.
    async fn refuse_change(
        &self,
        tx: &mut storage::Tx,
        own: Permissions,
        id: Uuid,
        change: &UserChange,
    ) -> Result<()> {
        refuse_more_powerful(tx, own, id).await?;
        if let Some(role) = &change.role {
            may_give(tx, own, role).await?;
            let account = tx.accounts().standing(id).await?.ok_or(Error::NotFound)?;
            if *role != account.role && self.is_role_given(tx, id).await? {
                return Err(Error::Refused("the provider of this account decides its role; change it there"));
            }
        }
        let loses_admin = change.active == Some(false)
            || change.role.as_deref().is_some_and(|role| role != Role::Admin.name());
        if loses_admin { keep_one_administrator(tx, id).await } else { Ok(()) }
    }

    /// Erases a person: their account goes with everything that is theirs. Usage and the audit trail keep its id, and
    /// the trail's events stay valid byte for byte.
    pub async fn delete_user(&self, actor: &Principal, id: Uuid, origin: &Origin) -> Result<()> {
        let (mut tx, own) = self.begin_administration(actor, Permission::UsersManage).await?;
        refuse_more_powerful(&mut tx, own, id).await?;
        erase(&mut tx, id).await?;
        let entry = Entry::success(Event::AccountDeleted, origin).by(actor.account).on("account", id);
        self.record(&mut tx, entry).await?;
        self.commit_change(tx, &[ChangeSubject::Account(id)]).await?;
        self.forget_files(id).await;
        Ok(())
    }

    /// Erases the caller in the same way.
    pub async fn erase_own(&self, principal: &Principal, origin: &Origin) -> Result<()> {
        principal.require_whole_person()?;
        let (mut tx, id) = (self.begin_leaving(principal).await?, principal.account);
        erase(&mut tx, id).await?;
        // The event of the erasure must not keep the person's address.
        let nowhere = Origin { address: None, ..origin.clone() };
        let entry = Entry::success(Event::AccountDeleted, &nowhere).by(id).on("account", id);
        self.record(&mut tx, entry).await?;
        self.commit_change(tx, &[ChangeSubject::Account(id)]).await?;
        self.forget_files(id).await;
        Ok(())
    }
}

/// What goes with an account that is switched on or off by hand.
async fn follow_switch(tx: &mut storage::Tx, id: Uuid, active: bool) -> Result<()> {
    if !active {
        tx.sessions().revoke_all(id, None, "account_disabled").await?;
    }
    // Their tokens do not carry the security version, which has just changed.
    tx.identities().end_tokens(id).await?;
    // A change by hand is final: undoing an answer to an incident no longer switches the account.
    tx.incident_holds().dissolve(&HeldSubject::Account(id).name()).await?;
    Ok(())
}

async fn erase(tx: &mut storage::Tx, id: Uuid) -> Result<()> {
    refuse_held(tx, id).await?;
    keep_one_administrator(tx, id).await?;
    remove_all(tx, id).await?;
    tx.one_time_tokens().forget_address_of(id).await?;
    tx.outbox().forget_address_of(id).await?;
    if !tx.users().delete(id).await? {
        return Err(Error::NotFound);
    }
    tx.audit().erase_subject(id, &subject("account", id)).await?;
    forget_whereabouts(tx, id).await
}

/// Refuses to change an account with more permissions than the actor, or `users:manage` would lead to every permission.
/// Answers what it may do.
pub(crate) async fn refuse_more_powerful(
    tx: &mut storage::Tx,
    own: Permissions,
    account: Uuid,
) -> Result<Permissions> {
    let account = tx.accounts().standing(account).await?.ok_or(Error::NotFound)?;
    let permissions = Permissions::from_names(&account.permissions);
    if permissions.is_subset(own) {
        Ok(permissions)
    } else {
        Err(Error::Refused("this account may do more than you may"))
    }
}

/// Refuses to set bounds to the accounts of a role that may do more than the actor.
pub(crate) async fn refuse_more_powerful_role(
    tx: &mut storage::Tx,
    own: Permissions,
    role: &str,
) -> Result<()> {
    let role = tx.roles().find(role).await?.ok_or(Error::NotFound)?;
    if Permissions::from_names(&role.permissions).is_subset(own) {
        Ok(())
    } else {
        Err(Error::Refused("this role may do more than you may"))
    }
}

/// Refuses to give a role that there is not, or that may do more than the actor.
pub(crate) async fn may_give(tx: &mut storage::Tx, own: Permissions, role: &str) -> Result<()> {
    let unknown = || Error::invalid("role", "there is no role of this name");
    let role = tx.roles().find(role).await?.ok_or_else(unknown)?;
    if Permissions::from_names(&role.permissions).is_subset(own) {
        Ok(())
    } else {
        Err(Error::Refused("nobody can give a role that may do more than they may themselves"))
    }
}

/// Refuses to take the last active administrator away; such changes wait for each other already.
pub(crate) async fn keep_one_administrator(tx: &mut storage::Tx, losing: Uuid) -> Result<()> {
    let is_one = tx
        .accounts()
        .standing(losing)
        .await?
        .is_some_and(|account| account.active && account.role == Role::Admin.name());
    if is_one && tx.users().other_active_administrators(losing).await? == 0 {
        return Err(Error::LastAdministrator);
    }
    Ok(())
}
