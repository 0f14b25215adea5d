//! Uploads of model versions: received into a hidden folder, examined, then moved into place as a whole. An existing
//! version is never overwritten.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tempfile::TempDir;

use crate::{
    loading::{Examination, Loader},
    manifest,
    ownership::give_to_owner_of,
    repository::{
        Digests, MANIFEST_FILE, MODEL_FILE, SIGNATURE_FILE, integrity, is_file_name, is_name, model_folder,
        read_manifest,
    },
};

/// The hidden folder of the repository for what is being received.
const FOLDER: &str = ".incoming";
/// Marks a version that was uploaded, and may therefore be removed.
const MARK: &str = ".received";
/// What was not written to for this long was left behind: no upload takes longer, and no file that is fetched.
const ABANDONED: Duration = Duration::from_secs(2 * 3600);

/// Why a version was not accepted or not removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IncomingError {
    /// The name of the model or version is not allowed.
    #[error(
        "a model's or version's name has 1 to 128 letters, digits, dots, hyphens and underscores, the first a letter or digit"
    )]
    Name,
    /// The model's folder has a file of this name, or is to have one.
    #[error("this name is that of a file in the model's folder; choose another one")]
    Reserved,
    /// The version exists already.
    #[error("this version exists already, and versions are never overwritten; choose another one")]
    Exists,
    /// The version does not exist.
    #[error("there is no such version")]
    Missing,
    /// The version is served.
    #[error(
        "this version is active, or served besides; activate another one, or unload the model where its model.toml has \
         several served"
    )]
    InUse,
    /// The version was not uploaded: the operator put it there.
    #[error("this version was not uploaded; remove it from the model folder itself")]
    NotReceived,
    /// The model's `model.toml`, or its folder, is not there any more, or names other files for this version.
    #[error("its model.toml does not name these files for this version any more")]
    Unwanted,
    /// The file is not what was announced, or cannot be served. Names no path.
    #[error("{0}")]
    Refused(String),
    /// The repository cannot be written. The cause is in the log.
    #[error("the model folder cannot be written; the log says why")]
    Failed,
}

/// A version that is being received. Dropped before it was admitted, it leaves nothing behind.
#[derive(Debug)]
pub struct Incoming {
    name: String,
    version: String,
    folder: TempDir,
}

/// A version that was accepted.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// Its files.
    pub files: Digests,
    /// Their size together, in bytes.
    pub size: u64,
}

/// A version that was examined, and may be put into its place.
#[derive(Debug)]
pub struct Admissible {
    incoming: Incoming,
    announced: Digests,
    admitted: Admitted,
}

/// How a version came into the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was added to the running servers, and may be removed again.
    Received,
    /// Its `model.toml` names it: removed, it would be fetched again. Without that file nobody wants it.
    Manifest,
    /// The settings name it, and no `model.toml` has to be there before.
    Setting,
}

impl Incoming {
    /// The path of a file of the version. [`IncomingError::Refused`]: the name is not allowed.
    pub fn path(&self, file: &str) -> Result<PathBuf, IncomingError> {
        if !is_file_name(file) {
            return Err(IncomingError::Refused(
                "a file's name is a path inside of the version's folder".to_owned(),
            ));
        }
        let path = self.folder.path().join(file);
        if let Some(parent) = path.parent().filter(|parent| *parent != self.folder.path()) {
            DirBuilder::new().mode(0o700).recursive(true).create(parent).map_err(|error| failed(&error))?;
        }
        Ok(path)
    }

    /// Creates a file; only the server's user can read it. [`IncomingError::Refused`]: the name is not allowed, or the
    /// file exists already.
    pub fn create(&self, file: &str) -> Result<File, IncomingError> {
        let mut options = OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(0o600).open(self.path(file)?);
        opened.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => IncomingError::Refused(format!("{file:?} comes twice")),
            _ => failed(&error),
        })
    }

    /// Puts a signature beside the model.
    pub fn sign(&self, signature: &[u8]) -> io::Result<()> {
        fs::write(self.folder.path().join(SIGNATURE_FILE), signature)
    }
}

fn failed(error: &io::Error) -> IncomingError {
    tracing::error!(%error, "the model folder cannot be written");
    IncomingError::Failed
}

