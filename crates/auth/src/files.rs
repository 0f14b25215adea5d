//! Files of one's own: received sealed, looked at, then stored with their row or not at all.

use std::io;
use std::time::Duration;

use data_encoding::HEXLOWER;
use serde_json::json;
use storage::{IncomingFile, Page, PageRequest, Scope, SealedColumn, Service, StoredFile, Vault};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::audit::Entry;
use crate::events::Event;
use crate::principal::Principal;
use crate::sealed_stream::{FileKey, PieceSealer};
use crate::service::Origin;
use crate::{Auth, Error, Result, crypto};

/// How long bytes without a row are left alone: their row may be about to be written.
const ORPHANS_KEPT: Duration = Duration::from_secs(3600);

/// Rows that are removed in one transaction.
const PRUNED_AT_ONCE: i64 = 500;

/// What is kept of files.
#[derive(Clone, Debug)]
pub struct FileSettings {
    /// Where their bytes lie.
    pub vault: Vault,
    /// The most files of one account.
    pub most: u32,
    /// The most bytes of one account, all files together.
    pub most_bytes: u64,
    /// How long they are kept; none: until they are deleted.
    pub retention: Option<chrono::Duration>,
}

/// A file on its way. Dropped, it leaves nothing behind.
pub struct Upload {
    id: Uuid,
    sealer: PieceSealer,
    data_key: Zeroizing<[u8; 32]>,
    digest: crypto::BodyDigest,
    size: u64,
    incoming: IncomingFile,
}

/// A file that came whole, to be looked at.
pub struct Received {
    id: Uuid,
    data_key: Zeroizing<[u8; 32]>,
    sha256: String,
    size: u64,
    incoming: IncomingFile,
    key: FileKey,
}

impl Upload {
    /// Takes bytes in. It waits for the disk: not for the threads that answer.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.digest.update(bytes);
        self.size += bytes.len() as u64;
        let sealed = self.sealer.push(bytes)?;
        self.incoming.write(&sealed).map_err(failed)
    }

    /// The end of it.
    pub fn finish(mut self) -> Result<Received> {
        let (last, key) = self.sealer.finish()?;
        self.incoming.write(&last).map_err(failed)?;
        let sha256 = HEXLOWER.encode(&self.digest.finish());
        Ok(Received {
            id: self.id,
            data_key: self.data_key,
            sha256,
            size: self.size,
            incoming: self.incoming,
            key,
        })
    }
}

impl Received {
    /// Its bytes, read back from where they lie.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        self.key.open(&self.incoming.read().map_err(failed)?)
    }
}

impl Auth {
    /// Begins to receive a file of the caller's.
    pub async fn begin_upload(&self, principal: &Principal) -> Result<Upload> {
        principal.require_enrolled()?;
        let mut tx = self.store.read(Scope::Account(principal.account)).await?;
        self.check_room(tx.files().total(principal.account).await?, 0)?;
        let id = Uuid::now_v7();
        let (key, data_key) = FileKey::generate(id)?;
        let incoming = self.files.vault.receive(principal.account, id).map_err(failed)?;
        let (sealer, digest) = (PieceSealer::new(key), crypto::BodyDigest::new());
        Ok(Upload { id, sealer, data_key, digest, size: 0, incoming })
    }

    /// Stores a file that was looked at.
    pub async fn store_file(
        &self,
        principal: &Principal,
        received: Received,
        name: String,
        media_type: &str,
        origin: &Origin,
    ) -> Result<StoredFile> {
        let Received { id, data_key, sha256, size, mut incoming, .. } = received;
        let mut tx = self.begin_own(principal).await?;
        self.check_room(tx.files().total(principal.account).await?, size)?;
        let file = StoredFile {
            id,
            account_id: principal.account,
            name,
            media_type: media_type.to_owned(),
            size: i64::try_from(size).unwrap_or(i64::MAX),
            sha256,
            data_key: self.encryption.seal(&SealedColumn::FileKey.place(id), &*data_key)?,
            created_at: self.now(),
        };
        tx.files().add(&file).await?;
        let entry = Entry::success(Event::FileStored, origin).by(principal.account).on("file", id);
        let entry = entry.with(json!({"media_type": media_type, "size": size, "sha256": file.sha256}));
        self.record(&mut tx, entry).await?;
        // First the bytes, then the row: a row without its bytes would be a promise that cannot be kept.
        let incoming = tokio::task::spawn_blocking(move || incoming.settle().map(|()| incoming)).await;
        let incoming = incoming.map_err(|error| Error::Internal(error.to_string()))?.map_err(failed)?;
        if let Err(error) = tx.commit().await {
            incoming.withdraw();
            return Err(error.into());
        }
        Ok(file)
    }

