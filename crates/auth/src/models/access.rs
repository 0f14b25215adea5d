//! Who may see and run which model.
//!
//! A model's `model.toml` says whether it is for everyone or for those to whom it was granted; an administrator's
//! setting takes precedence until it is taken back. A grant goes to an account or to a role, and a key may narrow what
//! its owner has.

use std::collections::HashMap;

use parking_lot::RwLock;
use serde_json::json;
use storage::{GrantSubject, Model, ModelAccess, Scope, Service};

use crate::callers::access::Permission;
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::service::Origin;
use crate::{Auth, Error, Result};

/// The access set by administrators, as of a number in the change feed.
#[derive(Default)]
pub(crate) struct ModelAccessCache(RwLock<(i64, HashMap<String, ModelAccess>)>);

impl ModelAccessCache {
    /// Takes over a reading, unless a newer one is known.
    pub fn remember(&self, seen: i64, models: Vec<Model>) {
        let mut known = self.0.write();
        if seen >= known.0 {
            let set = |model: Model| model.access().map(|access| (model.name, access));
            *known = (seen, models.into_iter().filter_map(set).collect());
        }
    }

    /// Has the next reading taken over, whatever its number is.
    pub fn forget_number(&self) {
        self.0.write().0 = i64::MIN;
    }

    fn of(&self, model: &str) -> Option<ModelAccess> {
        self.0.read().1.get(model).copied()
    }
}

/// Who may use a model.
#[derive(Debug)]
pub struct ModelPolicy {
    /// Everyone, or those with a grant.
    pub access: ModelAccess,
    /// Whether an administrator set that, whatever its `model.toml` says.
    pub overridden: bool,
    /// Those with a grant.
    pub grants: Vec<GrantSubject>,
}

impl Auth {
    /// Whether the caller may see and run a model; `declared` is what its `model.toml` says.
    pub fn may_use_model(&self, principal: &Principal, model: &str, declared: ModelAccess) -> bool {
        let everyone = self.model_access.of(model).unwrap_or(declared) == ModelAccess::Everyone;
        principal.reaches(model) && (everyone || principal.is_granted(model))
    }

    /// Who may use a model.
    pub async fn model_policy(&self, model: &str, declared: ModelAccess) -> Result<ModelPolicy> {
        let mut tx = self.store.read(Scope::Service(Service::Models)).await?;
        let set = tx.models().find(model).await?.and_then(|row| row.access());
        let grants = tx.models().grants(model).await?;
        Ok(ModelPolicy { access: set.unwrap_or(declared), overridden: set.is_some(), grants })
    }

    /// Whether something was said of who may use a model, which may be gone.
    pub async fn has_model_policy(&self, model: &str) -> Result<bool> {
        let mut tx = self.store.read(Scope::Service(Service::Models)).await?;
        Ok(tx.models().find(model).await?.is_some())
    }

    /// Sets who may use a model, whatever its `model.toml` says; none: from now on what that says.
    pub async fn set_model_access(
        &self,
        actor: &Principal,
        model: &str,
        access: Option<ModelAccess>,
        origin: &Origin,
    ) -> Result<()> {
        let (mut tx, _) = self.begin_administration(actor, Permission::ModelsManage).await?;
        tx.models().set_access(model, access).await?;
        let detail = json!({"model": model, "access": access.map(ModelAccess::name)});
        self.commit_policy(tx, Event::ModelPolicyChanged, actor, detail, origin).await
    }

    /// Grants a model to an account or a role; granting it again changes nothing.
    pub async fn grant_model(
        &self,
        actor: &Principal,
        model: &str,
        subject: &GrantSubject,
        origin: &Origin,
    ) -> Result<()> {
        let (mut tx, _) = self.begin_administration(actor, Permission::ModelsManage).await?;
        let known = match subject {
            GrantSubject::Account(id) => tx.accounts().standing(*id).await?.is_some(),
            GrantSubject::Role(name) => tx.roles().find(name).await?.is_some(),
        };
        if !known {
            return Err(Error::invalid("subject", "there is no such account or role"));
        }
        tx.models().add(model).await?;
        tx.models().grant(model, subject).await?;
        let detail = json!({"model": model, "granted_to": describe(subject)});
        self.commit_policy(tx, Event::ModelPolicyChanged, actor, detail, origin).await
    }

    /// Removes a grant.
    pub async fn revoke_grant(
        &self,
        actor: &Principal,
        model: &str,
        subject: &GrantSubject,
        origin: &Origin,
    ) -> Result<()> {
        let (mut tx, _) = self.begin_administration(actor, Permission::ModelsManage).await?;
        if !tx.models().revoke_grant(model, subject).await? {
            return Err(Error::NotFound);
        }
        let detail = json!({"model": model, "revoked_from": describe(subject)});
        self.commit_policy(tx, Event::ModelPolicyChanged, actor, detail, origin).await
    }
}

fn describe(subject: &GrantSubject) -> String {
    match subject {
        GrantSubject::Account(id) => format!("account:{id}"),
        GrantSubject::Role(name) => format!("role:{name}"),
    }
}
