//! The registry: every model of the repository, by name and version, and why one is not served. A model can be changed
//! at any time: its desired state is loaded first, then replaces what was served, which finishes its running calls.

mod candidate;
mod desired_state;
mod entry;
mod incoming;
mod reconciliation;
mod sources;
mod status;

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

pub use desired_state::{DesiredState, Revision};
pub use incoming::{Admissible, Admitted, Incoming, IncomingError, Origin};
pub use sources::SourcedVersion;
pub use status::{ModelStatus, State};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use self::{
    candidate::{Candidate, Wish},
    entry::{Entry, Lineage},
    reconciliation::options_for,
};
use crate::{
    error::Error,
    loading::{Examination, LoadOptions, Loader},
    manifest::Access,
    model::Model,
    onnx::Library,
    repository::{Digests, KnownFiles, Violation, Watch, integrity},
    scheduling::Decoder,
    settings::Settings,
};

/// How long [`Registry::shutdown`] waits for runs to end before it interrupts them.
const DRAIN: Duration = Duration::from_secs(10);
/// Models that are loaded at a time, at most: loading is work for the processor and the disk.
const MAX_LOADERS: usize = 8;

/// Every model of the repository. Cheap to clone; all clones are the same registry.
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

struct Shared {
    /// Locked for writing only while one entry is put in the place of another.
    models: RwLock<BTreeMap<String, Arc<Entry>>>,
    loader: Loader,
    watch: Mutex<Watch>,
    /// What models are being brought to, so that it is not begun twice, and as of which revision that was wanted last.
    reconciling: Mutex<BTreeMap<String, (DesiredState, Revision)>>,
    /// What their entries, and those who work on a model without one, share of a model.
    lineages: Mutex<BTreeMap<String, Weak<Lineage>>>,
    closed: AtomicBool,
}

/// What [`Registry::prepare`] loaded; dropping it changes nothing.
pub struct Prepared {
    entry: Entry,
}

impl Prepared {
    /// The version that would answer calls which name none; none where nothing is to be served.
    pub fn version(&self) -> Option<&str> {
        let intended = self.entry.intended().filter(|version| version.model.is_ok());
        intended.map(|version| version.name.as_str())
    }

    /// The files of the versions that would be served.
    pub fn files(&self) -> KnownFiles {
        self.entry.files().collect()
    }
}

impl Registry {
    /// Loads the runtime and every model. Blocks for as long as that takes and never fails: what cannot be
    /// served is listed as [`State::Unavailable`] with a reason.
    pub fn open(settings: Settings) -> Self {
        Self::open_as(settings, &HashMap::new(), Revision::default(), KnownFiles::new())
    }

    /// The same, with the desired states of some of the models at a revision, and the files of versions that were
    /// served before.
    pub fn open_as(
        settings: Settings,
        desired: &HashMap<String, DesiredState>,
        at: Revision,
        known: KnownFiles,
    ) -> Self {
        let registry = Self::start(settings);
        registry.shared.loader.sweep();
        registry.set_known_files(known);
        // What changes while models are loaded has changed since.
        registry.watch().look(&registry.shared.loader.settings.model_dir);
        let names = registry.shared.loader.names().into_iter().collect();
        registry.reconcile_all(names, desired, at);
        registry
    }

    /// Loads the runtime and no model.
    pub fn start(settings: Settings) -> Self {
        let decoder = Arc::new(Decoder::start(&settings));
        let library = Library::load(settings.runtime_library.as_deref());
        if let Err(reason) = &library {
            tracing::error!(reason, "ONNX Runtime is not available");
        }
        let loader = Loader { settings, library, decoder, known: RwLock::default() };
        let (watch, reconciling, lineages) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (models, closed) = (RwLock::default(), AtomicBool::new(false));
        Self { shared: Arc::new(Shared { models, loader, watch, reconciling, lineages, closed }) }
    }

    /// Every version that is or should be served, by name and version.
    pub fn models(&self) -> Vec<ModelStatus> {
        self.read().values().flat_map(|entry| entry.statuses()).collect()
    }

    /// The model in the given version, or in the one that is active: the one that an operator chose, else the highest
    /// that is ready. [`Error::NotFound`] or [`Error::Unavailable`].
    pub fn find(&self, name: &str, version: Option<&str>) -> Result<Arc<Model>, Error> {
        let models = self.read();
        models.get(name).ok_or_else(|| Error::no_such_model(name))?.find(version)
    }

