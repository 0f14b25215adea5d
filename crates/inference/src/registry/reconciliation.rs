//! How models come to their desired state: what changed is loaded, then takes the place of what was served; what cannot
//! be loaded leaves that as it was.

use std::{
    collections::{BTreeSet, HashMap},
    num::NonZero,
    sync::{Arc, atomic::Ordering},
    thread,
};

use parking_lot::{Mutex, MutexGuard};

use super::{
    MAX_LOADERS, Registry,
    candidate::{Candidate, Wish},
    desired_state::{DesiredState, Revision},
    entry::{Entry, Version},
};
use crate::{loading::LoadOptions, repository::Watch};

impl Registry {
    /// Brings every model to its desired state of a revision, except those of which a later one is known. A model that
    /// cannot get there stays as it was and reports why. Blocks for as long as loading takes.
    pub fn reconcile(&self, desired: &HashMap<String, DesiredState>, at: Revision) {
        let mut names: BTreeSet<String> = self.read().keys().cloned().collect();
        names.extend(desired.keys().filter(|name| self.shared.loader.has(name)).cloned());
        self.reconcile_all(names, desired, at);
    }

    /// The models whose folders changed since the last look.
    pub fn changed(&self) -> Vec<String> {
        self.watch().look(&self.shared.loader.settings.model_dir)
    }

    /// Has changes told again that could not be taken up.
    pub fn look_again(&self, changed: &[String]) {
        let mut watch = self.watch();
        changed.iter().for_each(|name| watch.tell_again(name));
    }

    /// Loads models whose folders changed, as far as they are not to be unloaded. What cannot be loaded goes on as it
    /// was. Blocks for as long as that takes.
    pub fn take_up(&self, changed: Vec<String>, desired: &HashMap<String, DesiredState>, at: Revision) {
        for name in changed {
            tracing::info!(model = name, "a model's folder changed");
            let options = LoadOptions { reload_all: true, ..LoadOptions::default() };
            if !self.reconcile_one(&name, desired.get(&name).cloned().unwrap_or_default(), at, options) {
                self.watch().tell_again(&name);
            }
        }
    }

    /// Whether some model could not be brought to its desired state, so that [`Registry::reconcile`] will try again.
    pub fn is_behind(&self) -> bool {
        self.read().values().any(|entry| entry.again.is_some())
    }

    pub(super) fn reconcile_all(
        &self,
        names: BTreeSet<String>,
        desired: &HashMap<String, DesiredState>,
        at: Revision,
    ) {
        let desired = |name: &str| desired.get(name).cloned().unwrap_or_default();
        let mut due: Vec<(String, DesiredState)> = names
            .into_iter()
            .map(|name| (desired(&name), name))
            .filter(|(desired, name)| !self.is_settled(name, desired, at))
            .map(|(desired, name)| (name, desired))
            .collect();
        // Nothing has to be loaded to stop serving a model.
        due.sort_by_key(|(_, desired)| !desired.unloaded);
        let next = Mutex::new(due.into_iter());
        let work = || {
            while let Some((name, desired)) = { next.lock().next() } {
                let marker = Reconciling::begin(self, &name, &desired, at);
                self.reconcile_one(&name, desired, at, LoadOptions::default());
                drop(marker);
            }
        };
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        thread::scope(|scope| {
            for _ in 1..cores.min(MAX_LOADERS) {
                scope.spawn(work);
            }
            work();
        });
    }

    /// Whether a model is in its desired state, or is being brought to it.
    fn is_settled(&self, name: &str, desired: &DesiredState, at: Revision) -> bool {
        if let Some((wanted, until)) = self.shared.reconciling.lock().get_mut(name)
            && wanted == desired
        {
            *until = at.max(*until);
            return true;
        }
        let superseded = |version: &Version| self.shared.loader.is_superseded(name, version);
        // The lock on models is not held while that on known files is taken.
        let entry = self.read().get(name).cloned();
        let is_stale = |entry: &Arc<Entry>| !entry.rests() && entry.versions.iter().any(superseded);
        if entry.as_ref().is_some_and(is_stale) {
            return false;
        }
        self.read().get(name).is_some_and(|entry| entry.settle(desired, at))
    }

