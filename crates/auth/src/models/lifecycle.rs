//! The desired state of models: set by an administrator or on the command line, kept in the database, followed by every
//! replica.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use storage::{DesiredModel, ModelFile, ModelSource, Scope, Service, Tx};

use crate::audit::Entry;
use crate::callers::access::Permission;
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::service::Origin;
use crate::{Auth, Error, Result};

/// The kind in the change feed; the subject is the model's name.
pub(crate) const CHANGE: &str = "model";

/// A change of a model's desired state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelChange {
    /// Serve it, read from disk afresh.
    Load {
        /// Its files may be others than those that were served first.
        accept_changes: bool,
    },
    /// Serve no version of it.
    Unload,
    /// Let a version answer calls that name none; without one: what the model's own file says.
    Activate(Option<String>),
    /// Go back to the version that was active before; going back twice is going forth again.
    RollBack,
}

/// What a change would make of a model.
#[derive(Clone, Debug)]
pub struct PlannedChange {
    /// Its desired state after the change.
    pub desired: DesiredModel,
    /// What its files had to be when this was planned.
    remembered: Vec<ModelFile>,
}

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

impl ModelChange {
    const fn event(&self) -> Event {
        match self {
            Self::Load { .. } => Event::ModelLoaded,
            Self::Unload => Event::ModelUnloaded,
            Self::Activate(_) => Event::ModelActivated,
            Self::RollBack => Event::ModelRolledBack,
        }
    }

    /// The desired state after this change; `before` is the present one, `serving` the version that answers now.
    fn apply(&self, before: DesiredModel, serving: Option<&str>) -> Result<DesiredModel> {
        let current = before.active_version.clone().or_else(|| serving.map(str::to_owned));
        Ok(match self {
            Self::Load { .. } => DesiredModel { unloaded: false, loads: before.loads + 1, ..before },
            Self::Unload => DesiredModel { unloaded: true, ..before },
            Self::Activate(version) => {
                let stays = *version == current;
                let previous = if stays { before.previous_version.clone() } else { current };
                DesiredModel {
                    unloaded: false,
                    active_version: version.clone(),
                    previous_version: previous,
                    ..before
                }
            }
            Self::RollBack => {
                let back = before.previous_version.clone().ok_or(Error::NoPreviousVersion)?;
                DesiredModel {
                    unloaded: false,
                    active_version: Some(back),
                    previous_version: current,
                    ..before
                }
            }
        })
    }
}

impl Auth {
    /// The desired state of every model that has one in the database.
    pub async fn desired_models(&self) -> Result<Vec<DesiredModel>> {
        let mut tx = self.store.read(Scope::Service(Service::Models)).await?;
        Ok(tx.models().desired().await?.0)
    }

    /// The same for the program itself, which asks beside the requests, and the number of the last change that it takes
    /// account of.
    pub async fn follow_desired_models(&self) -> Result<(Vec<DesiredModel>, i64)> {
        let mut tx = self.store.read(Scope::Service(Service::Upkeep)).await?;
        Ok(tx.models().desired().await?)
    }

    /// A model's desired state after a change, which is not made yet. `serving` is the version that answers calls now.
    pub async fn plan_model_change(
        &self,
        name: &str,
        change: &ModelChange,
        serving: Option<&str>,
    ) -> Result<PlannedChange> {
        let mut tx = self.store.read(Scope::Service(Service::Models)).await?;
        let desired = change.apply(desired(&mut tx, name).await?, serving)?;
        Ok(PlannedChange { desired, remembered: tx.models().files_of(name).await? })
    }

