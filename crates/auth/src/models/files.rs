//! The files of models: what they were when they were served first, and where versions come from that were added by an
//! address.

use serde_json::json;
use storage::{ModelFile, ModelSource, Scope, Service};

use crate::audit::Entry;
use crate::events::Event;
use crate::service::Origin;
use crate::{Auth, Result};

impl Auth {
    /// The files of every version as they were when it was served first.
    pub async fn model_files(&self) -> Result<Vec<ModelFile>> {
        let mut tx = self.store.read(Scope::Service(Service::Upkeep)).await?;
        Ok(tx.models().files().await?)
    }

    /// Where the files of versions come from that were added by an address.
    pub async fn model_sources(&self) -> Result<Vec<ModelSource>> {
        let mut tx = self.store.read(Scope::Service(Service::Upkeep)).await?;
        Ok(tx.model_sources().list().await?)
    }

    /// Remembers files of versions that are served for the first time.
    pub async fn remember_model_files(&self, files: &[ModelFile]) -> Result<()> {
        let mut tx = self.store.begin(Scope::Service(Service::Upkeep)).await?;
        for file in files {
            tx.models().remember_file(file).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Records that a file of a served version changed since it was loaded.
    pub async fn note_model_violation(&self, loaded: &ModelFile, found: Option<&str>) -> Result<()> {
        let mut tx = self.store.begin(Scope::Service(Service::Audit)).await?;
        let detail = json!({
            "model": loaded.name,
            "version": loaded.version,
            "file": loaded.file,
            "expected": loaded.sha256,
            "found": found,
        });
        let origin = Origin::default();
        self.record(&mut tx, Entry::failure(Event::ModelFileChanged, &origin).with(detail)).await?;
        Ok(tx.commit().await?)
    }
}
