//! Stored files: their owners, their metadata and their keys. The bytes are in [`crate::Vault`].

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::debug::debug_only;
use crate::durable::query;
use crate::{Page, PageRequest, Result, Tx};

/// A stored file.
#[derive(Clone, PartialEq, Eq, FromRow)]
pub struct StoredFile {
    /// A version 7 id.
    pub id: Uuid,
    /// Whose it is.
    pub account_id: Uuid,
    /// What its owner calls it.
    pub name: String,
    /// Its media type, detected from its content.
    pub media_type: String,
    /// Its bytes.
    pub size: i64,
    /// Their SHA-256, in hexadecimal.
    pub sha256: String,
    /// The key that its bytes are sealed with, itself sealed.
    pub data_key: Vec<u8>,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
}

debug_only!(StoredFile { id, account_id, media_type, size, created_at });

/// How much an account has stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileTotal {
    /// Its files.
    pub count: i64,
    /// Their bytes together.
    pub bytes: i64,
}

/// The columns of a [`StoredFile`].
macro_rules! file_columns {
    () => {
        "id, account_id, name, media_type, size, sha256, data_key, created_at"
    };
}

pub(crate) use file_columns;

/// Queries on files. Ownership is part of each that takes an account: another account's file is not there.
pub struct Files<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl Files<'_> {
    /// Adds a file.
    pub async fn add(&mut self, file: &StoredFile) -> Result<()> {
        query!(
            self.tx,
            execute,
            concat!("INSERT INTO files (", file_columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"),
            file.id,
            file.account_id,
            &file.name,
            &file.media_type,
            file.size,
            &file.sha256,
            &file.data_key,
            file.created_at
        )?;
        Ok(())
    }

    /// One of an account's files.
    pub async fn find(&mut self, account: Uuid, id: Uuid) -> Result<Option<StoredFile>> {
        query!(
            self.tx,
            optional StoredFile,
            concat!("SELECT ", file_columns!(), " FROM files WHERE account_id = $1 AND id = $2"),
            account,
            id
        )
    }

    /// An account's files, newest first.
    pub async fn list(&mut self, account: Uuid, page: &PageRequest) -> Result<Page<StoredFile>> {
        let files = query!(
            self.tx,
            all StoredFile,
            concat!(
                "SELECT ", file_columns!(), " FROM files WHERE account_id = $1 AND id < $2 \
                 ORDER BY id DESC LIMIT $3"
            ),
            account,
            page.below(),
            page.rows()
        )?;
        Ok(page.page(files, |file| file.id))
    }

    /// How much an account has stored.
    pub async fn total(&mut self, account: Uuid) -> Result<FileTotal> {
        let count = query!(self.tx, one i64, "SELECT COUNT(*) FROM files WHERE account_id = $1", account)?;
        let bytes = query!(
            self.tx,
            one i64,
            "SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM files WHERE account_id = $1",
            account
        )?;
        Ok(FileTotal { count, bytes })
    }

    /// Which of an account's files there are.
    pub async fn ids(&mut self, account: Uuid) -> Result<Vec<Uuid>> {
        query!(self.tx, values Uuid, "SELECT id FROM files WHERE account_id = $1", account)
    }

    /// Removes a file of an account. False: it has no such file.
    pub async fn remove(&mut self, account: Uuid, id: Uuid) -> Result<bool> {
        let removed =
            query!(self.tx, execute, "DELETE FROM files WHERE account_id = $1 AND id = $2", account, id)?;
        Ok(removed > 0)
    }

    /// Removes those stored before a moment, `most` at a time, but none of an account that is held. Answers whose
    /// each was, and its id.
    pub async fn prune(&mut self, before: DateTime<Utc>, most: i64) -> Result<Vec<(Uuid, Uuid)>> {
        query!(
            self.tx,
            all(Uuid, Uuid),
            "DELETE FROM files WHERE id IN (SELECT id FROM files WHERE created_at < $1 \
             AND account_id NOT IN (SELECT account_id FROM legal_holds) ORDER BY created_at LIMIT $2) \
             RETURNING account_id, id",
            before,
            most
        )
    }
}
