//! The quarantine: files being received, on this machine. What a killed process left is recognised by its lock, which
//! ended with the process.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::folder::{entries, gone, private};

/// What the folder is called. No account is called so.
const NAME: &str = "quarantine";

/// The folder of what is on its way.
#[derive(Clone)]
pub(super) struct Quarantine(PathBuf);

/// Bytes on their way. Dropped before they were put into their place, they leave nothing behind; what a killed process
/// left behind, [`super::Vault::sweep`] finds.
#[derive(Debug)]
pub struct IncomingFile {
    file: File,
    path: PathBuf,
    account: Uuid,
    id: Uuid,
    is_moved: bool,
}

impl Quarantine {
    pub fn within(folder: &Path) -> Self {
        Self(folder.join(NAME))
    }

    pub fn receive(&self, account: Uuid, id: Uuid) -> io::Result<IncomingFile> {
        private(&self.0)?;
        let path = self.0.join(id.to_string());
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let incoming = IncomingFile { file, path, account, id, is_moved: false };
        incoming.file.try_lock().map_err(io::Error::from)?;
        Ok(incoming)
    }

    pub fn sweep(&self) -> io::Result<u64> {
        let (mut swept, mut failed) = (0, None);
        for path in entries(&self.0)? {
            let Ok(file) = File::open(&path) else { continue };
            match file.try_lock() {
                Ok(()) => match gone(fs::remove_file(&path)) {
                    Ok(()) => swept += 1,
                    Err(error) => failed = failed.or(Some(error)),
                },
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => failed = failed.or(Some(error)),
            }
        }
        // One that cannot be removed keeps no other.
        failed.map_or(Ok(swept), Err)
    }
}

impl IncomingFile {
    /// Adds bytes. It waits for the disk.
    pub fn write(&mut self, bytes: &[u8]) -> crate::Result<()> {
        self.file.write_all(bytes).map_err(super::out_of_order)
    }

    /// What was written so far. It waits for the disk.
    pub fn written(&self) -> crate::Result<Vec<u8>> {
        self.read().map_err(super::out_of_order)
    }

    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        fs::read(&self.path)
    }

    pub(super) fn account(&self) -> Uuid {
        self.account
    }

    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    /// Moves it within its file system, to stay there through a loss of power.
    pub(super) fn move_to(&mut self, place: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, place)?;
        self.is_moved = true;
        Ok(())
    }
}

impl Drop for IncomingFile {
    fn drop(&mut self) {
        if !self.is_moved {
            let _ = fs::remove_file(&self.path);
        }
    }
}