impl Loader {
    pub(super) fn receive(&self, name: &str, version: &str) -> Result<Incoming, IncomingError> {
        if !is_name(name) || !is_name(version) {
            return Err(IncomingError::Name);
        }
        if self.is_reserved(name, version) {
            return Err(IncomingError::Reserved);
        }
        if self.is_there(name, version) {
            return Err(IncomingError::Exists);
        }
        let folder = self.new_folder()?;
        sweep(&self.settings.model_dir.join(FOLDER), folder.path());
        Ok(Incoming { name: name.to_owned(), version: version.to_owned(), folder })
    }

    /// An empty folder for files on their way in or out. It is not called as the version is: two names together are
    /// longer than a file system takes. Nor by numbers: in containers that share the repository all processes have the
    /// same.
    fn new_folder(&self) -> Result<TempDir, IncomingError> {
        let parent = self.settings.model_dir.join(FOLDER);
        match DirBuilder::new().mode(0o700).create(&parent) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(&error)),
            _ => give_to_owner_of(&self.settings.model_dir, &parent),
        }
        tempfile::Builder::new().prefix("").tempdir_in(&parent).map_err(|error| failed(&error))
    }

    /// Removes what was left behind by processes that ended in the middle of receiving.
    pub(super) fn sweep(&self) {
        let parent = self.settings.model_dir.join(FOLDER);
        // Without the folder nothing was ever received, and the repository may be read-only.
        if let Ok(now) = tempfile::tempdir_in(&parent) {
            sweep(&parent, now.path());
        }
    }

    /// Examines what was received. `files` are the digests that the sender announced.
    pub(super) fn examine_incoming(
        &self,
        incoming: Incoming,
        files: &Digests,
    ) -> Result<Admissible, IncomingError> {
        let refused = |reason: String| Err(IncomingError::Refused(reason));
        let mut found = Digests::new();
        let most = self.settings.max_model_bytes;
        let names = files.keys().map(String::as_str);
        integrity::digest(incoming.folder.path(), names, most, &mut found).map_err(IncomingError::Refused)?;
        let differs = |(file, sha256): &(&String, &String)| !found[*file].eq_ignore_ascii_case(sha256);
        if let Some((file, _)) = files.iter().find(differs) {
            return refused(format!("{file} does not have the SHA-256 that was announced"));
        }
        let looked = self
            .examine_file(&incoming.folder.path().join(MODEL_FILE), Some(&incoming.name))
            .map_err(IncomingError::Refused)?;
        let Examination { inspection, files: known, size, outcome } = looked;
        if let Some(file) = inspection.external.iter().find(|file| !files.contains_key(*file)) {
            return refused(format!("it refers to {file:?}, which did not come with it"));
        }
        let strange = |file: &&String| !known.contains_key(*file) && *file != SIGNATURE_FILE;
        if let Some(file) = files.keys().find(strange) {
            return refused(format!("{file:?} came with it, and the model does not refer to it"));
        }
        outcome.map_err(IncomingError::Refused)?;
        let (announced, admitted) = (files.clone(), Admitted { files: known, size });
        Ok(Admissible { incoming, announced, admitted })
    }

    /// Moves a version into its place, as a whole.
    pub(super) fn place(&self, version: Admissible, origin: Origin) -> Result<Admitted, IncomingError> {
        let Admissible { incoming, announced, admitted } = version;
        if origin == Origin::Received {
            fs::write(incoming.folder.path().join(MARK), b"").map_err(|error| failed(&error))?;
        } else {
            self.check_named(&incoming, &announced, origin)?;
        }
        self.put_in_place(&incoming, origin)?;
        Ok(admitted)
    }

    /// Whether the model's `model.toml` still says what it said when its files began to come.
    fn check_named(&self, incoming: &Incoming, files: &Digests, origin: Origin) -> Result<(), IncomingError> {
        let sources = self.sources(&incoming.name).map_err(IncomingError::Refused)?;
        let named = sources.0.get(&incoming.version).map(manifest::digests);
        let is_named = match named {
            Some(named) => named == *files,
            None => origin == Origin::Setting,
        };
        if is_named { Ok(()) } else { Err(IncomingError::Unwanted) }
    }

    fn put_in_place(&self, incoming: &Incoming, origin: Origin) -> Result<(), IncomingError> {
        let place = self.place_of(&incoming.name, &incoming.version);
        if fs::symlink_metadata(&place).is_ok() {
            return Err(IncomingError::Exists);
        }
        give_to_owner_of(&self.settings.model_dir, incoming.folder.path());
        let rename = || {
            // A folder that was removed would come back without its model.toml, and open to everyone.
            if let Some(model) = place.parent().filter(|_| origin != Origin::Manifest) {
                fs::create_dir_all(model)?;
                give_to_owner_of(&self.settings.model_dir, model);
            }
            fs::rename(incoming.folder.path(), &place)
        };
        // The last version before it may have been removed meanwhile, and the model's folder with it.
        let renamed = rename().or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => rename(),
            _ => Err(error),
        });
        match renamed {
            Ok(()) => {
                // So that the new name outlives a loss of power, too.
                let synced = place.parent().map_or(Ok(()), |model| File::open(model)?.sync_all());
                synced.map_err(|error| failed(&error))
            }
            Err(_) if place.exists() => Err(IncomingError::Exists),
            Err(error) if origin == Origin::Manifest && error.kind() == io::ErrorKind::NotFound => {
                Err(IncomingError::Unwanted)
            }
            Err(error) => Err(failed(&error)),
        }
    }

    /// Whether a version of this name would be in the way of a file of the model's folder: `model.toml` itself, one that it
    /// names, or one that lies there.
    fn is_reserved(&self, name: &str, version: &str) -> bool {
        let lies_there =
            fs::symlink_metadata(self.place_of(name, version)).is_ok_and(|there| !there.is_dir());
        // On a file system that does not tell the cases apart, too.
        if lies_there || version.eq_ignore_ascii_case(MANIFEST_FILE) {
            return true;
        }
        let folder = model_folder(&self.settings.model_dir, name);
        let manifest = folder.and_then(|folder| read_manifest(&folder).ok());
        manifest.is_some_and(|manifest| {
            let labels = manifest.classification.iter().filter_map(|named| named.labels.as_deref());
            let checked = manifest.checksums.keys().map(String::as_str).filter(|file| !file.contains('/'));
            let first = |file: &str| file.split('/').find(|part| !matches!(*part, "" | ".")) == Some(version);
            labels.chain(checked).any(first)
        })
    }

    /// Whether the repository has a folder of this name for the version.
    pub(super) fn is_there(&self, name: &str, version: &str) -> bool {
        fs::symlink_metadata(self.place_of(name, version)).is_ok()
    }

    /// Removes a version that was uploaded.
    pub(super) fn withdraw(&self, name: &str, version: &str) -> Result<(), IncomingError> {
        self.require_received(name, version)?;
        let gone = self.new_folder()?.keep();
        // In one step, so that nobody loads half of it; somebody else may have taken it away meanwhile.
        let renamed = fs::rename(self.place_of(name, version), &gone).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => IncomingError::Missing,
            _ => failed(&error),
        });
        // The last one leaves nothing behind; with a model.toml in it, the folder stays.
        let _ = fs::remove_dir(self.settings.model_dir.join(name));
        let removed = fs::remove_dir_all(gone).map_err(|error| failed(&error));
        renamed.and(removed)
    }

    pub(super) fn require_received(&self, name: &str, version: &str) -> Result<(), IncomingError> {
        let place = self.place_of(name, version);
        if !is_name(name) || !is_name(version) || !place.join(MODEL_FILE).exists() {
            return Err(IncomingError::Missing);
        }
        if place.join(MARK).is_file() { Ok(()) } else { Err(IncomingError::NotReceived) }
    }

    fn place_of(&self, name: &str, version: &str) -> PathBuf {
        self.settings.model_dir.join(name).join(version)
    }
}

/// Removes files older than any running upload; `now` is the time stamp of a file just made, by the disk's clock.
fn sweep(parent: &Path, now: &Path) {
    let Some(now_at) = last_change(now) else { return };
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let folder = entry.path();
        let age = last_change(&folder).and_then(|last| now_at.duration_since(last).ok()).unwrap_or_default();
        if age > ABANDONED && fs::remove_dir_all(&folder).is_ok() {
            tracing::info!(folder = %folder.display(), "what was received in part was removed");
        }
    }
}

/// When a file, or the last of a folder and all in it, was changed.
fn last_change(path: &Path) -> Option<SystemTime> {
    let metadata = fs::symlink_metadata(path).ok()?;
    let inside = metadata.is_dir().then(|| fs::read_dir(path).into_iter().flatten().flatten());
    let inside = inside.into_iter().flatten().filter_map(|entry| last_change(&entry.path()));
    inside.chain(metadata.modified().ok()).max()
}

#[cfg(test)]
#[path = "incoming_tests.rs"]
mod tests;
