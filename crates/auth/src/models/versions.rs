//! Versions of models that are added and removed while servers run.

use serde_json::json;
use storage::{DesiredModel, ModelFile, ModelSource};

use super::lifecycle::{CHANGE, desired};
use crate::callers::access::Permission;
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::service::Origin;
use crate::{Auth, Error, Result};

/// A version that was added.
#[derive(Clone, Copy, Debug)]
pub struct AddedVersion<'a> {
    /// The model.
    pub name: &'a str,
    /// The version.
    pub version: &'a str,
    /// The files of the version.
    pub files: &'a [ModelFile],
    /// Where every replica can have them; empty where they came with the request or from a disk.
    pub sources: &'a [ModelSource],
}

impl Auth {
    /// Has a version wait for its activation on every replica, where something of the model is served; otherwise loading is
    /// enough. To be called before its files are put into their place. `serving` is the version that answers calls now, `actor` none on the command
    /// line. Answers whether it waits from now on and did not before.
    pub async fn hold_model_version(
        &self,
        actor: Option<&Principal>,
        name: &str,
        version: &str,
        serving: Option<&str>,
    ) -> Result<bool> {
        let mut tx = self.begin_operation(actor, Permission::ModelsManage).await?;
        let mut model = desired(&mut tx, name).await?;
        let is_served = serving.is_some() || model.active_version.is_some();
        let waits = is_served && model.active_version.as_deref() != Some(version);
        let is_new =
            if waits { model.waiting.insert(version.to_owned()) } else { model.waiting.remove(version) };
        if is_new {
            tx.models().desire(&model).await?;
            tx.changes().append(CHANGE, name).await?;
        }
        tx.commit().await?;
        Ok(waits && is_new)
    }

    /// Takes that back: the version was not added after all.
    pub async fn release_model_version(
        &self,
        actor: Option<&Principal>,
        name: &str,
        version: &str,
    ) -> Result<()> {
        let mut tx = self.begin_operation(actor, Permission::ModelsManage).await?;
        let mut model = desired(&mut tx, name).await?;
        if model.waiting.remove(version) {
            tx.models().desire(&model).await?;
            tx.changes().append(CHANGE, name).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Registers an added version for every replica. `actor` is none on the command line.
    pub async fn commit_model_version(
        &self,
        actor: Option<&Principal>,
        added: AddedVersion<'_>,
        origin: &Origin,
    ) -> Result<()> {
        let AddedVersion { name, version, files, sources } = added;
        let mut tx = self.begin_operation(actor, Permission::ModelsManage).await?;
        tx.models().forget_files(name, version).await?;
        tx.model_sources().forget(name, version).await?;
        for file in files {
            tx.models().remember_file(file).await?;
        }
        for source in sources {
            tx.model_sources().remember(source).await?;
        }
        let describe = |file: &ModelFile| json!({"version": file.version, "sha256": file.sha256});
        let detail = json!({"model": name, "files": files.iter().map(describe).collect::<Vec<_>>()});
        self.commit_model(tx, Event::ModelVersionAdded, actor, name, detail, origin).await.map(drop)
    }

    /// Forgets a version that is being removed. [`Error::ModelChanged`]: it is active. A roll back does not
    /// go to it any more.
    pub async fn commit_model_removal(
        &self,
        actor: &Principal,
        name: &str,
        version: &str,
        origin: &Origin,
    ) -> Result<()> {
        let mut tx = self.begin_operation(Some(actor), Permission::ModelsManage).await?;
        let before = desired(&mut tx, name).await?;
        if before.active_version.as_deref() == Some(version) && !before.unloaded {
            return Err(Error::ModelChanged);
        }
        let forgotten = |kept: Option<String>| kept.filter(|kept| kept != version);
        let mut after = DesiredModel {
            active_version: forgotten(before.active_version.clone()),
            previous_version: forgotten(before.previous_version.clone()),
            ..before.clone()
        };
        after.waiting.remove(version);
        tx.models().forget_files(name, version).await?;
        if tx.model_sources().forget(name, version).await? > 0 {
            // Replicas with a repository of their own may have it for a while.
            after.waiting.insert(version.to_owned());
        }
        if after != before {
            tx.models().desire(&after).await?;
        }
        let detail = json!({"model": name, "version": version});
        self.commit_model(tx, Event::ModelVersionRemoved, Some(actor), name, detail, origin).await.map(drop)
    }
}
