//! Models as they are loaded: from a folder of the repository to something that answers, or a reason why not.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use crate::{
    batching::Batching,
    decoding::Decoder,
    engine::Engine,
    error::Error,
    integrity,
    manifest::{Access, Manifest},
    memory,
    model::Model,
    onnx::{Library, Options},
    predict::Predictor,
    registry::{ModelStatus, State},
    repository::{MODEL_FILE, check_file, chosen, folders, names_version, read_manifest},
    settings::Settings,
    statistics::Recorder,
    warm_up,
    worker::Pool,
};

/// A model of the repository: what its folder says, and each version that is or should be served.
pub(crate) struct Entry {
    name: String,
    required: bool,
    pub(crate) access: Access,
    /// Lowest first.
    versions: Vec<Version>,
    /// Why there are no versions.
    reason: Option<String>,
}

struct Version {
    name: String,
    sha256: Option<String>,
    model: Result<Arc<Model>, String>,
}

/// What loading a model needs beside its folder.
struct Loader<'a> {
    settings: &'a Settings,
    library: Result<&'a Library, &'a str>,
    decoder: &'a Arc<Decoder>,
}

/// Loads every model of the repository.
pub(crate) fn open(
    settings: &Settings,
    library: Result<&Library, &str>,
    decoder: &Arc<Decoder>,
) -> BTreeMap<String, Entry> {
    let loader = Loader { settings, library, decoder };
    let folders = match folders(&settings.model_dir) {
        Ok(folders) => folders,
        Err(error) => {
            tracing::error!(folder = %settings.model_dir.display(), %error, "the model folder cannot be read");
            Vec::new()
        }
    };
    let entries = folders.into_iter().map(|(name, folder)| (name.clone(), loader.entry(name, &folder)));
    entries.collect()
}

impl Loader<'_> {
    fn entry(&self, name: String, folder: &Path) -> Entry {
        let manifest = match read_manifest(folder) {
            Ok(manifest) => Arc::new(manifest),
            Err(reason) => {
                tracing::error!(model = name, reason, "a model is not served");
                // Whom it is meant for cannot be known, so it is not shown to everyone.
                let (required, access) = (false, Access::Granted);
                return Entry { name, required, access, versions: Vec::new(), reason: Some(reason) };
            }
        };
        let (versions, reason) = match chosen(folder, &manifest.versions.serve) {
            Ok(names) => (self.versions(&name, folder, &manifest, &names), None),
            Err(reason) => (Vec::new(), Some(reason)),
        };
        if let Some(reason) = &reason {
            tracing::error!(model = name, reason, "a model is not served");
        }
        Entry { name, required: manifest.required, access: manifest.access, versions, reason }
    }

    fn versions(
        &self,
        name: &str,
        folder: &Path,
        manifest: &Arc<Manifest>,
        names: &[String],
    ) -> Vec<Version> {
        let load = |version: &String| {
            let file = folder.join(version).join(MODEL_FILE);
            let checked = check_file(&file, self.settings.max_model_bytes);
            let sha256 = checked.is_ok().then(|| integrity::sha256(&file).ok()).flatten();
            let model = checked
                .and_then(|()| {
                    integrity::verify(folder, manifest, version, |part| names_version(folder, part))
                })
                .and_then(|()| self.model(name, folder, manifest, version, names))
                .map(Arc::new);
            match &model {
                Ok(_) => tracing::info!(model = name, version, "a model is ready"),
                Err(reason) => tracing::error!(model = name, version, reason, "a model is not served"),
            }
            Version { name: version.clone(), sha256, model }
        };
        names.iter().map(load).collect()
    }

    fn model(
        &self,
        name: &str,
        folder: &Path,
        manifest: &Arc<Manifest>,
        version: &str,
        versions: &[String],
    ) -> Result<Model, String> {
        let library = self.library.map_err(str::to_owned)?;
        let file = folder.join(version).join(MODEL_FILE);
        let threads = manifest.runtime.intra_threads.unwrap_or(self.settings.intra_threads).max(1);
        let instances = manifest.runtime.instances.unwrap_or(self.settings.instances).max(1);
        let pack_weights = manifest.runtime.pack_weights;
        let options = Options { instances, intra_threads: threads, pack_weights };
        let sessions = library.open(&file, &options)?;
        let mut engines: Vec<Box<dyn Engine>> =
            sessions.into_iter().map(|session| Box::new(session) as Box<dyn Engine>).collect();
        let first = engines.first().ok_or("no session")?;
        let (inputs, outputs) = (first.inputs().to_vec(), first.outputs().to_vec());
        let predictor = Predictor::new(manifest, &inputs, &outputs, folder)?;
        if manifest.runtime.warm_up {
            warm_up::warm_up(name, &mut engines, manifest.warm_up.as_ref(), predictor.as_ref())?;
        }
        let batching = Batching::new(manifest.batching.as_ref(), name, &inputs, &outputs);
        let by_rows = inputs.iter().all(|spec| spec.shape.first() == Some(&-1));
        // What loading took beside the sessions themselves.
        memory::give_back();
        let recorder = Arc::new(Recorder::new());
        let pool = Pool::start(name, engines, self.settings.queue_capacity, batching, Arc::clone(&recorder))
            .map_err(|error| format!("the threads of the model did not start: {}", error.kind()))?;
        Ok(Model {
            name: name.to_owned(),
            version: version.to_owned(),
            versions: versions.to_vec(),
            manifest: Arc::clone(manifest),
            inputs,
            outputs,
            predictor,
            decoder: Arc::clone(self.decoder),
            pool,
            by_rows,
            recorder,
        })
    }
}

impl Entry {
    pub(crate) fn statuses(&self) -> Vec<ModelStatus> {
        let status = |version: &str, reason: Option<&String>, sha256: Option<&String>| ModelStatus {
            name: self.name.clone(),
            version: version.to_owned(),
            state: if reason.is_none() { State::Ready } else { State::Unavailable },
            reason: reason.cloned(),
            required: self.required,
            access: self.access,
            sha256: sha256.cloned(),
        };
        match &self.reason {
            Some(reason) => vec![status("", Some(reason), None)],
            None => {
                let of = |version: &Version| {
                    status(&version.name, version.model.as_ref().err(), version.sha256.as_ref())
                };
                self.versions.iter().map(of).collect()
            }
        }
    }

    pub(crate) fn ready(&self) -> impl DoubleEndedIterator<Item = &Arc<Model>> {
        self.versions.iter().filter_map(|version| version.model.as_ref().ok())
    }

    pub(crate) fn find(&self, version: Option<&str>) -> Result<Arc<Model>, Error> {
        let unavailable = |reason: &str| {
            Error::Unavailable(format!("model \"{}\" cannot be served now: {reason}", self.name))
        };
        if let Some(reason) = &self.reason {
            return Err(unavailable(reason));
        }
        let chosen = match version {
            Some(wanted) => self.versions.iter().find(|version| version.name == wanted),
            None => {
                if let Some(model) = self.ready().next_back() {
                    return Ok(Arc::clone(model));
                }
                self.versions.last()
            }
        };
        let chosen = chosen.ok_or_else(|| {
            let version = version.unwrap_or_default();
            Error::NotFound(format!("model \"{}\" has no version \"{version}\"", self.name))
        })?;
        chosen.model.as_ref().map(Arc::clone).map_err(|reason| unavailable(reason))
    }
}