    /// The caller's files, newest first.
    pub async fn stored_files(&self, principal: &Principal, page: &PageRequest) -> Result<Page<StoredFile>> {
        let mut tx = self.store.read(Scope::Account(principal.account)).await?;
        Ok(tx.files().list(principal.account, page).await?)
    }

    /// One of the caller's files.
    pub async fn stored_file(&self, principal: &Principal, id: Uuid) -> Result<StoredFile> {
        let mut tx = self.store.read(Scope::Account(principal.account)).await?;
        tx.files().find(principal.account, id).await?.ok_or(Error::NotFound)
    }

    /// The bytes of a file, as they were stored. It waits for the disk.
    pub fn file_bytes(&self, file: &StoredFile) -> Result<Vec<u8>> {
        let key = self.encryption.open(&SealedColumn::FileKey.place(file.id), &file.data_key)?;
        let sealed = self.files.vault.read(file.account_id, file.id);
        let sealed = sealed.map_err(|error| match error.kind() {
            // Deleted between the look at its row and this one.
            io::ErrorKind::NotFound => Error::NotFound,
            _ => failed(error),
        })?;
        FileKey::from_bytes(&key, file.id)?.open(&sealed)
    }

    /// Deletes one of the caller's files, its bytes at once.
    pub async fn delete_file(&self, principal: &Principal, id: Uuid, origin: &Origin) -> Result<()> {
        let mut tx = self.begin_own(principal).await?;
        if !tx.files().remove(principal.account, id).await? {
            return Err(Error::NotFound);
        }
        let entry = Entry::success(Event::FileDeleted, origin).by(principal.account).on("file", id);
        self.record(&mut tx, entry).await?;
        tx.commit().await?;
        if let Err(error) = self.files.vault.remove(principal.account, id) {
            tracing::warn!(%error, "the bytes of a deleted file could not be removed; the next sweep does it");
        }
        Ok(())
    }

    /// Removes the bytes of an account that is gone.
    pub(crate) fn forget_files(&self, account: Uuid) {
        if let Err(error) = self.files.vault.remove_account(account) {
            tracing::warn!(%error, "the files of a deleted account could not be removed; the next sweep does it");
        }
    }

    /// Removes rows that were kept long enough, what was left in quarantine, and bytes that no row tells of.
    pub async fn sweep_files(&self) -> Result<()> {
        while let Some(retention) = self.files.retention {
            let mut tx = self.store.begin(Scope::Service(Service::Feed)).await?;
            let old = tx.files().prune(self.now() - retention, PRUNED_AT_ONCE).await?;
            tx.commit().await?;
            if old.is_empty() {
                break;
            }
            let vault = self.files.vault.clone();
            blocking(move || old.iter().try_for_each(|(account, id)| vault.remove(*account, *id))).await?;
        }
        let vault = self.files.vault.clone();
        let accounts = blocking(move || vault.sweep().and_then(|_| vault.accounts())).await?;
        for account in accounts {
            let vault = self.files.vault.clone();
            let settled = blocking(move || vault.settled(account, ORPHANS_KEPT)).await?;
            let mut tx = self.store.read(Scope::Service(Service::Feed)).await?;
            let known = tx.files().ids(account).await?;
            drop(tx);
            let vault = self.files.vault.clone();
            let nobodys: Vec<Uuid> = settled.into_iter().filter(|id| !known.contains(id)).collect();
            blocking(move || nobodys.iter().try_for_each(|id| vault.remove(account, *id))).await?;
        }
        Ok(())
    }

    fn check_room(&self, (count, bytes): (i64, i64), more: u64) -> Result<()> {
        let bytes = u64::try_from(bytes).unwrap_or(0).saturating_add(more);
        let full = count >= i64::from(self.files.most) || bytes > self.files.most_bytes;
        if full { Err(Error::TooManyFiles) } else { Ok(()) }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::Internal(error.to_string()))?.map_err(failed)
}

fn failed(error: io::Error) -> Error {
    Error::Internal(format!("FILE_DIR: {error}"))
}
