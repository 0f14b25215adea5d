//! Loading models: from a folder of the repository to sessions that answer, or to a reason why not.

use std::{
    path::Path,
    sync::{Arc, RwLock},
};

use crate::{
    desired_state::DesiredState,
    engine::Engine,
    entry::{Entry, Lineage, Version, again},
    inspection::Inspection,
    integrity::Digests,
    manifest::Manifest,
    memory,
    model::{Cache, Model, NeedsElements},
    onnx::{Library, Options},
    operators::Libraries,
    predict::Predictor,
    provider::{Execution, Provider},
    registry::KnownFiles,
    repository::{MODEL_FILE, chosen, folders, log_passed_over, model_folder, passed_over, read_manifest},
    scheduling::{Batching, Decoder, Pool, Queue, Share, ShortRuns, is_even},
    settings::Settings,
    statistics::Recorder,
    warm_up,
};

/// A session's constants take at most this many times the size of the model's files: as read, as packed, and those that
/// constant folding adds.
pub(crate) const WEIGHTS: u64 = 3;

/// What loading a model needs beside its folder.
pub(crate) struct Loader {
    pub(crate) settings: Settings,
    pub(crate) library: Result<Library, String>,
    pub(crate) decoder: Arc<Decoder>,
    /// The files of versions as they were when they were served first.
    pub(crate) known: RwLock<KnownFiles>,
}

/// A model's folder in the repository, and what its `model.toml` says.
#[derive(Clone, Copy)]
pub(crate) struct ModelFolder<'a> {
    pub(crate) name: &'a str,
    pub(crate) path: &'a Path,
    pub(crate) manifest: &'a Arc<Manifest>,
}

/// How versions are loaded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoadOptions {
    /// Load again even the versions that are served already.
    pub(crate) afresh: bool,
    /// Accept files that have changed since they were first served.
    pub(crate) accept: bool,
    /// Try versions again that failed their trial before.
    pub(crate) again: bool,
}

/// A model as it could be served from now on.
pub(crate) struct Candidate {
    pub(crate) entry: Entry,
    /// Why its version for calls that name none cannot be served.
    pub(crate) failure: Option<String>,
}

impl Loader {
    /// Every folder of the repository that is a model; what else lies there is logged.
    pub(crate) fn names(&self) -> Vec<String> {
        match folders(&self.settings.model_dir) {
            Ok(folders) => {
                log_passed_over(None, &passed_over(&self.settings.model_dir));
                folders.into_iter().map(|(name, _)| name).collect()
            }
            Err(error) => {
                tracing::error!(folder = %self.settings.model_dir.display(), %error, "the model folder cannot be read");
                Vec::new()
            }
        }
    }

    /// Loads the desired state of a model. Versions that `old` serves already are kept where nothing says that they
    /// changed; `afresh` loads all of them again.
    pub(crate) fn candidate(
        &self,
        name: &str,
        desired: DesiredState,
        lineage: &Arc<Lineage>,
        old: Option<&Entry>,
        options: LoadOptions,
    ) -> Candidate {
        if desired.unloaded {
            return Candidate { entry: self.unloaded(name, desired, lineage, old), failure: None };
        }
        let failed = |reason: String| {
            let entry = Entry::without_versions(name, reason.clone(), desired.clone(), Arc::clone(lineage));
            Candidate { entry, failure: Some(reason) }
        };
        let Some(folder) = model_folder(&self.settings.model_dir, name) else {
            return failed("the model folder has no such model".to_owned());
        };
        let manifest = match read_manifest(&folder) {
            Ok(manifest) => Arc::new(manifest),
            Err(reason) => return failed(reason),
        };
        if options.afresh {
            log_passed_over(Some(name), &passed_over(&folder));
        }
        let (versions, reason) = match chosen(&folder, &manifest.versions, desired.active.as_deref()) {
            Ok(names) => {
                let kept = old.filter(|old| !options.afresh && old.manifest.as_ref() == Some(&manifest));
                let of = ModelFolder { name, path: &folder, manifest: &manifest };
                (self.versions(of, &names, lineage, kept, options), None)
            }
            Err(_) if !manifest.source.0.is_empty() => {
                (Vec::new(), Some("its files are being fetched".to_owned()))
            }
            Err(reason) => (Vec::new(), Some(reason)),
        };
        let mut entry = Entry {
            versions,
            reason: reason.clone(),
            ..Entry::of(name, Some(manifest), desired.clone(), Arc::clone(lineage))
        };
        let failure = match entry.intended() {
            Some(version) => version.model.as_ref().err().cloned(),
            None => reason,
        };
        entry.again = failure.as_ref().and_then(|_| again(&desired));
        Candidate { entry, failure }
    }

