//! One model of the registry: its versions, which of them answers where none is named, and why one does not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Weak,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    desired_state::{DesiredState, Revision},
    status::{ModelStatus, State},
};
use crate::{
    error::Error,
    manifest::{Access, Manifest},
    model::{Model, Served},
    repository::{Digests, MODEL_FILE, Violation},
};

/// How long after a failure the desired state is tried again: the file may have arrived meanwhile.
const RETRY: Duration = Duration::from_secs(30);

/// A model of the repository. What it serves never changes: another takes its place as a whole, and requests that found
/// this one finish with it.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) required: bool,
    pub(super) access: Access,
    /// As read when the versions were loaded; none where it could not be.
    pub(super) manifest: Option<Arc<Manifest>>,
    /// Lowest first.
    pub(super) versions: Vec<Version>,
    /// Why there are no versions.
    pub(super) reason: Option<String>,
    /// Why the desired state could not be reached, so that this entry stays.
    pub(super) setback: Option<String>,
    /// Whether the attempt that failed was to read everything again, as the next one then is.
    pub(super) owes_reload: bool,
    /// When the desired state is tried again.
    pub(super) again: Option<Instant>,
    pub(super) desired: DesiredState,
    /// The one that was reached last: that of its versions.
    pub(super) reached: DesiredState,
    /// The revision of that desired state.
    pub(super) at: AtomicI64,
    pub(super) lineage: Arc<Lineage>,
}

/// One version that is or should be served.
#[derive(Clone)]
pub(super) struct Version {
    pub(super) name: String,
    /// Its files as they were loaded.
    pub(super) files: Arc<Digests>,
    pub(super) model: Result<Arc<Model>, String>,
}

/// What stays with a model while its entries are replaced.
#[derive(Default)]
pub(super) struct Lineage {
    /// Held while versions are loaded: one change of a model at a time.
    pub(super) work: Mutex<()>,
    /// The versions that are served, as its models tell it.
    pub(super) served: Arc<Served>,
    /// The versions being loaded now.
    loading: Mutex<BTreeSet<String>>,
    /// Versions that were taken out, while calls still run on them.
    draining: Mutex<Vec<(String, Weak<Model>)>>,
    /// Versions that are served while their files are not what was loaded any more.
    violations: Mutex<BTreeMap<String, Violation>>,
}

impl Lineage {
    /// Marks a version as being loaded for as long as the answer lives.
    pub(super) fn loading(&self, version: &str) -> Loading<'_> {
        self.loading.lock().insert(version.to_owned());
        Loading { lineage: self, version: version.to_owned() }
    }

    /// Notes whether a version's files have changed; true where that was not known.
    pub(super) fn note_violation(&self, version: &str, violation: Option<&Violation>) -> bool {
        let mut violations = self.violations.lock();
        match violation {
            Some(violation) => {
                violations.insert(version.to_owned(), violation.clone()).as_ref() != Some(violation)
            }
            None => {
                violations.remove(version);
                false
            }
        }
    }

    fn changed(&self, version: &str) -> Option<String> {
        let violations = self.violations.lock();
        let file = &violations.get(version)?.file;
        Some(format!("{file} was changed on disk; what was loaded before goes on"))
    }

    fn is_loading(&self, version: &str) -> bool {
        self.loading.lock().contains(version)
    }

    fn drain(&self, version: &str, model: &Arc<Model>) {
        let mut draining = self.draining.lock();
        draining.retain(|(_, model)| model.strong_count() > 0);
        draining.push((version.to_owned(), Arc::downgrade(model)));
    }

    fn is_draining(&self, version: &str) -> bool {
        self.draining.lock().iter().any(|(name, model)| name == version && model.strong_count() > 0)
    }

    /// Versions that are loading or draining, and in no list of versions.
    fn transient(&self, listed: &[Version]) -> Vec<(String, State)> {
        let is_new = |name: &&String| !listed.iter().any(|version| version.name == **name);
        let loading: BTreeSet<String> = self.loading.lock().iter().filter(is_new).cloned().collect();
        let draining = self.draining.lock();
        let draining = draining.iter().filter(|(_, model)| model.strong_count() > 0).map(|(name, _)| name);
        let draining: BTreeSet<String> = draining.filter(is_new).cloned().collect();
        let draining: Vec<_> = draining.difference(&loading).cloned().collect();
        let loading = loading.into_iter().map(|name| (name, State::Loading));
        loading.chain(draining.into_iter().map(|name| (name, State::Unloading))).collect()
    }
}

