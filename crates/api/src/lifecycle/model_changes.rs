//! Changes of models, the same from a caller and from the command line: what cannot be loaded changes nothing.

use actix_web::error::BlockingError;
use actix_web::web;
use auth::{AddedVersion, Auth, ModelChange, Origin, Principal};
use inference::{Admissible, Admitted, Digests, Incoming, IncomingError, Prepared, Registry, Revision};
use storage::{DesiredModel, ModelSource};

use super::{desired_state, rows};
use crate::error::{ApiError, Code};

/// Where models are changed, and by whom.
pub struct ModelChanges<'a> {
    /// Where their desired state is written.
    pub auth: &'a Auth,
    /// Where they are loaded first.
    pub registry: &'a Registry,
    /// Who changes them; none: the command line.
    pub actor: Option<&'a Principal>,
    /// Where from.
    pub origin: &'a Origin,
}

/// A version to be added.
pub struct NewVersion<'a> {
    /// The model.
    pub name: &'a str,
    /// The version.
    pub version: &'a str,
    /// What its files must be.
    pub announced: Digests,
    /// Where every replica can have them; empty where they came with the request or from a disk.
    pub sources: &'a [ModelSource],
}

/// Why nothing was changed.
#[derive(Debug)]
pub enum ChangeError {
    /// It may not be, or could not be written.
    Auth(auth::Error),
    /// The model would not be served, for this reason.
    NotLoadable(String),
    /// The version cannot be taken.
    Version(IncomingError),
    /// The work was broken off.
    Interrupted,
}

impl ModelChanges<'_> {
    /// Changes what is served of a model, on every replica, once it was loaded here. `serving` is the version that
    /// answers now. What was loaded is to be published as of the moment that comes with it.
    pub async fn change(
        &self,
        name: &str,
        change: &ModelChange,
        serving: Option<&str>,
    ) -> Result<(Prepared, Revision), ChangeError> {
        let accepts_changes = matches!(change, ModelChange::Load { accept_changes: true });
        let planned = self.auth.plan_model_change(name, change, serving).await?;
        let prepared = self.prepare(&planned.desired, accepts_changes).await?;
        let accepted = if accepts_changes { rows(prepared.files()) } else { Vec::new() };
        let (actor, origin) = (self.actor, self.origin);
        let number =
            self.auth.commit_model_change(actor, change, serving, &planned, &accepted, origin).await?;
        Ok((prepared, Revision(number)))
    }

    /// Adds a version whose files were received: it is tried, put into the repository and remembered. It waits for its
    /// activation from before its files are there.
    pub async fn add(&self, incoming: Incoming, new: NewVersion<'_>) -> Result<Admitted, ChangeError> {
        let NewVersion { name, version, announced, sources } = new;
        let registry = self.registry.clone();
        let examined = web::block(move || registry.examine_incoming(incoming, &announced)).await??;
        let waits = self.auth.hold_model_version(self.actor, name, version).await?;
        let added = self.place(examined, name, version, sources).await;
        let is_anothers = matches!(added, Err(ChangeError::Version(IncomingError::Exists)));
        if added.is_err() && waits && !is_anothers {
            let released = self.auth.release_model_version(name, version).await;
            if let Err(error) = released {
                let error = storage::with_causes(&error);
                tracing::warn!(
                    error,
                    model = name,
                    version,
                    "a version that was not added counts as waiting"
                );
            }
        }
        added
    }

    async fn place(
        &self,
        examined: Admissible,
        name: &str,
        version: &str,
        sources: &[ModelSource],
    ) -> Result<Admitted, ChangeError> {
        let registry = self.registry.clone();
        let admitted = web::block(move || registry.place(examined, inference::Origin::Received)).await??;
        let files = rows([((name.to_owned(), version.to_owned()), admitted.files.clone())].into());
        let added = AddedVersion { name, version, files: &files, sources };
        if let Err(error) = self.auth.commit_model_version(self.actor, added, self.origin).await {
            // A version whose change was refused must not stay.
            let (registry, name, version) = (self.registry.clone(), name.to_owned(), version.to_owned());
            if let Ok(Err(left)) = web::block(move || registry.withdraw(&name, &version)).await {
                tracing::error!(%left, "a version that was refused stays in the repository");
            }
            return Err(error.into());
        }
        Ok(admitted)
    }

    async fn prepare(&self, planned: &DesiredModel, accepts_changes: bool) -> Result<Prepared, ChangeError> {
        let (registry, name, desired) = (self.registry.clone(), planned.name.clone(), desired_state(planned));
        let prepare = move || {
            if accepts_changes {
                registry.prepare_changed(&name, desired)
            } else {
                registry.prepare(&name, desired)
            }
        };
        web::block(prepare).await?.map_err(ChangeError::NotLoadable)
    }
}

impl From<auth::Error> for ChangeError {
    fn from(error: auth::Error) -> Self {
        Self::Auth(error)
    }
}

impl From<IncomingError> for ChangeError {
    fn from(error: IncomingError) -> Self {
        Self::Version(error)
    }
}

impl From<BlockingError> for ChangeError {
    fn from(_: BlockingError) -> Self {
        Self::Interrupted
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Auth(error) => error.into(),
            ChangeError::Version(error) => error.into(),
            ChangeError::NotLoadable(reason) => Self::new(
                Code::ModelNotLoadable,
                format!("The model cannot be loaded, and everything stays as it was: {reason}."),
            ),
            ChangeError::Interrupted => Self::internal("a change of a model was broken off"),
        }
    }
}