    /// Who may use the model; none where there is no such model.
    pub fn access(&self, name: &str) -> Option<Access> {
        self.read().get(name).map(|entry| entry.access)
    }

    /// Whether there is such a model, served or not.
    pub fn has(&self, name: &str) -> bool {
        self.read().contains_key(name) || self.shared.loader.has(name)
    }

    /// The models whose calls that name no version cannot be answered: whether each is required.
    pub fn unanswering(&self) -> impl Iterator<Item = bool> {
        let entries: Vec<Arc<Entry>> = self.read().values().cloned().collect();
        entries.into_iter().filter(|entry| entry.find(None).is_err()).map(|entry| entry.required)
    }

    /// The threads that decode pictures.
    pub fn decoder(&self) -> &Decoder {
        &self.shared.loader.decoder
    }

    /// Inspects a file: what it declares, and whether it would be served, in the repository as its `model.toml` says. The
    /// error says why it cannot be read at all.
    pub fn examine(&self, file: &Path) -> Result<Examination, String> {
        self.shared.loader.examine_file(file, self.shared.loader.model_of(file).as_deref())
    }

    /// SHA-256 of an ONNX file of this machine and of the data files beside it that it refers to, by their names in a
    /// version's folder. Links are followed: an operator named the file. The error says why one cannot be read.
    pub fn digests(&self, file: &Path) -> Result<Digests, String> {
        self.shared.loader.file_digests(file)
    }

    /// The desired state of a model as far as this registry knows; none where there is no such model.
    pub fn desired(&self, name: &str) -> Option<DesiredState> {
        self.read().get(name).map(|entry| entry.desired.clone())
    }

    /// Loads the desired state of a model and changes nothing yet. Blocks for as long as that takes. The error says why
    /// the version that would answer calls cannot be served; then nothing changes.
    pub fn prepare(&self, name: &str, desired: DesiredState) -> Result<Prepared, String> {
        self.prepare_as(name, desired, false)
    }

    /// The same, but accepts files that have changed since they were first served.
    pub fn prepare_changed(&self, name: &str, desired: DesiredState) -> Result<Prepared, String> {
        self.prepare_as(name, desired, true)
    }

    fn prepare_as(
        &self,
        name: &str,
        desired: DesiredState,
        accept_changes: bool,
    ) -> Result<Prepared, String> {
        let lineage = self.lineage(name);
        let _work = lineage.work.lock();
        if self.shared.closed.load(Ordering::SeqCst) {
            return Err("the server is shutting down".to_owned());
        }
        let old = self.read().get(name).cloned();
        let wished = LoadOptions { accept_changes, retry_failed: true, ..LoadOptions::default() };
        let options = options_for(old.as_deref(), &desired, wished);
        let wish = Wish { name, desired, lineage: &lineage, old: old.as_deref(), options };
        let Candidate { entry, failure } = self.shared.loader.candidate(&wish);
        match failure {
            None => Ok(Prepared { entry }),
            Some(failure) => {
                self.know_sources(entry, old.as_deref());
                Err(failure)
            }
        }
    }

    /// Takes up what a `model.toml` says that is new here, or was corrected before anything was served by it, so that its
    /// files are fetched. To be called while nothing else changes the model.
    fn know_sources(&self, entry: Entry, old: Option<&Entry>) {
        if entry.manifest.is_none() {
            return;
        }
        match old {
            None => drop(self.put(entry, Revision::default())),
            Some(old) if old.desired.unloaded || old.manifest == entry.manifest => {}
            Some(old) if old.ready().next().is_some() => {}
            Some(old) => drop(self.put(entry.desired_as(old), old.revision())),
        }
    }

    /// Serves what was prepared, the desired state of revision `at`. What was served before finishes its running calls,
    /// then frees its memory. If a later revision is served already, that stays.
    pub fn publish(&self, prepared: Prepared, at: Revision) {
        self.put(prepared.entry, at);
    }

    /// Sets what the files of versions have to be; others than these are not loaded.
    pub fn set_known_files(&self, known: KnownFiles) {
        *self.shared.loader.known.write() = known;
    }