/// A version that is being loaded.
pub(super) struct Loading<'a> {
    lineage: &'a Lineage,
    version: String,
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.lineage.loading.lock().remove(&self.version);
    }
}

impl Entry {
    /// An entry without versions yet.
    pub(super) fn of(
        name: &str,
        manifest: Option<Arc<Manifest>>,
        desired: DesiredState,
        lineage: Arc<Lineage>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            required: manifest.as_ref().is_some_and(|manifest| manifest.required),
            // Without a manifest its access is unknown, so the model is not shown to everyone.
            access: manifest.as_ref().map_or(Access::Granted, |manifest| manifest.access),
            manifest,
            versions: Vec::new(),
            reason: None,
            setback: None,
            owes_reload: false,
            again: None,
            reached: desired.clone(),
            desired,
            at: AtomicI64::default(),
            lineage,
        }
    }

    /// An entry of which no version can be served.
    pub(super) fn without_versions(
        name: &str,
        reason: String,
        desired: DesiredState,
        lineage: Arc<Lineage>,
    ) -> Self {
        let again = again(&desired);
        Self { reason: Some(reason), again, ..Self::of(name, None, desired, lineage) }
    }

    /// What is served so far, which stays although the desired state is another.
    pub(super) fn with_setback(&self, desired: DesiredState, setback: String) -> Self {
        Self {
            name: self.name.clone(),
            required: self.required,
            access: self.access,
            manifest: self.manifest.clone(),
            versions: self.versions.clone(),
            reason: self.reason.clone(),
            setback: Some(setback),
            owes_reload: self.owes_reload,
            again: again(&desired),
            desired,
            reached: self.reached.clone(),
            at: AtomicI64::default(),
            lineage: Arc::clone(&self.lineage),
        }
    }

    /// What this entry serves, with the desired state of another.
    pub(super) fn desired_as(self, other: &Self) -> Self {
        Self { again: other.again, desired: other.desired.clone(), reached: other.reached.clone(), ..self }
    }

    /// This entry as of a revision of the desired states.
    pub(super) fn at(self, revision: Revision) -> Self {
        Self { at: revision.0.into(), ..self }
    }

    /// The revision up to which this is the desired state, or as near to it as could be reached.
    pub(super) fn revision(&self) -> Revision {
        Revision(self.at.load(Ordering::SeqCst))
    }

    /// Counts as of no revision.
    pub(super) fn forget_revision(&self) {
        self.at.store(i64::MIN, Ordering::SeqCst);
    }

    /// Whether the entry is already in the desired state of a revision, which it then takes over. To be called while it
    /// cannot be replaced.
    pub(super) fn settle(&self, desired: &DesiredState, revision: Revision) -> bool {
        let is_same = self.desired == *desired && self.again.is_none_or(|again| Instant::now() < again);
        if is_same {
            self.at.fetch_max(revision.0, Ordering::SeqCst);
        }
        is_same || self.revision() > revision
    }

    /// Whether its desired state is tried again only later.
    pub(super) fn rests(&self) -> bool {
        self.again.is_some_and(|again| Instant::now() < again)
    }

    /// To be called when this has replaced `old`.
    pub(super) fn took_over(&self, old: Option<&Self>) {
        self.lineage.served.set(self.ready().map(|model| model.version.clone()).collect());
        let stayed =
            |new: &&Arc<Model>| old.is_some_and(|old| old.ready().any(|model| Arc::ptr_eq(model, new)));
        for model in self.ready().filter(|model| !stayed(model)) {
            self.lineage.note_violation(&model.version, None);
        }
        for model in old.into_iter().flat_map(Self::ready) {
            if !self.ready().any(|kept| Arc::ptr_eq(kept, model)) {
                self.lineage.drain(&model.version, model);
            }
        }
    }

    pub(super) fn statuses(&self) -> Vec<ModelStatus> {
        let status =
            |version: &str, state: State, reason: Option<&String>, sha256: Option<&String>| ModelStatus {
                name: self.name.clone(),
                version: version.to_owned(),
                state,
                reason: reason.cloned(),
                required: self.required,
                access: self.access,
                sha256: sha256.cloned(),
                active: !self.desired.unloaded
                    && !version.is_empty()
                    && self.chosen(None).is_some_and(|chosen| chosen.name == version),
                setback: self.setback.clone().or_else(|| {
                    // Of what is not served nothing goes on.
                    (state == State::Ready).then(|| self.lineage.changed(version)).flatten()
                }),
            };
        let of = |version: &Version| {
            let state = match version.model {
                Ok(_) => State::Ready,
                Err(_) if self.lineage.is_loading(&version.name) => State::Loading,
                Err(_) if self.lineage.is_draining(&version.name) => State::Unloading,
                Err(_) => State::Unavailable,
            };
            status(&version.name, state, version.model.as_ref().err(), version.files.get(MODEL_FILE))
        };
        let mut all: Vec<ModelStatus> = self.versions.iter().map(of).collect();
        let transient = self.lineage.transient(&self.versions);
        all.extend(transient.iter().map(|(name, state)| status(name, *state, None, None)));
        if all.is_empty() {
            all.push(status("", State::Unavailable, self.reason.as_ref(), None));
        }
        all
    }

    /// The files of the versions that are served.
    pub(super) fn files(&self) -> impl Iterator<Item = ((String, String), Digests)> {
        let served = self.versions.iter().filter(|version| version.model.is_ok());
        served.map(|version| ((self.name.clone(), version.name.clone()), (*version.files).clone()))
    }

    pub(super) fn ready(&self) -> impl DoubleEndedIterator<Item = &Arc<Model>> {
        self.versions.iter().filter_map(|version| version.model.as_ref().ok())
    }

    /// The version for calls that name none, where an operator said so.
    fn active(&self) -> Option<&str> {
        self.reached.active.as_deref()
    }

    /// The version that answers a call: the one that it names; else the one that an operator named; else the highest
    /// that can, or the highest.
    fn chosen(&self, version: Option<&str>) -> Option<&Version> {
        match version.or(self.active()) {
            Some(named) => self.versions.iter().find(|version| version.name == named),
            None => {
                let ready = self.versions.iter().rfind(|version| version.model.is_ok());
                ready.or_else(|| self.versions.last())
            }
        }
    }

    /// Logs why there are no versions. Faults of a single version are logged by its loader, failed downloads by the
    /// fetcher.
    pub(super) fn log_reason(&self) {
        let awaited = self.manifest.as_ref().is_some_and(|manifest| !manifest.source.0.is_empty());
        match &self.reason {
            Some(reason) if awaited => tracing::info!(model = self.name, reason, "a model is not served yet"),
            Some(reason) => tracing::error!(model = self.name, reason, "a model is not served"),
            None => {}
        }
    }

    /// The default version, for calls that name none, whether it can answer or not.
    pub(super) fn intended(&self) -> Option<&Version> {
        match self.active() {
            Some(active) => self.versions.iter().find(|version| version.name == active),
            None => self.versions.last(),
        }
    }

    /// Why the default version cannot be served.
    pub(super) fn default_failure(&self) -> Option<String> {
        match self.intended() {
            Some(version) => version.model.as_ref().err().cloned(),
            None => self.reason.clone(),
        }
    }

    pub(super) fn find(&self, version: Option<&str>) -> Result<Arc<Model>, Error> {
        let unavailable = |reason: &str| {
            Error::Unavailable(format!("model \"{}\" cannot be served now: {reason}", self.name))
        };
        if let Some(reason) = &self.reason {
            return Err(unavailable(reason));
        }
        let chosen = self.chosen(version).ok_or_else(|| {
            let version = version.or(self.active()).unwrap_or_default();
            Error::NotFound(format!("model \"{}\" has no version \"{version}\"", self.name))
        })?;
        chosen.model.as_ref().map(Arc::clone).map_err(|reason| unavailable(reason))
    }
}

/// The time of the next attempt; none for the default state, which is tried again only when the folder changes.
pub(super) fn again(desired: &DesiredState) -> Option<Instant> {
    (*desired != DesiredState::default()).then(|| Instant::now() + RETRY)
}
