//! Service accounts: the accounts of programs. They have a name and a role, no password and no session; what they own,
//! such as keys, grants and usage, outlives the person who made them.

use serde_json::json;
use storage::{
    NewServiceAccount, Page, PageRequest, Scope, Service, ServiceAccount, ServiceAccountUpdate, Tx,
};
use uuid::Uuid;

use crate::accounts::directory::{may_give, refuse_more_powerful};
use crate::accounts::legal_holds::refuse_held;
use crate::audit::Entry;
use crate::callers::access::{Permission, Permissions};
use crate::callers::freshness::ChangeSubject;
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::incidents::HeldSubject;
use crate::service::Origin;
use crate::{Auth, Error, Result};

impl Auth {
    /// Service accounts, newest first.
    pub async fn service_accounts(&self, page: &PageRequest) -> Result<Page<ServiceAccount>> {
        let mut tx = self.store.read(Scope::Service(Service::Administration)).await?;
        Ok(tx.service_accounts().list(page).await?)
    }

    /// One service account.
    pub async fn service_account(&self, id: Uuid) -> Result<ServiceAccount> {
        let mut tx = self.store.read(Scope::Service(Service::Administration)).await?;
        tx.service_accounts().find(id).await?.ok_or(Error::NotFound)
    }

    /// Makes one, with a role that may do no more than the actor.
    pub async fn create_service_account(
        &self,
        actor: &Principal,
        name: &str,
        role: &str,
        origin: &Origin,
    ) -> Result<ServiceAccount> {
        let (mut tx, own) = self.begin_administration(actor, Permission::UsersManage).await?;
        may_give(&mut tx, own, role).await?;
        let new =
            NewServiceAccount { id: Uuid::now_v7(), name: name.trim().to_owned(), role: role.to_owned() };
        let account = tx.service_accounts().create(&new).await?;
        let entry = Entry::success(Event::AccountCreated, origin).by(actor.account).on("account", account.id);
        self.record(&mut tx, entry.with(json!({"kind": "service", "role": role}))).await?;
        tx.commit().await?;
        Ok(account)
    }

    /// Changes one; it holds from the next request of its keys.
    pub async fn change_service_account(
        &self,
        actor: &Principal,
        id: Uuid,
        change: ServiceAccountUpdate,
        origin: &Origin,
    ) -> Result<ServiceAccount> {
        let (mut tx, own) = self.begin_service_account(actor, id).await?;
        if let Some(role) = &change.role {
            may_give(&mut tx, own, role).await?;
        }
        let name = change.name.map(|name| name.trim().to_owned());
        let detail = json!({"role": change.role, "active": change.active, "renamed": name.is_some()});
        let update = ServiceAccountUpdate { name, ..change };
        let account = tx.service_accounts().update(id, &update).await?.ok_or(Error::NotFound)?;
        if update.active.is_some() {
            tx.incident_holds().dissolve(&HeldSubject::Account(id).name()).await?;
        }
        let entry = Entry::success(Event::AccountChanged, origin).by(actor.account).on("account", id);
        self.record(&mut tx, entry.with(detail)).await?;
        self.commit_change(tx, &[ChangeSubject::Account(id)]).await?;
        Ok(account)
    }

    /// Deletes one with its keys and grants; usage and the audit trail keep its id.
    pub async fn delete_service_account(&self, actor: &Principal, id: Uuid, origin: &Origin) -> Result<()> {
        let (mut tx, _) = self.begin_service_account(actor, id).await?;
        refuse_held(&mut tx, id).await?;
        tx.service_accounts().delete(id).await?;
        let entry = Entry::success(Event::AccountDeleted, origin).by(actor.account).on("account", id);
        self.record(&mut tx, entry).await?;
        self.commit_change(tx, &[ChangeSubject::Account(id)]).await?;
        self.forget_files(id).await;
        Ok(())
    }

    /// Begins a change of one that may do no more than the actor. Answers what the actor may do.
    async fn begin_service_account(&self, actor: &Principal, id: Uuid) -> Result<(Tx, Permissions)> {
        let (mut tx, own) = self.begin_administration(actor, Permission::UsersManage).await?;
        tx.service_accounts().find(id).await?.ok_or(Error::NotFound)?;
        refuse_more_powerful(&mut tx, own, id).await?;
        Ok((tx, own))
    }
}
