//! Custom roles: made, changed and removed with `roles:manage`, and never with more than the actor's own permissions.

use serde_json::json;
use storage::{Role, Scope, Service, Tx};

use crate::callers::access::{Permission, Permissions};
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::limits::rules;
use crate::service::Origin;
use crate::{Auth, Error, Result};

impl Auth {
    /// Every role, by name.
    pub async fn roles(&self) -> Result<Vec<Role>> {
        let mut tx = self.store.read(Scope::Service(Service::Administration)).await?;
        Ok(tx.roles().list().await?)
    }

    /// Makes a role.
    pub async fn create_role(
        &self,
        actor: &Principal,
        name: &str,
        permissions: &[String],
        origin: &Origin,
    ) -> Result<Role> {
        let (mut tx, own) = self.begin_administration(actor, Permission::RolesManage).await?;
        within(own, permissions)?;
        match tx.roles().create(name, permissions).await {
            Err(storage::Error::Conflict) => return Err(Error::RoleTaken),
            other => other?,
        }
        self.commit_role(tx, actor, name, permissions, origin).await
    }

    /// Changes a role's permissions; the change holds from the next request.
    pub async fn change_role(
        &self,
        actor: &Principal,
        name: &str,
        permissions: &[String],
        origin: &Origin,
    ) -> Result<Role> {
        let (mut tx, own) = self.begin_administration(actor, Permission::RolesManage).await?;
        let before = own_role(tx.roles().find(name).await?)?;
        within(own, permissions)?;
        within(own, &before.permissions)?;
        // What is the same ends no links.
        if Permissions::from_names(permissions) != Permissions::from_names(&before.permissions) {
            tx.roles().update(name, permissions).await?;
        }
        self.commit_role(tx, actor, name, permissions, origin).await
    }

    async fn commit_role(
        &self,
        mut tx: Tx,
        actor: &Principal,
        name: &str,
        permissions: &[String],
        origin: &Origin,
    ) -> Result<Role> {
        let role = tx.roles().find(name).await?.ok_or(Error::NotFound)?;
        let detail = json!({"role": name, "permissions": permissions});
        self.commit_policy(tx, Event::RoleChanged, actor, detail, origin).await?;
        Ok(role)
    }

    /// Removes a role that no account has.
    pub async fn delete_role(&self, actor: &Principal, name: &str, origin: &Origin) -> Result<()> {
        let (mut tx, own) = self.begin_administration(actor, Permission::RolesManage).await?;
        within(own, &own_role(tx.roles().find(name).await?)?.permissions)?;
        if !tx.roles().delete(name).await? {
            return Err(Error::RoleInUse);
        }
        // Its limits go with it.
        tx.changes().append(rules::CHANGE, "").await?;
        let detail = json!({"role": name, "deleted": true});
        self.commit_policy(tx, Event::RoleChanged, actor, detail, origin).await?;
        self.renew_limits().await;
        Ok(())
    }
}

/// Refuses to change a built-in role.
fn own_role(role: Option<Role>) -> Result<Role> {
    let role = role.ok_or(Error::NotFound)?;
    if role.built_in {
        Err(Error::Refused("a built-in role cannot be changed; make one of your own"))
    } else {
        Ok(role)
    }
}

/// Refuses permissions that the actor does not have, to give or to remove.
fn within(own: Permissions, permissions: &[String]) -> Result<()> {
    let unknown = permissions.iter().filter(|name| name.parse::<Permission>().is_err());
    let mut messages: Vec<String> = unknown.map(|name| format!("there is no permission {name:?}")).collect();
    let beyond = Permissions::from_names(permissions).iter().filter(|permission| !own.contains(*permission));
    messages.extend(beyond.map(|permission| format!("{permission} is more than you may do yourself")));
    if messages.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid([("permissions".to_owned(), messages)].into()))
    }
}
