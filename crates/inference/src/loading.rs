//! Models as they are loaded: from a folder of the repository to something that answers, or a reason why not.

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use crate::{
    batching::Batching,
    cache::Cache,
    decoding::Decoder,
    empty::NeedsElements,
    engine::Engine,
    entry::{Entry, Life, Version, again},
    inspection::Inspection,
    integrity::{self, Digests},
    manifest::Manifest,
    memory,
    model::Model,
    onnx::{Library, Options},
    operators::Libraries,
    predict::Predictor,
    provider::Provider,
    queue::Queue,
    registry::KnownFiles,
    repository::{MODEL_FILE, check_file, chosen, folders, model_folder, names_version, read_manifest},
    settings::Settings,
    share::Share,
    short_runs::{ShortRuns, is_even},
    signature,
    statistics::Recorder,
    tensor::TensorSpec,
    trial,
    wanted::Wanted,
    warm_up,
    worker::Pool,
};

/// A session's constants take at most so many times the size of the model's files: as they are read, as they are
/// packed, and what is folded from them.
pub(crate) const WEIGHTS: u64 = 3;

/// What loading a model needs beside its folder.
pub(crate) struct Loader {
    pub(crate) settings: Settings,
    pub(crate) library: Result<Library, String>,
    pub(crate) decoder: Arc<Decoder>,
    /// The files of versions as they were when they were served first.
    pub(crate) known: RwLock<KnownFiles>,
}

/// What a file is, and whether it would be served.
#[derive(Debug, Clone)]
pub struct Examination {
    /// What it says of itself.
    pub said: Inspection,
    /// It and the files that it refers to.
    pub files: Digests,
    /// Their size together, in bytes.
    pub size: u64,
    /// Its inputs and outputs, or why it would not be served.
    pub outcome: Result<(Vec<TensorSpec>, Vec<TensorSpec>), String>,
}

/// How versions are loaded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    /// Also those that are served already.
    pub(crate) afresh: bool,
    /// Whatever their files were when they were served first.
    pub(crate) accept: bool,
    /// Also what failed its trial before.
    pub(crate) again: bool,
}

/// A model as it could be served from now on.
pub(crate) struct Candidate {
    pub(crate) entry: Entry,
    /// Why its version for calls that name none cannot be served.
    pub(crate) failure: Option<String>,
}

impl Loader {
    /// Every model of the repository that is a folder.
    pub(crate) fn names(&self) -> Vec<String> {
        match folders(&self.settings.model_dir) {
            Ok(folders) => folders.into_iter().map(|(name, _)| name).collect(),
            Err(error) => {
                tracing::error!(folder = %self.settings.model_dir.display(), %error, "the model folder cannot be read");
                Vec::new()
            }
        }
    }

    /// Loads what is wanted of a model. Versions that `old` serves already are kept where nothing says that they
    /// changed; `afresh` loads all of them again.
    pub(crate) fn candidate(
        &self,
        name: &str,
        wanted: Wanted,
        life: &Arc<Life>,
        old: Option<&Entry>,
        how: How,
    ) -> Candidate {
        if wanted.unloaded {
            return Candidate { entry: self.unloaded(name, wanted, life, old), failure: None };
        }
        let failed = |reason: String| {
            let entry = Entry::without_versions(name, reason.clone(), wanted.clone(), Arc::clone(life));
            Candidate { entry, failure: Some(reason) }
        };
        let Some(folder) = model_folder(&self.settings.model_dir, name) else {
            return failed("the model folder has no such model".to_owned());
        };
        let manifest = match read_manifest(&folder) {
            Ok(manifest) => Arc::new(manifest),
            Err(reason) => return failed(reason),
        };
        let (versions, reason) = match chosen(&folder, &manifest.versions, wanted.active.as_deref()) {
            Ok(names) => {
                let kept = old.filter(|old| !how.afresh && old.manifest.as_ref() == Some(&manifest));
                (self.versions((name, &folder, &manifest), &names, life, kept, how), None)
            }
            Err(_) if !manifest.source.0.is_empty() => {
                (Vec::new(), Some("its files are being fetched".to_owned()))
            }
            Err(reason) => (Vec::new(), Some(reason)),
        };
        let mut entry = Entry {
            versions,
            reason: reason.clone(),
            ..Entry::of(name, Some(manifest), wanted.clone(), Arc::clone(life))
        };
        let failure = match entry.intended() {
            Some(version) => version.model.as_ref().err().cloned(),
            None => reason,
        };
        entry.again = failure.as_ref().and_then(|_| again(&wanted));
        Candidate { entry, failure }
    }

