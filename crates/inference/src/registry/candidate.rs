//! What a model would serve in its desired state: its versions are loaded as its folder and `model.toml` say.

use std::{path::Path, sync::Arc};

use super::{
    desired_state::DesiredState,
    entry::{Entry, Lineage, Version, again},
};
use crate::{
    loading::{LoadOptions, Loader, ModelFolder},
    model::Model,
    operators::Libraries,
    printable::printable,
    repository::{Digests, chosen, folders, log_passed_over, model_folder, passed_over, read_manifest},
};

/// Why a model without any version is not served, where its `model.toml` says where they are.
const FETCHING: &str = "its files are not here yet; a running server fetches them and serves it then";

/// Why an entry cannot take the place of `old`: a version that is served besides would not be any more. One that cannot be
/// loaded goes on where something else was asked for than a load; one whose folder is gone is missed where nothing was.
fn lost(entry: &mut Entry, old: &Entry, folder: &Path, options: LoadOptions) -> Option<String> {
    let is_load = entry.desired.loads != old.reached.loads;
    let unasked = entry.desired.asks_as(&old.reached) && !options.retry_failed;
    for served in old.versions.iter().filter(|served| served.model.is_ok()) {
        let version = &served.name;
        let new = entry.versions.iter_mut().find(|new| new.name == *version);
        match new.map(|new| (new.model.clone(), new)) {
            Some((Err(reason), _)) if is_load || unasked => {
                return Some(format!("version {version}: {reason}"));
            }
            Some((Err(_), new)) => *new = served.clone(),
            Some((Ok(_), _)) => {}
            None if unasked && !entry.desired.waiting.contains(version) && !folder.join(version).exists() => {
                return Some(format!("version {version} is gone from the model's folder"));
            }
            None => {}
        }
    }
    None
}

/// A model as it could be served from now on.
pub(super) struct Candidate {
    pub(super) entry: Entry,
    /// Why its version for calls that name none cannot be served.
    pub(super) failure: Option<String>,
}

impl Loader {
    /// Every folder of the repository that is a model; what else lies there is logged.
    pub(super) fn names(&self) -> Vec<String> {
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
    /// changed; `reload_all` loads all of them again.
    pub(super) fn candidate(
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
            let reason = printable(&reason);
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
        if options.reload_all {
            log_passed_over(Some(name), &passed_over(&folder));
        }
        let (versions, reason) =
            match chosen(&folder, &manifest.versions, desired.active.as_deref(), &desired.waiting) {
                Ok(names) => {
                    let kept =
                        old.filter(|old| !options.reload_all && old.manifest.as_ref() == Some(&manifest));
                    let of = ModelFolder { name, path: &folder, manifest: &manifest };
                    (self.versions(of, &names, lineage, kept, options), None)
                }
                Err(_) if !manifest.source.0.is_empty() => {
                    // Why they could not be fetched, where that was tried.
                    let same =
                        old.filter(|old| old.versions.is_empty() && old.manifest.as_ref() == Some(&manifest));
                    let known = same.and_then(|old| old.reason.clone());
                    (Vec::new(), Some(known.unwrap_or_else(|| FETCHING.to_owned())))
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
        let failure = failure.or_else(|| old.and_then(|old| lost(&mut entry, old, &folder, options)));
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
        let names = read
            .and_then(|(folder, manifest)| chosen(&folder, &manifest.versions, None, &desired.waiting).ok());
        let reason = "it was unloaded".to_owned();
        let version = |name: String| Version { name, files: Arc::default(), model: Err(reason.clone()) };
        let versions = names.into_iter().flatten().map(version).collect();
        Entry {
            versions,
            reason: Some(reason.clone()),
            ..Entry::of(name, manifest, desired, Arc::clone(lineage))
        }
    }

    /// Whether other files than those of a version that is served are to be served under its number by now.
    pub(super) fn is_superseded(&self, name: &str, version: &Version) -> bool {
        let known = self.known.read();
        let known = known.get(&(name.to_owned(), version.name.clone()));
        let differs = |(file, digest): (&String, &String)| {
            known.and_then(|known| known.get(file)).is_some_and(|known| known != digest)
        };
        version.model.is_ok() && version.files.iter().any(differs)
    }

    /// Whether the repository has a folder for the model.
    pub(super) fn has(&self, name: &str) -> bool {
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
            if let Some(served) = served.filter(|old| old.model.is_ok() && !self.is_superseded(of.name, old))
            {
                return served.clone();
            }
            let _loading = lineage.loading(version);
            let mut files = Digests::new();
            let libraries = Libraries::of(&self.settings.custom_operators, &of.manifest.custom_operators);
            let model: Result<Model, String> = libraries.and_then(|libraries| {
                let examined = self.check_version(of, version, options, &libraries, &mut files)?;
                let model = self.model(of, version, examined, &lineage.served, libraries)?;
                self.check_unchanged(&of.path.join(version), &files)?;
                Ok(model)
            });
            let model = model.map(Arc::new).map_err(|reason| printable(&reason));
            match &model {
                Ok(_) => tracing::info!(model = of.name, version, "a model is ready"),
                Err(reason) => tracing::error!(model = of.name, version, reason, "a version is not served"),
            }
            Version { name: version.clone(), files: Arc::new(files), model }
        };
        names.iter().map(load).collect()
    }
}
