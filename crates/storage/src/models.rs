//! The desired state of models, towards which every replica works. Files are known by their SHA-256.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::query::query;
use crate::text::text_enum;
use crate::{Result, Tx};

text_enum! {
    /// Who may use a model.
    ModelAccess {
        /// Everyone who may infer at all.
        Everyone = "everyone",
        /// Those to whom it was granted.
        Granted = "granted",
    }
}

text_enum! {
    /// What is wanted of a version.
    VersionState {
        /// It answers requests.
        Serving = "serving",
        /// It does not.
        Stopped = "stopped",
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

/// A model.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Model {
    /// Its unique name.
    pub name: String,
    /// Who may use it.
    #[sqlx(try_from = "String")]
    pub access: ModelAccess,
    /// Goes up with every change to what is wanted of it.
    pub generation: i64,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// A version of a model.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct ModelVersion {
    /// The model.
    pub name: String,
    /// The version.
    pub version: String,
    /// The SHA-256 of its file, in lower-case hexadecimal.
    pub sha256: String,
    /// What is wanted of it.
    #[sqlx(try_from = "String")]
    pub state: VersionState,
    /// When it was first seen.
    pub created_at: DateTime<Utc>,
}

/// Queries on models.
pub struct Models<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl Models<'_> {
    /// Adds a model or sets who may use it. The generation goes up only where something changed.
    pub async fn upsert(&mut self, name: &str, access: ModelAccess) -> Result<()> {
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "INSERT INTO models (name, access, generation, created_at, updated_at) VALUES ($1, $2, 1, $3, $3) \
             ON CONFLICT (name) DO UPDATE SET access = excluded.access, generation = models.generation + 1, \
             updated_at = excluded.updated_at WHERE models.access <> excluded.access",
            name,
            access.as_str(),
            now
        )?;
        Ok(())
    }

    /// Every model, by name.
    pub async fn list(&mut self) -> Result<Vec<Model>> {
        query!(self.tx, all Model, "SELECT name, access, generation, updated_at FROM models ORDER BY name")
    }

    /// Finds a model.
    pub async fn find(&mut self, name: &str) -> Result<Option<Model>> {
        query!(
            self.tx,
            optional Model,
            "SELECT name, access, generation, updated_at FROM models WHERE name = $1",
            name
        )
    }

    /// Adds a version that is to be served, or notes that the file of a known one changed.
    /// [`crate::Error::Refused`]: there is no such model.
    pub async fn record_version(&mut self, name: &str, version: &str, sha256: &str) -> Result<()> {
        let now = self.tx.now();
        let changed = query!(
            self.tx,
            execute,
            "INSERT INTO model_versions (name, version, sha256, state, created_at) \
             VALUES ($1, $2, $3, 'serving', $4) ON CONFLICT (name, version) DO UPDATE \
             SET sha256 = excluded.sha256 WHERE model_versions.sha256 <> excluded.sha256",
            name,
            version,
            sha256,
            now
        )?;
        self.next_generation(name, changed).await
    }

    /// Says what is wanted of a version. False: there is no such version, or nothing changed.
    pub async fn set_version_state(
        &mut self,
        name: &str,
        version: &str,
        state: VersionState,
    ) -> Result<bool> {
        let changed = query!(
            self.tx,
            execute,
            "UPDATE model_versions SET state = $3 WHERE name = $1 AND version = $2 AND state <> $3",
            name,
            version,
            state.as_str()
        )?;
        self.next_generation(name, changed).await?;
        Ok(changed > 0)
    }

    /// Every version of a model, in the order of their names.
    pub async fn versions(&mut self, name: &str) -> Result<Vec<ModelVersion>> {
        query!(
            self.tx,
            all ModelVersion,
            "SELECT name, version, sha256, state, created_at FROM model_versions WHERE name = $1 ORDER BY version",
            name
        )
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

    /// Takes a grant back. False: there was none.
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

    /// Whether an account with a role may use a model: the model is everyone's, or was granted to one of the
    /// two.
    pub async fn is_granted(&mut self, name: &str, account: Uuid, role: &str) -> Result<bool> {
        query!(
            self.tx,
            one bool,
            "SELECT EXISTS (SELECT 1 FROM models WHERE name = $1 AND access = 'everyone') \
             OR EXISTS (SELECT 1 FROM model_grants WHERE model = $1 \
             AND ((subject_kind = 'account' AND subject = $2) OR (subject_kind = 'role' AND subject = $3)))",
            name,
            account.to_string(),
            role
        )
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
