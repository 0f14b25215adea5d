//! The bytes of stored files: while being received they lie in quarantine, a folder of this machine; once complete in
//! `<account>/<file>`, in a folder or in a bucket. Names are ids: nothing that a caller sends is part of a path.

mod bucket;
mod folder;
mod quarantine;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{BlobSettings, Error, Result};
use bucket::Bucket;
use folder::Folder;
use quarantine::Quarantine;

pub use quarantine::IncomingFile;

/// How long one operation on the place may take, all attempts together.
const IN_TIME: Duration = Duration::from_secs(60);

/// Where the bytes lie.
#[derive(Clone)]
pub struct Vault {
    quarantine: Quarantine,
    place: Place,
}

#[derive(Clone)]
enum Place {
    Folder(Folder),
    Bucket(Arc<Bucket>),
}

/// Without the credentials of a bucket.
impl fmt::Debug for Vault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Vault").finish_non_exhaustive()
    }
}

/// Calls the same method of the folder, where it may wait for the disk, or of the bucket.
macro_rules! at_place {
    ($vault:ident, $method:ident($($argument:expr),*)) => {
        match &$vault.place {
            Place::Folder(folder) => {
                let folder = folder.clone();
                blocking(move || folder.$method($($argument),*)).await
            }
            Place::Bucket(bucket) => in_time(bucket.$method($($argument),*)).await,
        }
    };
}

impl Vault {
    /// In a folder that only this program's user can read; it is made when it is first needed.
    pub fn in_folder(folder: PathBuf) -> Self {
        Self { quarantine: Quarantine::within(&folder), place: Place::Folder(Folder(folder)) }
    }

    /// In a bucket, `s3://bucket/prefix`; what is on its way in this folder. [`Error::Refused`] or
    /// [`Error::Unavailable`]: it cannot be set up so. Nothing is reached yet.
    pub fn in_bucket(folder: &std::path::Path, url: &str, settings: &BlobSettings) -> Result<Self> {
        let bucket = Arc::new(Bucket::new(url, settings)?);
        Ok(Self { quarantine: Quarantine::within(folder), place: Place::Bucket(bucket) })
    }

    /// Whether this can be the address of a bucket.
    pub fn is_bucket(url: &str) -> bool {
        bucket::parts(url).is_some()
    }

    /// Whether the place answers, and would accept files as far as that can be seen without writing one.
    pub async fn ping(&self) -> Result<()> {
        at_place!(self, ping())
    }

    /// Begins to receive a file of an account.
    pub async fn receive(&self, account: Uuid, id: Uuid) -> Result<IncomingFile> {
        let quarantine = self.quarantine.clone();
        blocking(move || quarantine.receive(account, id)).await
    }

    /// Puts a file that came into its place: the whole of it, or nothing.
    pub async fn settle(&self, incoming: IncomingFile) -> Result<()> {
        match &self.place {
            Place::Folder(folder) => {
                let folder = folder.clone();
                blocking(move || folder.take(incoming)).await
            }
            Place::Bucket(bucket) => {
                let read = move || incoming.read().map(|bytes| (incoming, bytes));
                let (incoming, bytes) = blocking(read).await?;
                in_time(bucket.put(incoming.account(), incoming.id(), bytes)).await?;
                blocking(move || {
                    drop(incoming);
                    Ok(())
                })
                .await
            }
        }
    }

    /// The bytes of a file; none where there are none. More than `most` are not what was put there.
    pub async fn read(&self, account: Uuid, id: Uuid, most: u64) -> Result<Option<Vec<u8>>> {
        at_place!(self, read(account, id, most))
    }

    /// Removes the bytes of a file; they may be gone.
    pub async fn remove(&self, account: Uuid, id: Uuid) -> Result<()> {
        at_place!(self, remove(account, id))
    }

    /// Removes all bytes of an account; there may be none.
    pub async fn remove_account(&self, account: Uuid) -> Result<()> {
        at_place!(self, remove_account(account))
    }

    /// Removes what killed processes left in quarantine. Answers how many.
    pub async fn sweep(&self) -> Result<u64> {
        let quarantine = self.quarantine.clone();
        blocking(move || quarantine.sweep()).await
    }

    /// The accounts that have bytes here.
    pub async fn accounts(&self) -> Result<Vec<Uuid>> {
        at_place!(self, accounts())
    }

    /// The files of an account whose bytes came before a moment.
    pub async fn settled(&self, account: Uuid, before: DateTime<Utc>) -> Result<Vec<Uuid>> {
        at_place!(self, settled(account, before))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await.map_err(Error::unavailable)?;
    done.map_err(out_of_order)
}

async fn in_time<T>(work: impl Future<Output = object_store::Result<T>>) -> Result<T> {
    match tokio::time::timeout(IN_TIME, work).await {
        Ok(done) => done.map_err(Error::unavailable),
        Err(_) => Err(Error::unavailable(format!("FILE_DIR: no answer within {} s", IN_TIME.as_secs()))),
    }
}

fn out_of_order(error: io::Error) -> Error {
    Error::unavailable(format!("FILE_DIR: {error}"))
}