    /// The files of versions that are served and whose digests are not known yet.
    pub fn unknown_files(&self) -> KnownFiles {
        let models: Vec<Arc<Entry>> = self.read().values().cloned().collect();
        let known = self.shared.loader.known.read();
        let served = models.iter().flat_map(|entry| entry.files());
        served.filter(|(of, _)| !known.contains_key(of)).collect()
    }

    /// Reads the files of every served version again, and returns those that changed since they were loaded, each once.
    /// What was loaded stays served. Blocks for as long as that takes.
    pub fn verify(&self) -> Vec<Violation> {
        let entries: Vec<Arc<Entry>> = self.read().values().cloned().collect();
        let mut news = Vec::new();
        for entry in &entries {
            for version in entry.versions.iter().filter(|version| version.model.is_ok()) {
                let folder = self.shared.loader.settings.model_dir.join(&entry.name).join(&version.name);
                let found = integrity::violation(&entry.name, &version.name, &folder, &version.files);
                if entry.lineage.note_violation(&version.name, found.as_ref()) {
                    news.extend(found);
                }
            }
        }
        news
    }

    /// Begins an upload of a version; nothing of it is served yet.
    pub fn receive(&self, name: &str, version: &str) -> Result<Incoming, IncomingError> {
        self.shared.loader.receive(name, version)
    }

    /// Whether a version that was received has the announced digests and could be served. Blocks for as long as trying
    /// it takes.
    pub fn examine_incoming(&self, incoming: Incoming, files: &Digests) -> Result<Admissible, IncomingError> {
        self.shared.loader.examine_incoming(incoming, files)
    }

    /// Moves a version into the repository.
    pub fn place(&self, version: Admissible, origin: Origin) -> Result<Admitted, IncomingError> {
        self.shared.loader.place(version, origin)
    }

    /// Whether the files of a version are these.
    pub fn holds(&self, name: &str, version: &str, files: &Digests) -> bool {
        let folder = self.shared.loader.settings.model_dir.join(name).join(version);
        !self.lacks(name, version) && integrity::violation(name, version, &folder, files).is_none()
    }

    /// Whether a version was uploaded and is not served, so that it may be removed.
    pub fn may_withdraw(&self, name: &str, version: &str) -> Result<(), IncomingError> {
        self.shared.loader.require_received(name, version)?;
        if self.find(name, Some(version)).is_ok() { Err(IncomingError::InUse) } else { Ok(()) }
    }

    /// Removes a version that was uploaded. Blocks for as long as that takes.
    pub fn withdraw(&self, name: &str, version: &str) -> Result<(), IncomingError> {
        self.shared.loader.withdraw(name, version)
    }

    /// Answers queued calls for at most ten seconds, interrupts what then still runs, and frees the memory. Afterwards
    /// every call is refused.
    pub fn shutdown(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        let models: Vec<Arc<Model>> =
            self.read().values().flat_map(|entry| entry.ready().cloned().collect::<Vec<_>>()).collect();
        self.shared.loader.decoder.close();
        for model in &models {
            model.pool.close();
        }
        let until = Instant::now() + DRAIN;
        for model in models {
            model.pool.join(until);
        }
    }

    /// What stays with a model while its entries are replaced: one value a name, also while there is no entry.
    fn lineage(&self, name: &str) -> Arc<Lineage> {
        let mut lineages = self.shared.lineages.lock();
        if let Some(known) = lineages.get(name).and_then(Weak::upgrade) {
            return known;
        }
        lineages.retain(|_, known| known.strong_count() > 0);
        let lineage = Arc::new(Lineage::default());
        lineages.insert(name.to_owned(), Arc::downgrade(&lineage));
        lineage
    }

    /// Puts an entry into the registry, unless one of a later revision is there already; then it returns false.
    fn put(&self, entry: Entry, at: Revision) -> bool {
        let entry = Arc::new(entry.at(at));
        let mut models = self.shared.models.write();
        if models.get(&entry.name).is_some_and(|there| there.revision() > at) {
            return false;
        }
        let old = models.insert(entry.name.clone(), Arc::clone(&entry));
        drop(models);
        entry.took_over(old.as_deref());
        true
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Arc<Entry>>> {
        self.shared.models.read()
    }
}
