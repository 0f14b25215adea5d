//! The desired state of models, towards which every replica works. Files are known by their SHA-256.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use crate::durable::query;
use crate::{Result, Tx, named_enum};

named_enum! {
    /// Who may use a model.
    pub enum ModelAccess {
        /// Everyone who may infer at all.
        Everyone = "everyone",
        /// Those to whom it was granted.
        Granted = "granted",
    }
}

/// Who is granted a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantSubject {
    /// One account.
    Account(Uuid),
    /// Everyone with a role.
    Role(String),
}

impl GrantSubject {
    fn kind(&self) -> &'static str {
        match self {
            Self::Account(_) => "account",
            Self::Role(_) => "role",
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Account(id) => id.to_string(),
            Self::Role(name) => name.clone(),
        }
    }
}

impl TryFrom<(String, String)> for GrantSubject {
    type Error = crate::Error;

    fn try_from((kind, subject): (String, String)) -> Result<Self> {
        match (kind.as_str(), Uuid::parse_str(&subject)) {
            ("account", Ok(id)) => Ok(Self::Account(id)),
            ("role", _) => Ok(Self::Role(subject)),
            _ => Err(crate::Error::inconsistent(format!("{kind} {subject} is no grant's subject"))),
        }
    }
}

/// A model about which something was said: who may use it, or to whom it is granted.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Model {
    /// Its unique name.
    pub name: String,
    #[sqlx(try_from = "String")]
    access: ModelAccess,
    follows_manifest: bool,
    /// Incremented with every change of its access or grants.
    pub generation: i64,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

impl Model {
    /// Who may use it, as an administrator said; none: its `model.toml` says it.
    pub fn access(&self) -> Option<ModelAccess> {
        (!self.follows_manifest).then_some(self.access)
    }
}

/// The desired state of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, FromRow)]
pub struct DesiredModel {
    /// The model.
    pub name: String,
    /// Whether no version is to be served.
    pub unloaded: bool,
    /// The version that answers calls which name none; none: what its `model.toml` says.
    pub active_version: Option<String>,
    /// The one before it, to go back to.
    pub previous_version: Option<String>,
    /// How many reloads from disk were requested.
    pub loads: i64,
    /// Versions that were added and are served only once they are activated.
    #[sqlx(json)]
    pub waiting: BTreeSet<String>,
}

#[derive(FromRow)]
struct NumberedModel {
    #[sqlx(flatten)]
    desired: DesiredModel,
    seq: i64,
}

/// A file of a version, as it was when the version was first served.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct ModelFile {
    /// The model.
    pub name: String,
    /// The version.
    pub version: String,
    /// The file, relative to the folder of the version.
    pub file: String,
    /// Its SHA-256 in lower-case hexadecimal.
    pub sha256: String,
}

/// What is stored where nobody said whose a model is: a replica from before this was told apart takes it for an
/// administrator's word.
const UNSAID: ModelAccess = ModelAccess::Granted;

