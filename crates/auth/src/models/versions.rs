//! Versions of models that are added and removed while servers run.

use serde_json::json;
use storage::{DesiredModel, ModelFile, ModelSource};

use super::lifecycle::{CHANGE, desired};
use crate::callers::access::Permission;
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::service::Origin;
use crate::{Auth, Error, Result};

/// Versions of a model that wait or were removed; beyond, those that were removed before are forgotten, and served again
/// by a replica that was away since and has their files.
const MAX_WAITING: usize = 1000;

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
    /// Has a version wait for its activation on every replica; to be called before its files are put into their place.
    /// `actor` is none on the command line. Answers whether it waits from now on and did not before.
    pub async fn hold_model_version(
        &self,
        actor: Option<&Principal>,
        name: &str,
        version: &str,
    ) -> Result<bool> {
        let (mut tx, _) = self.begin_operation(actor, Permission::ModelsManage).await?;
        let mut model = desired(&mut tx, name).await?;
        let is_active = model.active_version.as_deref() == Some(version);
        let is_new = !is_active && model.waiting.insert(version.to_owned());
        if is_new {
            tx.models().set_waiting(name, &model.waiting).await?;
            tx.changes().append(CHANGE, name).await?;
        }
        tx.commit().await?;
        Ok(is_new)
    }

    /// Takes that back: the version was not added after all, unless somebody else did. No change of the caller's, who may
    /// be nobody by now.
    pub async fn release_model_version(&self, name: &str, version: &str) -> Result<()> {
        let mut tx = self.begin_exclusive().await?;
        let mut model = desired(&mut tx, name).await?;
        let was_added = tx.models().files_of(name).await?.iter().any(|file| file.version == version);
        if !was_added && model.waiting.remove(version) {
            tx.models().set_waiting(name, &model.waiting).await?;
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
        let (mut tx, _) = self.begin_operation(actor, Permission::ModelsManage).await?;
        let mut model = desired(&mut tx, name).await?;
        // Somebody else may have given up the same version meanwhile.
        if model.active_version.as_deref() != Some(version) && model.waiting.insert(version.to_owned()) {
            tx.models().set_waiting(name, &model.waiting).await?;
        }
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

    /// Forgets a version that is being removed. [`Error::ModelChanged`]: it is active. A roll back does not go to it any
    /// more, and no replica serves it, whether or not it has its files still.
    pub async fn commit_model_removal(
        &self,
        actor: &Principal,
        name: &str,
        version: &str,
        origin: &Origin,
    ) -> Result<()> {
        let (mut tx, _) = self.begin_operation(Some(actor), Permission::ModelsManage).await?;
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
        tx.models().forget_files(name, version).await?;
        tx.model_sources().forget(name, version).await?;
        if after.waiting.len() >= MAX_WAITING {
            let files = tx.models().files_of(name).await?;
            after.waiting.retain(|waiting| files.iter().any(|file| file.version == *waiting));
        }
        after.waiting.insert(version.to_owned());
        if (&after.active_version, &after.previous_version)
            != (&before.active_version, &before.previous_version)
        {
            tx.models().desire(&after).await?;
        } else if after != before {
            tx.models().set_waiting(name, &after.waiting).await?;
        }
        let detail = json!({"model": name, "version": version});
        self.commit_model(tx, Event::ModelVersionRemoved, Some(actor), name, detail, origin).await.map(drop)
    }
}
