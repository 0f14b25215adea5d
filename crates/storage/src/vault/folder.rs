//! Files in a folder of this machine, or of one that replicas share. Everything here waits for the disk.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::IncomingFile;

/// The folder.
#[derive(Clone)]
pub(super) struct Folder(pub PathBuf);

impl Folder {
    pub fn ping(&self) -> io::Result<()> {
        private(&self.0)?;
        entries(&self.0).map(drop)
    }

    pub fn take(&self, mut incoming: IncomingFile) -> io::Result<()> {
        let folder = self.of(incoming.account());
        private(&folder)?;
        incoming.move_to(&folder.join(incoming.id().to_string()))?;
        File::open(folder)?.sync_all()
    }

    pub fn read(&self, account: Uuid, id: Uuid, most: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.of(account).join(id.to_string())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut bytes = Vec::new();
        file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(io::Error::other(format!("file {id} is longer than what was stored")));
        }
        Ok(Some(bytes))
    }

    pub fn remove(&self, account: Uuid, id: Uuid) -> io::Result<()> {
        gone(fs::remove_file(self.of(account).join(id.to_string())))
    }

    pub fn remove_account(&self, account: Uuid) -> io::Result<()> {
        gone(fs::remove_dir_all(self.of(account)))
    }

    pub fn accounts(&self) -> io::Result<Vec<Uuid>> {
        Ok(entries(&self.0)?.iter().filter_map(|path| id_of(path)).collect())
    }

    pub fn settled(&self, account: Uuid, before: DateTime<Utc>) -> io::Result<Vec<Uuid>> {
        let old = |path: &PathBuf| {
            let came = fs::metadata(path).and_then(|data| data.modified());
            came.is_ok_and(|came| DateTime::<Utc>::from(came) < before)
        };
        let paths = entries(&self.of(account))?;
        Ok(paths.iter().filter(|path| old(path)).filter_map(|path| id_of(path)).collect())
    }

    fn of(&self, account: Uuid) -> PathBuf {
        self.0.join(account.to_string())
    }
}

/// Makes a folder that only this program's user can read.
pub(super) fn private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// What is gone already was removed.
pub(super) fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// What a folder holds; nothing where there is no folder.
pub(super) fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
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

    use super::super::Vault;
    use super::*;

    #[tokio::test]
    async fn what_is_not_settled_leaves_nothing_and_what_was_killed_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::in_folder(folder.path().join("files"));
        let (account, id) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut incoming = vault.receive(account, id).await.unwrap();
        incoming.write(b"some bytes").unwrap();
        let quarantined = folder.path().join("files/quarantine").join(id.to_string());
        assert_eq!(fs::metadata(&quarantined).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(vault.sweep().await.unwrap(), 0, "it is being received");
        assert_eq!(vault.read(account, id, 100).await.unwrap(), None);
        drop(incoming);
        assert!(!quarantined.exists());

        fs::write(&quarantined, b"of a killed process").unwrap();
        assert_eq!(vault.sweep().await.unwrap(), 1);
        assert!(!quarantined.exists());

        let mut incoming = vault.receive(account, id).await.unwrap();
        incoming.write(b"some ").unwrap();
        incoming.write(b"bytes").unwrap();
        vault.settle(incoming).await.unwrap();
        assert_eq!(vault.read(account, id, 10).await.unwrap().unwrap(), b"some bytes");
        assert!(vault.read(account, id, 9).await.is_err(), "it grew");
        let (long_ago, soon) = (DateTime::UNIX_EPOCH, DateTime::<Utc>::MAX_UTC);
        assert_eq!(vault.accounts().await.unwrap(), [account]);
        assert_eq!(vault.settled(account, soon).await.unwrap(), [id]);
        assert!(vault.settled(account, long_ago).await.unwrap().is_empty());
        vault.remove(account, id).await.unwrap();
        vault.remove(account, id).await.unwrap();
        vault.remove_account(account).await.unwrap();
        assert!(vault.accounts().await.unwrap().is_empty());
    }
}