    /// A model of which nothing is to be served: its versions stay listed.
    fn unloaded(&self, name: &str, wanted: Wanted, life: &Arc<Life>, old: Option<&Entry>) -> Entry {
        let folder = model_folder(&self.settings.model_dir, name);
        let manifest = folder.as_deref().and_then(|folder| read_manifest(folder).ok()).map(Arc::new);
        let manifest = manifest.or_else(|| old.and_then(|old| old.manifest.clone()));
        let read = folder.zip(manifest.as_ref());
        let names = read.and_then(|(folder, manifest)| chosen(&folder, &manifest.versions, None).ok());
        let reason = "it was unloaded".to_owned();
        let version = |name: String| Version { name, files: Arc::default(), model: Err(reason.clone()) };
        let versions = names.into_iter().flatten().map(version).collect();
        Entry {
            versions,
            reason: Some(reason.clone()),
            ..Entry::of(name, manifest, wanted, Arc::clone(life))
        }
    }

    /// Whether the repository has a folder for the model.
    pub(crate) fn has(&self, name: &str) -> bool {
        model_folder(&self.settings.model_dir, name).is_some()
    }

    fn versions(
        &self,
        (name, folder, manifest): (&str, &Path, &Arc<Manifest>),
        names: &[String],
        life: &Arc<Life>,
        kept: Option<&Entry>,
        how: How,
    ) -> Vec<Version> {
        let load = |version: &String| {
            let served = kept.and_then(|old| old.versions.iter().find(|old| old.name == *version));
            if let Some(served) = served.filter(|old| old.model.is_ok()) {
                return served.clone();
            }
            let _loading = life.loading(version);
            let mut files = Digests::new();
            let libraries = Libraries::of(&self.settings.custom_operators, &manifest.custom_operators);
            let model = libraries
                .and_then(|libraries| {
                    let examined =
                        self.examine((name, folder, manifest), version, how, &libraries, &mut files)?;
                    let model = self.model((name, folder, manifest), version, examined, life, libraries)?;
                    self.unchanged(&folder.join(version), &files)?;
                    Ok(model)
                })
                .map(Arc::new);
            match &model {
                Ok(_) => tracing::info!(model = name, version, "a model is ready"),
                Err(reason) => tracing::error!(model = name, version, reason, "a model is not served"),
            }
            Version { name: version.clone(), files: Arc::new(files), model }
        };
        names.iter().map(load).collect()
    }

    /// Looks at a version's files before the runtime does: whether they are there, are what they should be, ask for
    /// nothing that they may not have, and passed a trial. Leaves their digests in `files`, and tells what the model
    /// says and their size together, in bytes.
    fn examine(
        &self,
        (name, folder, manifest): (&str, &Path, &Manifest),
        version: &str,
        how: How,
        libraries: &Libraries,
        files: &mut Digests,
    ) -> Result<(Inspection, u64), String> {
        let (own, most) = (folder.join(version), self.settings.max_model_bytes);
        let file = own.join(MODEL_FILE);
        check_file(&file, most)?;
        let size = integrity::digest(&own, [MODEL_FILE], most, files)?;
        integrity::verify(folder, manifest, version, files, |part| names_version(folder, part))?;
        let said = Inspection::read(&file)?;
        said.check(&own, libraries)?;
        let more = integrity::digest(&own, said.external.iter().map(String::as_str), most, files)?;
        let size = size.saturating_add(more);
        let named = manifest.source.digests(version);
        if let Some(file) =
            files.keys().find(|file| named.get(*file).is_some_and(|sha256| files[*file] != *sha256))
        {
            return Err(format!("{file} is not the file that [source] in model.toml names"));
        }
        if !how.accept {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(first) = known.get(&(name.to_owned(), version.to_owned())) {
                integrity::same(first, files)?;
            }
        }
        signature::check(&self.settings.signing_keys, &own, files)?;
        if let (Some(trial), Ok(library)) = (&self.settings.trial, &self.library) {
            let runtime = library.version().unwrap_or_default();
            let of = trial::Candidate { file: &file, digests: files, size, operators: libraries };
            trial::pass(trial, runtime, library.file(), of, how.again)?;
        }
        Ok((said, size))
    }

    /// Looks again at what was examined: what took its place meanwhile may be what was loaded.
    fn unchanged(&self, own: &Path, files: &Digests) -> Result<(), String> {
        let mut now = Digests::new();
        integrity::digest(own, files.keys().map(String::as_str), self.settings.max_model_bytes, &mut now)?;
        if now == *files {
            return Ok(());
        }
        Err("its files changed while they were loaded; load it again when all of them are there".to_owned())
    }

