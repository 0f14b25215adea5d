//! The desired state of models: set by an administrator or on the command line, kept in the database, followed by every
//! replica.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use storage::{DesiredModel, ModelFile, Scope, Service, Tx};

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
    /// Let a version answer calls that name none; without one: what the model's own file says of all that are there.
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

impl ModelChange {
    const fn event(&self) -> Event {
        match self {
            Self::Load { .. } => Event::ModelLoaded,
            Self::Unload => Event::ModelUnloaded,
            Self::Activate(_) => Event::ModelActivated,
            Self::RollBack => Event::ModelRolledBack,
        }
    }

    /// The desired state after this change; `before` is the present one, `serving` the version that answers now, `known`
    /// the versions that were added or served. Of those that wait, the others were removed: they stay out.
    fn apply(
        &self,
        mut before: DesiredModel,
        serving: Option<&str>,
        known: &BTreeSet<String>,
    ) -> Result<DesiredModel> {
        let current = before.active_version.clone().or_else(|| serving.map(str::to_owned));
        Ok(match self {
            Self::Load { .. } => {
                // Where there is nothing else, there is nothing that goes on instead of what was added.
                if known.is_subset(&before.waiting) {
                    before.waiting.retain(|version| !known.contains(version));
                }
                DesiredModel { unloaded: false, loads: before.loads + 1, ..before }
            }
            Self::Unload => DesiredModel { unloaded: true, ..before },
            Self::Activate(version) => {
                let stays = *version == current;
                let previous = if stays { before.previous_version.clone() } else { current };
                before.waiting.retain(|waiting| match version {
                    Some(version) => version != waiting,
                    None => !known.contains(waiting),
                });
                DesiredModel {
                    unloaded: false,
                    active_version: version.clone(),
                    previous_version: previous,
                    ..before
                }
            }
            Self::RollBack => {
                let back = before.previous_version.clone().ok_or(Error::NoPreviousVersion)?;
                before.waiting.remove(&back);
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
        let remembered = tx.models().files_of(name).await?;
        let desired = change.apply(desired(&mut tx, name).await?, serving, &versions(&remembered))?;
        Ok(PlannedChange { desired, remembered })
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
        let (mut tx, _) = self.begin_operation(actor, Permission::ModelsManage).await?;
        let PlannedChange { desired: planned, remembered } = planned;
        let present = tx.models().files_of(&planned.name).await?;
        let removed = remembered.iter().any(|file| !present.contains(file));
        let before = desired(&mut tx, &planned.name).await?;
        if removed || change.apply(before, serving, &versions(&present))? != *planned {
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

    pub(super) async fn commit_model(
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

    /// Has a model that ended a server unloaded on every replica, until somebody loads it again: it would end the next
    /// one, too. `version` is the one that ran, `at` a moment not before. What was said of the model later stays: somebody
    /// mended it. Answers whether it was unloaded.
    pub async fn unload_model_that_ended(
        &self,
        name: &str,
        version: &str,
        at: DateTime<Utc>,
    ) -> Result<bool> {
        let mut tx = self.begin_exclusive().await?;
        if tx.models().was_desired_after(name, at).await? {
            return Ok(false);
        }
        let before = desired(&mut tx, name).await?;
        tx.models().desire(&DesiredModel { unloaded: true, ..before }).await?;
        let detail = json!({"model": name, "version": version});
        let origin = Origin::default();
        self.record(&mut tx, Entry::failure(Event::ModelEndedServer, &origin).with(detail)).await?;
        tx.changes().append(CHANGE, name).await?;
        tx.commit().await?;
        Ok(true)
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

fn versions(files: &[ModelFile]) -> BTreeSet<String> {
    files.iter().map(|file| file.version.clone()).collect()
}

pub(super) async fn desired(tx: &mut Tx, name: &str) -> Result<DesiredModel> {
    let desired = tx.models().desired_of(name).await?;
    Ok(desired.unwrap_or_else(|| DesiredModel { name: name.to_owned(), ..DesiredModel::default() }))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;

    fn after(changes: &[ModelChange], serving: &str) -> DesiredModel {
        let start = DesiredModel { name: "m".into(), ..DesiredModel::default() };
        changes
            .iter()
            .fold(start, |before, change| change.apply(before, Some(serving), &BTreeSet::new()).unwrap())
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
    fn what_waits_is_released_by_its_own_activation_or_that_of_all() {
        let set = |versions: &[&str]| -> BTreeSet<String> {
            versions.iter().map(|version| (*version).to_owned()).collect()
        };
        // 4 was removed.
        let waiting = set(&["2", "3", "4"]);
        let before = DesiredModel { name: "m".into(), waiting, ..DesiredModel::default() };
        let left = |change: ModelChange, known: &[&str]| {
            change.apply(before.clone(), Some("1"), &set(known)).unwrap().waiting
        };
        let all = ["1", "2", "3"];
        assert_eq!(left(activate("2"), &all), set(&["3", "4"]));
        assert_eq!(left(activate("1"), &all), before.waiting);
        assert_eq!(left(ModelChange::Activate(None), &all), set(&["4"]));
        let load = || ModelChange::Load { accept_changes: false };
        assert_eq!(left(load(), &all), before.waiting, "another goes on");
        assert_eq!(left(load(), &["2", "3"]), set(&["4"]));
    }

    #[test]
    fn activating_twice_does_not_forget_the_way_back() {
        let twice = after(&[activate("2"), activate("2")], "1");
        assert_eq!(twice.previous_version.as_deref(), Some("1"));
    }

    #[test]
    fn without_an_earlier_version_there_is_no_way_back() {
        let start = DesiredModel::default();
        assert!(matches!(
            ModelChange::RollBack.apply(start, Some("1"), &BTreeSet::new()),
            Err(Error::NoPreviousVersion)
        ));
    }

    #[test]
    fn loading_undoes_unloading_and_counts() {
        let load = ModelChange::Load { accept_changes: false };
        let loaded = after(&[ModelChange::Unload, load.clone(), load.clone()], "1");
        assert_eq!((loaded.unloaded, loaded.loads), (false, 2));
        assert!(after(&[load, ModelChange::Unload], "1").unloaded);
    }
}