    /// A model of which nothing is to be served: its versions stay listed.
    fn unloaded(
        &self,
        name: &str,
        desired: DesiredState,
        lineage: &Arc<Lineage>,
        old: Option<&Entry>,
    ) -> Entry {
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
            ..Entry::of(name, manifest, desired, Arc::clone(lineage))
        }
    }

    /// Whether the repository has a folder for the model.
    pub(crate) fn has(&self, name: &str) -> bool {
        model_folder(&self.settings.model_dir, name).is_some()
    }

    fn versions(
        &self,
        of: ModelFolder<'_>,
        names: &[String],
        lineage: &Arc<Lineage>,
        kept: Option<&Entry>,
        options: LoadOptions,
    ) -> Vec<Version> {
        let load = |version: &String| {
            let served = kept.and_then(|old| old.versions.iter().find(|old| old.name == *version));
            if let Some(served) = served.filter(|old| old.model.is_ok()) {
                return served.clone();
            }
            let _loading = lineage.loading(version);
            let mut files = Digests::new();
            let libraries = Libraries::of(&self.settings.custom_operators, &of.manifest.custom_operators);
            let model = libraries
                .and_then(|libraries| {
                    let examined = self.examine(of, version, options, &libraries, &mut files)?;
                    let model = self.model(of, version, examined, lineage, libraries)?;
                    self.check_unchanged(&of.path.join(version), &files)?;
                    Ok(model)
                })
                .map(Arc::new);
            match &model {
                Ok(_) => tracing::info!(model = of.name, version, "a model is ready"),
                Err(reason) => tracing::error!(model = of.name, version, reason, "a version is not served"),
            }
            Version { name: version.clone(), files: Arc::new(files), model }
        };
        names.iter().map(load).collect()
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
        of: ModelFolder<'_>,
        version: &str,
        (inspection, size): (Inspection, u64),
        lineage: &Lineage,
        libraries: Libraries,
    ) -> Result<Model, String> {
        let ModelFolder { name, path, manifest } = of;
        let (mut engines, execution) = self.engines(of, version, size, &libraries)?;
        let first = engines.first().ok_or("no session")?;
        let (inputs, outputs) = (first.inputs().to_vec(), first.outputs().to_vec());
        let predictor = Predictor::new(manifest, &inputs, &outputs, path)?;
        if manifest.runtime.warm_up {
            let time = self.settings.warm_up_time;
            warm_up::warm_up(name, &mut engines, manifest.warm_up.as_ref(), predictor.as_ref(), time)?;
        }
        // What loading took beside the sessions themselves.
        memory::give_back();
        let recorder = Arc::new(Recorder::new());
        let batching = Batching::new(manifest.batching.as_ref(), name, &inputs, &outputs);
        let short_runs = ShortRuns::new(
            is_even(&inspection.operators)
                && execution.provider == Provider::Cpu
                && batching.max_rows().is_none(),
        );
        let share =
            manifest.runtime.instances_per_caller.map_or(Share::LeaveOne(engines.len()), Share::Fixed);
        let queue = Queue::with_share(self.settings.queue_capacity, share);
        let pool = Pool::start(name, engines, queue, batching, short_runs, Arc::clone(&recorder))
            .map_err(|error| format!("the threads of the model did not start: {}", error.kind()))?;
        Ok(Model {
            name: name.to_owned(),
            version: version.to_owned(),
            served: Arc::clone(&lineage.served),
            manifest: Arc::clone(manifest),
            by_rows: inputs.iter().all(|spec| spec.shape.first() == Some(&-1)),
            inputs,
            outputs,
            predictor,
            decoder: Arc::clone(&self.decoder),
            pool,
            needs_elements: NeedsElements::of(&inspection.operators),
            execution,
            cache: Cache::new(manifest.cache.as_ref(), self.settings.cache_bytes),
            recorder,
        })
    }

    /// The sessions of a version whose files are `size` bytes together, and what computes them.
    fn engines(
        &self,
        of: ModelFolder<'_>,
        version: &str,
        size: u64,
        libraries: &Libraries,
    ) -> Result<(Vec<Box<dyn Engine>>, Execution), String> {
        let library = self.library.as_ref().map_err(String::clone)?;
        let options = self.options(of.manifest, size, libraries);
        let (sessions, execution) = library.open(&of.path.join(version).join(MODEL_FILE), &options)?;
        if let Some(fallback) = execution.fallback() {
            tracing::warn!(model = of.name, version, provider = %execution.provider, fallback, "a model is computed by its fallback");
        }
        let engines = sessions.into_iter().map(|session| Box::new(session) as Box<dyn Engine>);
        Ok((engines.collect(), execution))
    }
}