    /// Makes what was planned the desired state, for every replica. `actor` is none on the command line; `accepted` are
    /// files that count from now on as those that were served first under their versions. Answers the number of the
    /// change: a higher one supersedes it. [`Error::ModelChanged`]: somebody else was faster, be it with removing a version.
    pub async fn commit_model_change(
        &self,
        actor: Option<&Principal>,
        change: &ModelChange,
        serving: Option<&str>,
        planned: &PlannedChange,
        accepted: &[ModelFile],
        origin: &Origin,
    ) -> Result<i64> {
        let mut tx = self.begin_operation(actor, Permission::ModelsManage).await?;
        let PlannedChange { desired: planned, remembered } = planned;
        let present = tx.models().files_of(&planned.name).await?;
        let removed = remembered.iter().any(|file| !present.contains(file));
        if removed || change.apply(desired(&mut tx, &planned.name).await?, serving)? != *planned {
            return Err(Error::ModelChanged);
        }
        tx.models().desire(planned).await?;
        for version in accepted.iter().map(|file| &file.version).collect::<BTreeSet<_>>() {
            tx.models().forget_files(&planned.name, version).await?;
        }
        for file in accepted {
            tx.models().remember_file(file).await?;
        }
        let detail = json!({
            "model": planned.name,
            "active_version": planned.active_version,
            "previous_version": planned.previous_version,
            "accepted": accepted.iter().map(|file| json!({"version": file.version, "file": file.file, "sha256": file.sha256})).collect::<Vec<_>>(),
        });
        self.commit_model(tx, change.event(), actor, &planned.name, detail, origin).await
    }

