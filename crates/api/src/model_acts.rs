//! What callers do with models: they change what is served, add versions and remove them.

use actix_web::web;
use auth::ModelChange;
use inference::{Digests, Incoming, IncomingError};
use storage::DesiredModel;
use tokio::sync::OwnedSemaphorePermit;

use crate::app::{App, require_reach};
use crate::error::{ApiError, Result};
use crate::guard::Caller;
use crate::guard::permission::ModelsManage;
use crate::lifecycle::{ChangeError, ModelChanges, NewVersion};

/// Changes what is served of a model, here and on every replica. The new state is loaded first, so a model that cannot
/// be served changes nothing. It goes on whether or not the caller stays for the answer.
pub async fn change(
    app: web::Data<App>,
    caller: Caller<ModelsManage>,
    name: String,
    change: ModelChange,
) -> Result<()> {
    require_reach(&caller.principal, &name)?;
    if !app.registry.has(&name) {
        return Err(inference::Error::no_such_model(&name).into());
    }
    // Unloading loads nothing: it must be possible while others are busy.
    let place = if change == ModelChange::Unload { None } else { Some(app.lifecycle.begin_change()?) };
    let changed = tokio::spawn(async move {
        let _place = place;
        changed(&app, &caller, &name, change).await
    });
    changed.await.map_err(ApiError::internal)?
}

async fn changed(app: &App, caller: &Caller<ModelsManage>, name: &str, change: ModelChange) -> Result<()> {
    let serving = app.registry.find(name, None).ok().map(|model| model.version().to_owned());
    let changes = changes(app, caller);
    let (prepared, at) = match changes.change(name, &change, serving.as_deref()).await {
        Ok(published) => published,
        Err(error) => {
            if let ChangeError::NotLoadable(reason) = &error {
                let (actor, origin) = (&caller.principal, &caller.origin);
                app.auth.note_model_refusal(actor, name, &change, reason, origin).await?;
            }
            return Err(error.into());
        }
    };
    if change == (ModelChange::Load { accept_changes: true }) {
        know_files_again(app).await;
    }
    app.registry.publish(prepared, at);
    // What is served is remembered before the answer: a file that changes right after it is noticed.
    if let Err(error) = app.lifecycle.remember(&app.auth, &app.registry).await {
        tracing::warn!(error = storage::with_causes(&error), "the files of a model will be remembered later");
    }
    Ok(())
}

/// So that this replica's next change already counts with what was just remembered or forgotten; the others, and this one
/// where the database does not answer now, read it when they follow the change.
async fn know_files_again(app: &App) {
    if let Err(error) = app.lifecycle.know_files(&app.auth, &app.registry).await {
        tracing::warn!(error = storage::with_causes(&error), "the files of models will be read later");
    }
}

fn changes<'a>(app: &'a App, caller: &'a Caller<ModelsManage>) -> ModelChanges<'a> {
    ModelChanges {
        auth: &app.auth,
        registry: &app.registry,
        actor: Some(&caller.principal),
        origin: &caller.origin,
    }
}

/// A version that was received.
pub struct ReceivedVersion {
    /// The model.
    pub name: String,
    /// The version.
    pub version: String,
    /// Its files, in quarantine.
    pub incoming: Incoming,
    /// What they must be.
    pub announced: Digests,
    /// Its place among those that may be received at a time, held until it is taken.
    pub place: OwnedSemaphorePermit,
}

/// Takes a version that was received: it is tried, put into the repository and remembered, whether or not the caller
/// stays for the answer. Answers its size and SHA-256.
pub async fn accept_upload(
    app: web::Data<App>,
    caller: Caller<ModelsManage>,
    received: ReceivedVersion,
) -> Result<(u64, Option<String>)> {
    let added = tokio::spawn(async move {
        let ReceivedVersion { name, version, incoming, announced, place: _place } = received;
        let new = NewVersion { name: &name, version: &version, announced, sources: &[] };
        let admitted = changes(&app, &caller).add(incoming, new).await?;
        know_files_again(&app).await;
        Ok::<_, ApiError>(admitted)
    });
    let admitted = added.await.map_err(ApiError::internal)??;
    Ok((admitted.size, admitted.files.get(inference::MODEL_FILE).cloned()))
}

/// Removes a version that was received and is not served, whether or not the caller stays for the answer.
pub async fn remove(
    app: web::Data<App>,
    caller: Caller<ModelsManage>,
    name: String,
    version: String,
) -> Result<()> {
    require_reach(&caller.principal, &name)?;
    let removed = tokio::spawn(async move { removed(&app, &caller, &name, &version).await });
    removed.await.map_err(ApiError::internal)?
}

async fn removed(app: &App, caller: &Caller<ModelsManage>, name: &str, version: &str) -> Result<()> {
    let _place = app.lifecycle.begin_change()?;
    let is_here = match app.registry.may_withdraw(name, version) {
        Err(IncomingError::Missing) => {
            may_withdraw_elsewhere(app, name, version).await?;
            false
        }
        may => may.map(|()| true)?,
    };
    let committed = app.auth.commit_model_removal(&caller.principal, name, version, &caller.origin).await;
    committed.map_err(|error| match error {
        auth::Error::ModelChanged => IncomingError::InUse.into(),
        error => ApiError::from(error),
    })?;
    let (registry, name, version) = (app.registry.clone(), name.to_owned(), version.to_owned());
    let withdraw = move || if is_here { registry.withdraw(&name, &version) } else { Ok(()) };
    let withdrawn = web::block(withdraw).await;
    know_files_again(app).await;
    Ok(withdrawn.map_err(ApiError::internal)??)
}

/// Whether a version that this replica lacks came by an address, so that others have it, and none of them serves it.
async fn may_withdraw_elsewhere(app: &App, name: &str, version: &str) -> Result<()> {
    let sources = app.auth.model_sources().await?;
    if !sources.iter().any(|source| source.name == name && source.version == version) {
        return Err(IncomingError::Missing.into());
    }
    let desired = app.auth.desired_models().await?;
    let is_idle = |model: &DesiredModel| model.unloaded || model.waiting.contains(version);
    let is_idle = desired.iter().any(|model| model.name == name && is_idle(model));
    if is_idle { Ok(()) } else { Err(IncomingError::InUse.into()) }
}
