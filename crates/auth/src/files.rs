//! Stored files: received sealed, inspected, then stored with their row or not at all.

use std::collections::HashSet;

use chrono::Duration;
use data_encoding::HEXLOWER;
use serde_json::json;
use storage::{
    FileTotal, IncomingFile, Page, PageRequest, Scope, SealedColumn, Service, StoredFile, Tx, Vault,
};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::accounts::legal_holds::refuse_held;
use crate::audit::Entry;
use crate::callers::access::Permission;
use crate::callers::principal::Principal;
use crate::crypto::sealed_stream::{FileKey, PieceSealer, sealed_length};
use crate::events::Event;
use crate::service::Origin;
use crate::{Auth, Error, Result, crypto};

/// How long bytes without a row are left alone: their row may be about to be written.
const ORPHANS_KEPT: Duration = Duration::hours(1);

/// How often bytes without a row are looked for, by one replica.
const SEARCHED_EVERY: std::time::Duration = std::time::Duration::from_secs(3600);
const SEARCHED: &str = "files:searched";

/// How long a request waits for bytes to be removed; then a later sweep does it.
const REMOVED_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

/// Rows that are removed in one transaction.
const PRUNED_AT_ONCE: i64 = 500;

/// Where and how long files are kept, and how many.
#[derive(Clone, Debug)]
pub struct FileSettings {
    /// Where their bytes lie.
    pub vault: Vault,
    /// The most files of one account.
    pub most: u32,
    /// The most bytes of one account, all files together.
    pub most_bytes: u64,
    /// How long they are kept; none: until they are deleted.
    pub retention: Option<Duration>,
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
        Ok(self.incoming.write(&sealed)?)
    }

    /// The end of it.
    pub fn finish(mut self) -> Result<Received> {
        let (last, key) = self.sealer.finish()?;
        self.incoming.write(&last)?;
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
        self.key.open(&self.incoming.written()?)
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
        let incoming = self.files.vault.receive(principal.account, id).await?;
        let (sealer, digest) = (PieceSealer::new(key), crypto::BodyDigest::new());
        Ok(Upload { id, sealer, data_key, digest, size: 0, incoming })
    }

    /// Stores a file that was looked at: first the bytes, then the row, for a row without its bytes would be a promise
    /// that cannot be kept. Bytes without a row, left by a process killed in between, are swept.
    pub async fn store_file(
        &self,
        principal: &Principal,
        received: Received,
        name: String,
        media_type: &str,
        origin: &Origin,
    ) -> Result<StoredFile> {
        let Received { id, data_key, sha256, size, incoming, .. } = received;
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
        let stored = match self.files.vault.settle(incoming).await {
            Ok(()) => self.add_file(principal, &file, size, origin).await,
            // It may have got there nevertheless.
            Err(error) => Err(error.into()),
        };
        match stored {
            Ok(tx) => tx.commit().await?,
            Err(error) => {
                self.forget_file(&file).await;
                return Err(error);
            }
        }
        Ok(file)
    }

    /// The row of a file, to be committed. Whether a commit that failed was done nobody knows: then the bytes stay,
    /// for the sweep to judge.
    async fn add_file(
        &self,
        principal: &Principal,
        file: &StoredFile,
        size: u64,
        origin: &Origin,
    ) -> Result<Tx> {
        let (mut tx, permissions) = self.begin_own_as_of_now(principal).await?;
        // The body may have taken long to arrive.
        if !permissions.contains(Permission::FilesWrite) {
            return Err(Error::Forbidden(Permission::FilesWrite));
        }
        self.check_room(tx.files().total(principal.account).await?, size)?;
        tx.files().add(file).await?;
        let entry = Entry::success(Event::FileUpload, origin).by(principal.account).on("file", file.id);
        let detail = json!({"media_type": file.media_type, "size": size, "sha256": file.sha256});
        self.record(&mut tx, entry.with(detail)).await?;
        Ok(tx)
    }

    async fn forget_file(&self, file: &StoredFile) {
        removed(self.files.vault.remove(file.account_id, file.id)).await;
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

    /// The bytes of a file as they lie there; [`Auth::open_file`] opens them.
    pub async fn sealed_file(&self, file: &StoredFile) -> Result<Vec<u8>> {
        let most = sealed_length(u64::try_from(file.size).unwrap_or(0));
        let sealed = self.files.vault.read(file.account_id, file.id, most).await?;
        // Deleted between the look at its row and this one.
        sealed.ok_or(Error::NotFound)
    }

    /// The bytes of a file, as they were stored. It takes a while: not for the threads that answer.
    pub fn open_file(&self, file: &StoredFile, sealed: &[u8]) -> Result<Vec<u8>> {
        let key = self.encryption.open(&SealedColumn::FileKey.place(file.id), &file.data_key)?;
        let opened = FileKey::from_bytes(&key, file.id)?.open(sealed);
        // A store that answers other bytes than it was given is out of order.
        opened.map_err(|error| Error::Unavailable(storage::Error::Inconsistent { detail: error.to_string() }))
    }

    /// Deletes one of the caller's files, its bytes at once.
    pub async fn delete_file(&self, principal: &Principal, id: Uuid, origin: &Origin) -> Result<()> {
        let mut tx = self.begin_own(principal).await?;
        let file = tx.files().find(principal.account, id).await?.ok_or(Error::NotFound)?;
        refuse_held(&mut tx, principal.account).await?;
        if !tx.files().remove(principal.account, id).await? {
            return Err(Error::NotFound);
        }
        let entry = Entry::success(Event::FileDeleted, origin).by(principal.account).on("file", id);
        self.record(&mut tx, entry).await?;
        tx.commit().await?;
        self.forget_file(&file).await;
        Ok(())
    }

    /// Removes the bytes of an account that is gone.
    pub(crate) async fn forget_files(&self, account: Uuid) {
        removed(self.files.vault.remove_account(account)).await;
    }

    /// Removes rows that were kept long enough, files left in quarantine, and bytes without a row.
    pub async fn sweep_files(&self) -> Result<()> {
        // What cannot be removed keeps nothing else from being removed.
        let swept = self.files.vault.sweep().await;
        while let Some(retention) = self.files.retention {
            let mut tx = self.store.begin(Scope::Service(Service::Upkeep)).await?;
            let old = tx.files().prune(self.now() - retention, PRUNED_AT_ONCE).await?;
            tx.commit().await?;
            if old.is_empty() {
                break;
            }
            for (account, id) in old {
                self.files.vault.remove(account, id).await?;
            }
        }
        if self.ephemeral.put_if_absent(SEARCHED, "", SEARCHED_EVERY).await? {
            self.remove_orphans().await?;
        }
        Ok(swept.map(drop)?)
    }

    async fn remove_orphans(&self) -> Result<()> {
        let before = self.now() - ORPHANS_KEPT;
        let mut removed = Ok(());
        for account in self.files.vault.accounts().await? {
            let settled = self.files.vault.settled(account, before).await?;
            if settled.is_empty() {
                continue;
            }
            let mut tx = self.store.read(Scope::Service(Service::Upkeep)).await?;
            let known: HashSet<Uuid> = tx.files().ids(account).await?.into_iter().collect();
            drop(tx);
            for id in settled.into_iter().filter(|id| !known.contains(id)) {
                removed = removed.and(self.files.vault.remove(account, id).await);
            }
        }
        Ok(removed?)
    }

    fn check_room(&self, total: FileTotal, more: u64) -> Result<()> {
        let bytes = u64::try_from(total.bytes).unwrap_or(0).saturating_add(more);
        let full = total.count >= i64::from(self.files.most) || bytes > self.files.most_bytes;
        if full { Err(Error::TooManyFiles) } else { Ok(()) }
    }
}

/// Waits for bytes to be removed, whose row is gone already.
async fn removed(removing: impl Future<Output = storage::Result<()>>) {
    let reason = match tokio::time::timeout(REMOVED_WITHIN, removing).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it took more than {} s", REMOVED_WITHIN.as_secs()),
    };
    tracing::warn!(reason, "bytes of deleted files could not be removed; a later sweep does it");
}