/// Queries on models.
pub struct Models<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl Models<'_> {
    /// Sets who may use a model; none: what its `model.toml` says. The generation goes up only where something changed.
    pub async fn set_access(&mut self, name: &str, access: Option<ModelAccess>) -> Result<()> {
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "INSERT INTO models (name, access, follows_manifest, generation, created_at, updated_at) \
             VALUES ($1, $2, $3, 1, $4, $4) ON CONFLICT (name) DO UPDATE SET access = excluded.access, \
             follows_manifest = excluded.follows_manifest, generation = models.generation + 1, \
             updated_at = excluded.updated_at WHERE models.access <> excluded.access \
             OR models.follows_manifest <> excluded.follows_manifest",
            name,
            access.unwrap_or(UNSAID).name(),
            access.is_none(),
            now
        )?;
        Ok(())
    }

    /// Adds a model that can be granted, where it is not there; its `model.toml` says who may use it.
    pub async fn add(&mut self, name: &str) -> Result<()> {
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "INSERT INTO models (name, access, follows_manifest, generation, created_at, updated_at) \
             VALUES ($1, $2, $3, 1, $4, $4) ON CONFLICT (name) DO NOTHING",
            name,
            UNSAID.name(),
            true,
            now
        )?;
        Ok(())
    }

    /// Every model, by name.
    pub async fn list(&mut self) -> Result<Vec<Model>> {
        query!(self.tx, all Model, "SELECT name, access, follows_manifest, generation, updated_at FROM models ORDER BY name")
    }

    /// Finds a model.
    pub async fn find(&mut self, name: &str) -> Result<Option<Model>> {
        query!(
            self.tx,
            optional Model,
            "SELECT name, access, follows_manifest, generation, updated_at FROM models WHERE name = $1",
            name
        )
    }

    /// The desired state of every model that has one, by name, and the number of the last change in the feed that it
    /// includes; 0 without any. Both are read by one statement, so that they are consistent.
    pub async fn desired(&mut self) -> Result<(Vec<DesiredModel>, i64)> {
        let rows = query!(
            self.tx,
            all NumberedModel,
            "SELECT name, unloaded, active_version, previous_version, loads, waiting, \
             (SELECT seq FROM change_head WHERE id = 1) AS seq FROM desired_models ORDER BY name"
        )?;
        let number = rows.first().map_or(0, |row| row.seq);
        Ok((rows.into_iter().map(|row| row.desired).collect(), number))
    }

    /// The desired state of one model; none if it was never set.
    pub async fn desired_of(&mut self, name: &str) -> Result<Option<DesiredModel>> {
        query!(
            self.tx,
            optional DesiredModel,
            "SELECT name, unloaded, active_version, previous_version, loads, waiting FROM desired_models WHERE name = $1",
            name
        )
    }

    /// Whether the desired state of a model was set after a moment.
    pub async fn was_desired_after(&mut self, name: &str, moment: DateTime<Utc>) -> Result<bool> {
        let set = query!(
            self.tx,
            value DateTime<Utc>,
            "SELECT updated_at FROM desired_models WHERE name = $1",
            name
        )?;
        Ok(set.is_some_and(|set| set > moment))
    }

    /// Sets the desired state of a model.
    pub async fn desire(&mut self, desired: &DesiredModel) -> Result<()> {
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "INSERT INTO desired_models (name, unloaded, active_version, previous_version, loads, waiting, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name) DO UPDATE SET unloaded = excluded.unloaded, \
             active_version = excluded.active_version, previous_version = excluded.previous_version, \
             loads = excluded.loads, waiting = excluded.waiting, updated_at = excluded.updated_at",
            desired.name.as_str(),
            desired.unloaded,
            desired.active_version.as_deref(),
            desired.previous_version.as_deref(),
            desired.loads,
            Json(&desired.waiting),
            now
        )?;
        Ok(())
    }

    /// Sets which versions of a model wait, and nothing else: whoever set its state before still counts as the last who did.
    pub async fn set_waiting(&mut self, name: &str, waiting: &BTreeSet<String>) -> Result<()> {
        query!(
            self.tx,
            execute,
            "INSERT INTO desired_models (name, unloaded, loads, waiting, updated_at) VALUES ($1, $2, 0, $3, $4) \
             ON CONFLICT (name) DO UPDATE SET waiting = excluded.waiting",
            name,
            false,
            Json(waiting),
            DateTime::UNIX_EPOCH
        )?;
        Ok(())
    }

    /// Every file of every version as it was first seen, by model, version and file.
    pub async fn files(&mut self) -> Result<Vec<ModelFile>> {
        query!(
            self.tx,
            all ModelFile,
            "SELECT name, version, file, sha256 FROM model_files ORDER BY name, version, file"
        )
    }

    /// The same of one model.
    pub async fn files_of(&mut self, name: &str) -> Result<Vec<ModelFile>> {
        query!(
            self.tx,
            all ModelFile,
            "SELECT name, version, file, sha256 FROM model_files WHERE name = $1 ORDER BY version, file",
            name
        )
    }

    /// Remembers a file as it is now. False: one of this name is remembered already, and stays as it was.
    pub async fn remember_file(&mut self, file: &ModelFile) -> Result<bool> {
        let now = self.tx.now();
        let added = query!(
            self.tx,
            execute,
            "INSERT INTO model_files (name, version, file, sha256, seen_at) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (name, version, file) DO NOTHING",
            file.name.as_str(),
            file.version.as_str(),
            file.file.as_str(),
            file.sha256.as_str(),
            now
        )?;
        Ok(added > 0)
    }

    /// Forgets the files of a version, so that those found next are remembered. Answers how many.
    pub async fn forget_files(&mut self, name: &str, version: &str) -> Result<u64> {
        query!(self.tx, execute, "DELETE FROM model_files WHERE name = $1 AND version = $2", name, version)
    }

    /// Grants a model. False: it was granted before. [`crate::Error::Refused`]: there is no such model.
    pub async fn grant(&mut self, name: &str, subject: &GrantSubject) -> Result<bool> {
        let now = self.tx.now();
        let granted = query!(
            self.tx,
            execute,
            "INSERT INTO model_grants (model, subject_kind, subject, created_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (model, subject_kind, subject) DO NOTHING",
            name,
            subject.kind(),
            subject.name(),
            now
        )?;
        self.next_generation(name, granted).await?;
        Ok(granted > 0)
    }

    /// Removes a grant. False: there was none.
    pub async fn revoke_grant(&mut self, name: &str, subject: &GrantSubject) -> Result<bool> {
        let revoked = query!(
            self.tx,
            execute,
            "DELETE FROM model_grants WHERE model = $1 AND subject_kind = $2 AND subject = $3",
            name,
            subject.kind(),
            subject.name()
        )?;
        self.next_generation(name, revoked).await?;
        Ok(revoked > 0)
    }

    /// The models granted to an account or to everyone with its role.
    pub async fn granted_to(&mut self, account: Uuid, role: &str) -> Result<Vec<String>> {
        query!(
            self.tx,
            values String,
            "SELECT DISTINCT model FROM model_grants WHERE (subject_kind = 'account' AND subject = $1) \
             OR (subject_kind = 'role' AND subject = $2) ORDER BY model",
            account.to_string(),
            role
        )
    }

    /// To whom a model was granted.
    pub async fn grants(&mut self, name: &str) -> Result<Vec<GrantSubject>> {
        let grants = query!(
            self.tx,
            all(String, String),
            "SELECT subject_kind, subject FROM model_grants WHERE model = $1 ORDER BY subject_kind, subject",
            name
        )?;
        grants.into_iter().map(GrantSubject::try_from).collect()
    }

    async fn next_generation(&mut self, name: &str, changes: u64) -> Result<()> {
        if changes > 0 {
            let now = self.tx.now();
            query!(
                self.tx,
                execute,
                "UPDATE models SET generation = generation + 1, updated_at = $2 WHERE name = $1",
                name,
                now
            )?;
        }
        Ok(())
    }
}
