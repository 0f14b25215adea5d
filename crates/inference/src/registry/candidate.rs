//! What a model would serve in its desired state: its versions are loaded as its folder and `model.toml` say.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    desired_state::DesiredState,
    entry::{Entry, Lineage, Version, again},
};
use crate::{
    loading::{LoadOptions, Loader, ModelFolder},
    manifest::Manifest,
    model::Model,
    operators::Libraries,
    printable::printable,
    repository::{Digests, chosen, folders, log_passed_over, model_folder, passed_over, read_manifest},
};

/// Why a model without any version is not served, where its `model.toml` says where they are.
const FETCHING: &str = "its files are not here yet; a running server fetches them and serves it then";

/// Takes over versions of `old` that go on although they cannot be loaded: where something else was asked for than a load.
/// The reason where the entry cannot take the place of `old`, because a version that is served besides would not be any
/// more: one that was to be loaded, or one whose folder is gone where nothing was asked for.
fn carry_over(entry: &mut Entry, old: &Entry, folder: &Path, options: LoadOptions) -> Option<String> {
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

/// What a model is to be, and what it is.
pub(super) struct Wish<'a> {
    pub(super) name: &'a str,
    pub(super) desired: DesiredState,
    pub(super) lineage: &'a Arc<Lineage>,
    /// What is served now.
    pub(super) old: Option<&'a Entry>,
    pub(super) options: LoadOptions,
}

impl Wish<'_> {
    fn entry(&self, manifest: Option<Arc<Manifest>>) -> Entry {
        Entry::of(self.name, manifest, self.desired.clone(), Arc::clone(self.lineage))
    }

    fn failed(&self, reason: &str) -> Candidate {
        let reason = printable(reason);
        let (desired, lineage) = (self.desired.clone(), Arc::clone(self.lineage));
        let entry = Entry::without_versions(self.name, reason.clone(), desired, lineage);
        Candidate { entry, failure: Some(reason) }
    }
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

    /// Loads the desired state of a model. Versions that are served already are kept where nothing says that they
    /// changed; `reload_all` loads all of them again.
    pub(super) fn candidate(&self, wish: &Wish<'_>) -> Candidate {
        if wish.desired.unloaded {
            return Candidate { entry: self.unloaded(wish), failure: None };
        }
        let (folder, manifest) = match self.read_folder(wish.name) {
            Ok((folder, manifest)) => (folder, Arc::new(manifest)),
            Err(reason) => return wish.failed(&reason),
        };
        if wish.options.reload_all {
            log_passed_over(Some(wish.name), &passed_over(&folder));
        }
        let (versions, reason) = self.versions(wish, &folder, &manifest);
        let mut entry = Entry { versions, reason, ..wish.entry(Some(manifest)) };
        let failure = entry.default_failure();
        let failure =
            failure.or_else(|| wish.old.and_then(|old| carry_over(&mut entry, old, &folder, wish.options)));
        entry.again = failure.as_ref().and_then(|_| again(&wish.desired));
        Candidate { entry, failure }
    }

    fn read_folder(&self, name: &str) -> Result<(PathBuf, Manifest), String> {
        let folder = model_folder(&self.settings.model_dir, name);
        let folder = folder.ok_or("the model folder has no such model")?;
        let manifest = read_manifest(&folder)?;
        Ok((folder, manifest))
    }

    /// A model of which nothing is to be served: its versions stay listed.
    fn unloaded(&self, wish: &Wish<'_>) -> Entry {
        let folder = model_folder(&self.settings.model_dir, wish.name);
        let manifest = folder.as_deref().and_then(|folder| read_manifest(folder).ok()).map(Arc::new);
        let manifest = manifest.or_else(|| wish.old.and_then(|old| old.manifest.clone()));
        let read = folder.zip(manifest.as_ref());
        let names = read.and_then(|(folder, manifest)| {
            chosen(&folder, &manifest.versions, None, &wish.desired.waiting).ok()
        });
        let reason = "it was unloaded".to_owned();
        let version = |name: String| Version { name, files: Arc::default(), model: Err(reason.clone()) };
        let versions = names.into_iter().flatten().map(version).collect();
        Entry { versions, reason: Some(reason.clone()), ..wish.entry(manifest) }
    }

    /// The versions to serve, each loaded or with the reason why not; else why there are none.
    fn versions(
        &self,
        wish: &Wish<'_>,
        folder: &Path,
        manifest: &Arc<Manifest>,
    ) -> (Vec<Version>, Option<String>) {
        let desired = &wish.desired;
        let unchanged = wish.old.filter(|old| old.manifest.as_ref() == Some(manifest));
        match chosen(folder, &manifest.versions, desired.active.as_deref(), &desired.waiting) {
            Ok(names) => {
                let kept = unchanged.filter(|_| !wish.options.reload_all);
                let of = ModelFolder { name: wish.name, path: folder, manifest };
                let load = |version| self.version(wish, of, version, kept);
                (names.iter().map(load).collect(), None)
            }
            Err(_) if !manifest.source.0.is_empty() => {
                // Why they could not be fetched, where that was tried.
                let known = unchanged.filter(|old| old.versions.is_empty());
                let known = known.and_then(|old| old.reason.clone());
                (Vec::new(), Some(known.unwrap_or_else(|| FETCHING.to_owned())))
            }
            Err(reason) => (Vec::new(), Some(reason)),
        }
    }

    /// A version, loaded unless `kept` serves it.
    fn version(
        &self,
        wish: &Wish<'_>,
        of: ModelFolder<'_>,
        version: &String,
        kept: Option<&Entry>,
    ) -> Version {
        let served = kept.and_then(|old| old.versions.iter().find(|old| old.name == *version));
        if let Some(served) = served.filter(|old| old.model.is_ok() && !self.is_superseded(of.name, old)) {
            return served.clone();
        }
        let _loading = wish.lineage.loading(version);
        let mut files = Digests::new();
        let libraries = Libraries::of(&self.settings.custom_operators, &of.manifest.custom_operators);
        let model: Result<Model, String> = libraries.and_then(|libraries| {
            let examined = self.check_version(of, version, wish.options, &libraries, &mut files)?;
            let model = self.model(of, version, examined, &wish.lineage.served, libraries)?;
            self.check_unchanged(&of.path.join(version), &files)?;
            Ok(model)
        });
        let model = model.map(Arc::new).map_err(|reason| printable(&reason));
        match &model {
            Ok(_) => tracing::info!(model = of.name, version, "a model is ready"),
            Err(reason) => tracing::error!(model = of.name, version, reason, "a version is not served"),
        }
        Version { name: version.clone(), files: Arc::new(files), model }
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
}
