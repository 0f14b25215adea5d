//! The sources of model versions that were added by address.

use sqlx::FromRow;

use crate::durable::query;
use crate::{Result, Tx};

/// Where a file of a version comes from, and what it is.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct ModelSource {
    /// The model.
    pub name: String,
    /// The version.
    pub version: String,
    /// The file, relative to the folder of the version.
    pub file: String,
    /// Its address.
    pub url: String,
    /// Its SHA-256 in lower-case hexadecimal.
    pub sha256: String,
    /// Its size in bytes, if it was given.
    pub size: Option<i64>,
}

/// Queries on sources.
pub struct ModelSources<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl ModelSources<'_> {
    /// Every one, by model, version and file.
    pub async fn list(&mut self) -> Result<Vec<ModelSource>> {
        query!(
            self.tx,
            all ModelSource,
            "SELECT name, version, file, url, sha256, size FROM model_sources ORDER BY name, version, file"
        )
    }

    /// Sets the source of a file, in place of an earlier one.
    pub async fn remember(&mut self, source: &ModelSource) -> Result<()> {
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "INSERT INTO model_sources (name, version, file, url, sha256, size, added_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name, version, file) DO UPDATE SET \
             url = excluded.url, sha256 = excluded.sha256, size = excluded.size, added_at = excluded.added_at",
            source.name.as_str(),
            source.version.as_str(),
            source.file.as_str(),
            source.url.as_str(),
            source.sha256.as_str(),
            source.size,
            now
        )?;
        Ok(())
    }

    /// Forgets where a version comes from. Answers how many files that were.
    pub async fn forget(&mut self, name: &str, version: &str) -> Result<u64> {
        query!(self.tx, execute, "DELETE FROM model_sources WHERE name = $1 AND version = $2", name, version)
    }
}
