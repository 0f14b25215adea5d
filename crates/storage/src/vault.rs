//! The bytes of stored files, in a folder that only this program's user can read: `<account>/<file>`, and what is on its way in
//! quarantine. Names are ids: nothing that a caller says is part of a path.
//!
//! Another place, such as a bucket, would offer the same few operations.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use uuid::Uuid;

/// Where what is on its way lies. No account is called so.
const QUARANTINE: &str = "quarantine";

/// Where the bytes lie.
#[derive(Clone, Debug)]
pub struct Vault {
    folder: PathBuf,
}

/// Bytes on their way. Dropped before they were put into their place, they leave nothing behind; what a killed process
/// left behind, [`Vault::sweep`] finds by its lock, which ended with the process.
#[derive(Debug)]
pub struct IncomingFile {
    file: File,
    path: PathBuf,
    place: PathBuf,
    placed: bool,
}

impl Vault {
    /// In this folder, which is made when it is first needed.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Begins to receive a file of an account.
    pub fn receive(&self, account: Uuid, id: Uuid) -> io::Result<IncomingFile> {
        let quarantine = self.folder.join(QUARANTINE);
        private(&quarantine)?;
        let path = quarantine.join(id.to_string());
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let incoming = IncomingFile { file, path, place: self.place(account, id), placed: false };
        incoming.file.try_lock().map_err(io::Error::from)?;
        Ok(incoming)
    }

    /// The bytes of a file.
    pub fn read(&self, account: Uuid, id: Uuid) -> io::Result<Vec<u8>> {
        fs::read(self.place(account, id))
    }

    /// Removes the bytes of a file; they may be gone.
    pub fn remove(&self, account: Uuid, id: Uuid) -> io::Result<()> {
        gone(fs::remove_file(self.place(account, id)))
    }

    /// Removes all bytes of an account; there may be none.
    pub fn remove_account(&self, account: Uuid) -> io::Result<()> {
        gone(fs::remove_dir_all(self.folder.join(account.to_string())))
    }

    /// Removes what killed processes left in quarantine. Answers how many.
    pub fn sweep(&self) -> io::Result<u64> {
        let mut swept = 0;
        for path in entries(&self.folder.join(QUARANTINE))? {
            let Ok(file) = File::open(&path) else { continue };
            match file.try_lock() {
                Ok(()) => gone(fs::remove_file(&path))?,
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(error),
            }
            swept += 1;
        }
        Ok(swept)
    }

    /// The accounts that have bytes here.
    pub fn accounts(&self) -> io::Result<Vec<Uuid>> {
        Ok(entries(&self.folder)?.iter().filter_map(|path| id_of(path)).collect())
    }

    /// The files of an account whose bytes have lain here for a while.
    pub fn settled(&self, account: Uuid, at_least: Duration) -> io::Result<Vec<Uuid>> {
        let old = |path: &PathBuf| {
            let age = fs::metadata(path).and_then(|data| data.modified()).map(|at| at.elapsed());
            age.is_ok_and(|age| age.is_ok_and(|age| age >= at_least))
        };
        let paths = entries(&self.folder.join(account.to_string()))?;
        Ok(paths.iter().filter(|path| old(path)).filter_map(|path| id_of(path)).collect())
    }

    fn place(&self, account: Uuid, id: Uuid) -> PathBuf {
        self.folder.join(account.to_string()).join(id.to_string())
    }
}

impl IncomingFile {
    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// What was written so far.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        fs::read(&self.path)
    }

    /// Puts it into its place as a whole, to stay there through a loss of power.
    pub fn settle(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        let folder = self.place.parent().ok_or_else(|| io::Error::other("a place without a folder"))?;
        private(folder)?;
        fs::rename(&self.path, &self.place)?;
        self.placed = true;
        File::open(folder)?.sync_all()
    }

    /// Takes it away again, where what should tell of it could not be written.
    pub fn withdraw(&self) {
        // What stays behind is swept as nobody's.
        let _ = fs::remove_file(&self.place);
    }
}

impl Drop for IncomingFile {
    fn drop(&mut self) {
        if !self.placed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// What a folder holds; nothing where there is no folder.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(found) => found.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn id_of(path: &Path) -> Option<Uuid> {
    Uuid::parse_str(path.file_name()?.to_str()?).ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_not_settled_leaves_nothing_and_what_was_killed_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::new(folder.path().join("files"));
        let (account, id) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut incoming = vault.receive(account, id).unwrap();
        incoming.write(b"some bytes").unwrap();
        let quarantined = folder.path().join("files/quarantine").join(id.to_string());
        assert_eq!(fs::metadata(&quarantined).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(vault.sweep().unwrap(), 0, "it is being received");
        assert!(vault.read(account, id).is_err());
        drop(incoming);
        assert!(!quarantined.exists());

        fs::write(&quarantined, b"of a killed process").unwrap();
        assert_eq!(vault.sweep().unwrap(), 1);
        assert!(!quarantined.exists());

        let mut incoming = vault.receive(account, id).unwrap();
        incoming.write(b"some ").unwrap();
        incoming.write(b"bytes").unwrap();
        incoming.settle().unwrap();
        drop(incoming);
        assert_eq!(vault.read(account, id).unwrap(), b"some bytes");
        assert_eq!(
            (vault.accounts().unwrap(), vault.settled(account, Duration::ZERO).unwrap()),
            (vec![account], vec![id])
        );
        assert!(vault.settled(account, Duration::from_secs(60)).unwrap().is_empty());
        vault.remove(account, id).unwrap();
        vault.remove(account, id).unwrap();
        vault.remove_account(account).unwrap();
        assert!(vault.accounts().unwrap().is_empty());
    }
}