    /// Looks at a file that need not be in the repository, as [`Self::examine`] does, and says what it is. `of` is
    /// the model that it is to be a version of: the libraries of operators that its `model.toml` asks for are loaded
    /// with it.
    pub(crate) fn inspect(&self, file: &Path, of: Option<&str>) -> Result<Examination, String> {
        let most = self.settings.max_model_bytes;
        check_file(file, most)?;
        let (Some(own), Some(name)) = (file.parent(), file.file_name().and_then(|name| name.to_str())) else {
            return Err("this is not the name of a file".to_owned());
        };
        let own = if own.as_os_str().is_empty() { Path::new(".") } else { own };
        let mut files = Digests::new();
        let mut size = integrity::digest(own, [name], most, &mut files)?;
        let said = Inspection::read(file).map_err(|reason| reason.replacen(MODEL_FILE, name, 1))?;
        let libraries = self.libraries(of)?;
        let outcome = said.check(own, &libraries).and_then(|()| {
            size += integrity::digest(own, said.external.iter().map(String::as_str), most, &mut files)?;
            signature::check(&self.settings.signing_keys, own, &files)?;
            let library = self.library.as_ref().map_err(String::clone)?;
            if let Some(trial) = &self.settings.trial {
                let runtime = library.version().unwrap_or_default();
                let of = trial::Candidate { file, digests: &files, size, operators: &libraries };
                trial::pass(trial, runtime, library.file(), of, true)?;
            }
            let (sessions, _) = library.open(file, &trial::modest(libraries.paths()))?;
            let session = sessions.first().ok_or("no session")?;
            Ok((session.inputs().to_vec(), session.outputs().to_vec()))
        });
        Ok(Examination { said, files, size, outcome })
    }

    fn libraries(&self, model: Option<&str>) -> Result<Libraries, String> {
        let folder = model.and_then(|name| model_folder(&self.settings.model_dir, name));
        let manifest = folder.map_or(Ok(Manifest::default()), |folder| read_manifest(&folder))?;
        Libraries::of(&self.settings.custom_operators, &manifest.custom_operators)
    }

    /// How the sessions of a model are made whose files are `size` bytes together.
    fn options(&self, manifest: &Manifest, size: u64, libraries: &Libraries) -> Options {
        let (runtime, settings) = (&manifest.runtime, &self.settings);
        let memory = runtime.memory_mb.map_or(settings.model_memory, |most| most << 20);
        Options {
            instances: runtime.instances.unwrap_or(settings.instances).max(1),
            intra_threads: runtime.intra_threads.unwrap_or(settings.intra_threads).max(1),
            pack_weights: runtime.pack_weights,
            memory: (memory > 0).then(|| memory.saturating_add(size.saturating_mul(WEIGHTS))),
            providers: runtime.providers.clone().unwrap_or_else(|| settings.providers.clone()),
            operators: libraries.paths(),
        }
    }

    fn model(
        &self,
        (name, folder, manifest): (&str, &Path, &Arc<Manifest>),
        version: &str,
        (said, size): (Inspection, u64),
        life: &Life,
        libraries: Libraries,
    ) -> Result<Model, String> {
        let library = self.library.as_ref().map_err(String::clone)?;
        let file = folder.join(version).join(MODEL_FILE);
        let options = self.options(manifest, size, &libraries);
        let (sessions, execution) = library.open(&file, &options)?;
        if let Some(fallback) = execution.fallback() {
            tracing::warn!(model = name, version, provider = %execution.provider, fallback, "a model is computed by its fallback");
        }
        let mut engines: Vec<Box<dyn Engine>> =
            sessions.into_iter().map(|session| Box::new(session) as Box<dyn Engine>).collect();
        let first = engines.first().ok_or("no session")?;
        let (inputs, outputs) = (first.inputs().to_vec(), first.outputs().to_vec());
        let predictor = Predictor::new(manifest, &inputs, &outputs, folder)?;
        if manifest.runtime.warm_up {
            let time = self.settings.warm_up_time;
            warm_up::warm_up(name, &mut engines, manifest.warm_up.as_ref(), predictor.as_ref(), time)?;
        }
        let batching = Batching::new(manifest.batching.as_ref(), name, &inputs, &outputs);
        let by_rows = inputs.iter().all(|spec| spec.shape.first() == Some(&-1));
        let short_runs = ShortRuns::new(
            is_even(&said.operators) && execution.provider == Provider::Cpu && batching.max_rows().is_none(),
        );
        // What loading took beside the sessions themselves.
        memory::give_back();
        let share =
            manifest.runtime.instances_per_caller.map_or(Share::LeaveOne(engines.len()), Share::Fixed);
        let queue = Queue::with_share(self.settings.queue_capacity, share);
        let recorder = Arc::new(Recorder::new());
        let pool = Pool::start(name, engines, queue, batching, short_runs, Arc::clone(&recorder))
            .map_err(|error| format!("the threads of the model did not start: {}", error.kind()))?;
        Ok(Model {
            name: name.to_owned(),
            version: version.to_owned(),
            served: Arc::clone(&life.served),
            manifest: Arc::clone(manifest),
            inputs,
            outputs,
            predictor,
            decoder: Arc::clone(&self.decoder),
            pool,
            by_rows,
            needs_elements: NeedsElements::of(&said.operators),
            execution,
            cache: Cache::new(manifest.cache.as_ref(), self.settings.cache_bytes),
            recorder,
        })
    }
}
