//! Versions on their way into the repository: received into a folder that nothing serves, looked at, then put into their
//! place as a whole. A version that is there is never written over.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    integrity::Digests,
    loading::{Examination, Loader},
    repository::{MODEL_FILE, is_name},
    signature::SIGNATURE_FILE,
};

/// The hidden folder of the repository for what is being received.
const FOLDER: &str = ".incoming";
/// Marks a version that came this way, and may go this way.
const MARK: &str = ".received";
/// Places that are tried before it is given up; others may be receiving at the same time.
const MAX_PLACES: u64 = 1000;

/// Why a version was not taken or not removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IncomingError {
    /// The model or the version cannot be called so.
    #[error(
        "a model's or version's name has 1 to 128 letters, digits, dots, hyphens and underscores, the first a letter or digit"
    )]
    Name,
    /// There is such a version.
    #[error("there is such a version, and a version is never written over; choose another one")]
    Exists,
    /// There is no such version.
    #[error("there is no such version")]
    Missing,
    /// It is served.
    #[error("this version is served; activate another one or unload the model first")]
    InUse,
    /// The operator put it there.
    #[error("this version did not come by an upload; whoever put it there takes it away")]
    NotReceived,
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
    folder: PathBuf,
}

/// A version that was taken.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// Its files.
    pub files: Digests,
    /// Their size together, in bytes.
    pub size: u64,
}

impl Incoming {
    /// The file to write the model into; only the server's user can read it.
    pub fn create(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600).open(self.folder.join(MODEL_FILE))
    }

    /// Puts a signature beside the model.
    pub fn sign(&self, signature: &[u8]) -> io::Result<()> {
        fs::write(self.folder.join(SIGNATURE_FILE), signature)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // Gone already where it was put into its place.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn failed(error: &io::Error) -> IncomingError {
    tracing::error!(%error, "the model folder cannot be written");
    IncomingError::Failed
}

impl Loader {
    pub(crate) fn receive(&self, name: &str, version: &str) -> Result<Incoming, IncomingError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        if !is_name(name) || !is_name(version) {
            return Err(IncomingError::Name);
        }
        if fs::symlink_metadata(self.place(name, version)).is_ok() {
            return Err(IncomingError::Exists);
        }
        let parent = self.settings.model_dir.join(FOLDER);
        let private = |folder: &Path| DirBuilder::new().mode(0o700).create(folder);
        match private(&parent) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(&error)),
            _ => {}
        }
        for _ in 0..MAX_PLACES {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let folder = parent.join(format!("{}-{number}", std::process::id()));
            match private(&folder) {
                Ok(()) => {
                    return Ok(Incoming { name: name.to_owned(), version: version.to_owned(), folder });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(&error)),
            }
        }
        Err(IncomingError::Failed)
    }

    /// Looks at what was received and puts it into its place. `sha256` is what the sender says it is.
    pub(crate) fn admit(&self, incoming: Incoming, sha256: &str) -> Result<Admitted, IncomingError> {
        let file = incoming.folder.join(MODEL_FILE);
        let looked = self.inspect(&file).map_err(IncomingError::Refused)?;
        let Examination { said, files, size, outcome } = looked;
        if !files.get(MODEL_FILE).is_some_and(|found| found.eq_ignore_ascii_case(sha256)) {
            return Err(IncomingError::Refused(
                "the file does not have the SHA-256 that was announced".to_owned(),
            ));
        }
        if !said.external.is_empty() {
            let reason =
                "it refers to other files, which an upload cannot bring; put it into the repository by hand";
            return Err(IncomingError::Refused(reason.to_owned()));
        }
        outcome.map_err(IncomingError::Refused)?;
        fs::write(incoming.folder.join(MARK), b"").map_err(|error| failed(&error))?;
        let place = self.place(&incoming.name, &incoming.version);
        if let Some(model) = place.parent() {
            fs::create_dir_all(model).map_err(|error| failed(&error))?;
        }
        if fs::symlink_metadata(&place).is_ok() {
            return Err(IncomingError::Exists);
        }
        match fs::rename(&incoming.folder, &place) {
            Ok(()) => Ok(Admitted { files, size }),
            Err(_) if place.exists() => Err(IncomingError::Exists),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Takes a version away that was received before.
    pub(crate) fn withdraw(&self, name: &str, version: &str) -> Result<(), IncomingError> {
        self.is_received(name, version)?;
        let parent = self.settings.model_dir.join(FOLDER);
        let gone = parent.join(format!("gone-{}-{name}-{version}", std::process::id()));
        // In one step, so that nobody loads half of it.
        fs::rename(self.place(name, version), &gone).map_err(|error| failed(&error))?;
        fs::remove_dir_all(gone).map_err(|error| failed(&error))
    }

    pub(crate) fn is_received(&self, name: &str, version: &str) -> Result<(), IncomingError> {
        let place = self.place(name, version);
        if !is_name(name) || !is_name(version) || !place.join(MODEL_FILE).exists() {
            return Err(IncomingError::Missing);
        }
        if place.join(MARK).is_file() { Ok(()) } else { Err(IncomingError::NotReceived) }
    }

    fn place(&self, name: &str, version: &str) -> PathBuf {
        self.settings.model_dir.join(name).join(version)
    }
}