    /// Registers an added version for every replica. The version that answers calls stays the same: without a desired
    /// state, the one that is `serving` becomes the active one. `actor` is none on the command line.
    pub async fn commit_model_version(
        &self,
        actor: Option<&Principal>,
        added: AddedVersion<'_>,
        serving: Option<&str>,
        origin: &Origin,
    ) -> Result<()> {
        let AddedVersion { name, version, files, sources } = added;
        let mut tx = self.begin_operation(actor, Permission::ModelsManage).await?;
        let before = desired(&mut tx, name).await?;
        if before.active_version.is_none() && serving.is_some() {
            let active_version = serving.map(str::to_owned);
            tx.models().desire(&DesiredModel { active_version, ..before }).await?;
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
        let after = DesiredModel {
            active_version: forgotten(before.active_version.clone()),
            previous_version: forgotten(before.previous_version.clone()),
            ..before.clone()
        };
        if after != before {
            tx.models().desire(&after).await?;
        }
        tx.models().forget_files(name, version).await?;
        tx.model_sources().forget(name, version).await?;
        let detail = json!({"model": name, "version": version});
        self.commit_model(tx, Event::ModelVersionRemoved, Some(actor), name, detail, origin).await.map(drop)
    }

    async fn commit_model(
        &self,
        mut tx: Tx,
        event: Event,
        actor: Option<&Principal>,
        name: &str,
        detail: Value,
        origin: &Origin,
    ) -> Result<i64> {
        let entry = Entry::success(event, origin).with(detail);
        self.record(&mut tx, entry.by_optional(actor)).await?;
        let number = tx.changes().append(CHANGE, name).await?;
        tx.commit().await?;
        Ok(number)
    }

    /// Records that a change was tried and the model could not be loaded.
    pub async fn note_model_refusal(
        &self,
        actor: &Principal,
        model: &str,
        change: &ModelChange,
        reason: &str,
        origin: &Origin,
    ) -> Result<()> {
        let (mut tx, _) = self.begin_administration(actor, Permission::ModelsManage).await?;
        let detail = json!({"model": model, "reason": reason});
        let entry = Entry::failure(change.event(), origin).by(actor.account).with(detail);
        self.record(&mut tx, entry).await?;
        Ok(tx.commit().await?)
    }

    /// The files of every version as they were when it was served first.
    pub async fn model_files(&self) -> Result<Vec<ModelFile>> {
        let mut tx = self.store.read(Scope::Service(Service::Upkeep)).await?;
        Ok(tx.models().files().await?)
    }

    /// Where the files of versions come from that were added by an address.
    pub async fn model_sources(&self) -> Result<Vec<ModelSource>> {
        let mut tx = self.store.read(Scope::Service(Service::Upkeep)).await?;
        Ok(tx.model_sources().list().await?)
    }

    /// Remembers files of versions that are served for the first time.
    pub async fn remember_model_files(&self, files: &[ModelFile]) -> Result<()> {
        let mut tx = self.store.begin(Scope::Service(Service::Upkeep)).await?;
        for file in files {
            tx.models().remember_file(file).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Records that a file of a served version changed since it was loaded.
    pub async fn note_model_violation(&self, loaded: &ModelFile, found: Option<&str>) -> Result<()> {
        let mut tx = self.store.begin(Scope::Service(Service::Audit)).await?;
        let detail = json!({
            "model": loaded.name,
            "version": loaded.version,
            "file": loaded.file,
            "expected": loaded.sha256,
            "found": found,
        });
        let origin = Origin::default();
        self.record(&mut tx, Entry::failure(Event::ModelFileChanged, &origin).with(detail)).await?;
        Ok(tx.commit().await?)
    }

    /// Has a model that ended a server unloaded on every replica, until somebody loads it again: it would end the next
    /// one, too. `version` is the one that ran.
    pub async fn unload_model_that_ended(&self, name: &str, version: &str) -> Result<()> {
        let mut tx = self.begin_exclusive().await?;
        let before = desired(&mut tx, name).await?;
        tx.models().desire(&DesiredModel { unloaded: true, ..before }).await?;
        let detail = json!({"model": name, "version": version});
        let origin = Origin::default();
        self.record(&mut tx, Entry::failure(Event::ModelEndedServer, &origin).with(detail)).await?;
        tx.changes().append(CHANGE, name).await?;
        Ok(tx.commit().await?)
    }

    /// The number of the latest change to desired states, as far as the feed was read: another number than before means
    /// that [`Auth::desired_models`] has changed.
    pub fn model_changes(&self) -> i64 {
        self.model_changes.load(Ordering::Acquire)
    }

    pub(crate) fn note_model_change(&self, number: i64) {
        self.model_changes.fetch_max(number, Ordering::AcqRel);
    }
}

async fn desired(tx: &mut Tx, name: &str) -> Result<DesiredModel> {
    let desired = tx.models().desired_of(name).await?;
    Ok(desired.unwrap_or_else(|| DesiredModel { name: name.to_owned(), ..DesiredModel::default() }))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;

    fn after(changes: &[ModelChange], serving: &str) -> DesiredModel {
        let start = DesiredModel { name: "m".into(), ..DesiredModel::default() };
        changes.iter().fold(start, |before, change| change.apply(before, Some(serving)).unwrap())
    }

    fn activate(version: &str) -> ModelChange {
        ModelChange::Activate(Some(version.into()))
    }

    #[test]
    fn going_back_is_to_what_answered_before() {
        let back = after(&[activate("2"), ModelChange::RollBack], "1");
        assert_eq!(
            (back.active_version.as_deref(), back.previous_version.as_deref()),
            (Some("1"), Some("2"))
        );
        let forth = after(&[activate("2"), ModelChange::RollBack, ModelChange::RollBack], "1");
        assert_eq!(
            (forth.active_version.as_deref(), forth.previous_version.as_deref()),
            (Some("2"), Some("1"))
        );
    }

    #[test]
    fn activating_twice_does_not_forget_the_way_back() {
        let twice = after(&[activate("2"), activate("2")], "1");
        assert_eq!(twice.previous_version.as_deref(), Some("1"));
    }

    #[test]
    fn without_an_earlier_version_there_is_no_way_back() {
        let start = DesiredModel::default();
        assert!(matches!(ModelChange::RollBack.apply(start, Some("1")), Err(Error::NoPreviousVersion)));
    }

    #[test]
    fn loading_undoes_unloading_and_counts() {
        let load = ModelChange::Load { accept_changes: false };
        let loaded = after(&[ModelChange::Unload, load.clone(), load.clone()], "1");
        assert_eq!((loaded.unloaded, loaded.loads), (false, 2));
        assert!(after(&[load, ModelChange::Unload], "1").unloaded);
    }
}