    pub(super) fn watch(&self) -> MutexGuard<'_, Watch> {
        self.shared.watch.lock()
    }

    /// Brings one model to its desired state, or keeps it as it is with the reason. False: it is in a later state
    /// already.
    pub(super) fn reconcile_one(
        &self,
        name: &str,
        desired: DesiredState,
        at: Revision,
        options: LoadOptions,
    ) -> bool {
        let lineage = self.lineage(name);
        let _work = lineage.work.lock();
        if self.shared.closed.load(Ordering::SeqCst) {
            return false;
        }
        let old = self.read().get(name).cloned();
        let options = options_for(old.as_deref(), &desired, options);
        let wish = Wish { name, desired, lineage: &lineage, old: old.as_deref(), options };
        let Candidate { entry, failure } = self.shared.loader.candidate(&wish);
        let is_gone = !self.shared.loader.has(name) && entry.ready().next().is_none();
        let old = old.filter(|old| old.ready().next().is_some());
        let unloaded = entry.desired.unloaded;
        let entry = match (failure, old) {
            (Some(failure), Some(old)) => {
                tracing::error!(
                    model = name,
                    reason = failure,
                    "a model could not be changed; what was served goes on"
                );
                let owes = options.reload_all || old.owes_reload;
                return self
                    .put_at(Entry { owes_reload: owes, ..old.with_setback(entry.desired, failure) }, at);
            }
            // Where something is served and is to be served, that is a failure.
            (_, old) if is_gone && (unloaded || old.is_none()) => {
                return self.put_at(entry, at) && self.remove_gone(name);
            }
            (Some(_), None) => {
                entry.log_reason();
                entry
            }
            (None, _) => entry,
        };
        self.put_at(entry, at)
    }

    /// Puts an entry into the registry; as of a later revision, where its state was wanted again meanwhile.
    fn put_at(&self, entry: Entry, at: Revision) -> bool {
        let mut reconciling = self.shared.reconciling.lock();
        let marked = reconciling.get(&entry.name).is_some_and(|(wanted, _)| *wanted == entry.desired);
        let marker = if marked { reconciling.remove(&entry.name) } else { None };
        self.put(entry, marker.map_or(at, |(_, until)| until))
    }

    /// Removes the entry of a model that is gone, unless it was put there again.
    fn remove_gone(&self, name: &str) -> bool {
        let mut models = self.shared.models.write();
        if models.get(name).is_some_and(|there| there.ready().next().is_none()) {
            models.remove(name);
        }
        true
    }
}

/// Marks a model as being brought to a state, for as long as it lives.
struct Reconciling<'a> {
    registry: &'a Registry,
    name: &'a str,
    desired: DesiredState,
}

impl<'a> Reconciling<'a> {
    fn begin(registry: &'a Registry, name: &'a str, desired: &DesiredState, at: Revision) -> Self {
        registry.shared.reconciling.lock().insert(name.to_owned(), (desired.clone(), at));
        Self { registry, name, desired: desired.clone() }
    }
}

impl Drop for Reconciling<'_> {
    fn drop(&mut self) {
        let mut reconciling = self.registry.shared.reconciling.lock();
        if reconciling.get(self.name).is_some_and(|(desired, _)| *desired == self.desired) {
            reconciling.remove(self.name);
        }
    }
}

/// A requested reload also tries versions again that failed their trial; one that failed is made up for.
pub(super) fn options_for(old: Option<&Entry>, desired: &DesiredState, options: LoadOptions) -> LoadOptions {
    let reread = old.is_some_and(|old| old.desired.loads != desired.loads);
    LoadOptions {
        reload_all: options.reload_all || reread || old.is_none_or(|old| old.owes_reload),
        retry_failed: options.retry_failed || reread,
        ..options
    }
}
