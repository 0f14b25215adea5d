//! Models while the server runs: their desired state is in the database, and this replica reconciles with it.
//! Changes of it, fetching of versions, and what becomes of a model whose run ended the server.

pub mod ended;
mod model_changes;
pub mod sources;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix_web::web;
use auth::{Auth, ModelChange};
use chrono::{DateTime, Utc};
use inference::{DesiredState, Digests, Incoming, IncomingError, KnownFiles, Revision, Violation};
use storage::{DesiredModel, ModelFile};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

pub use model_changes::{ChangeError, ModelChanges, NewVersion};
pub use sources::Sources;

use crate::app::{App, require_reach};
use crate::error::{ApiError, Code, Result, TickResult};
use crate::guard::Caller;
use crate::guard::permission::ModelsManage;

/// Changes of models that callers wait for at a time; one more is answered with 503.
const MAX_CHANGES: usize = 8;
/// Versions that are received at a time, which may take long; one more is answered with 503.
const MAX_UPLOADS: usize = 8;
/// How many states of models are followed at a time: one that takes long must not keep others from being followed.
const MAX_FOLLOWED: usize = 4;
/// How long the loading of models is waited for before it is looked for further changes.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often models that could not be brought to their desired state are looked for, to try them again.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// How far this replica has come.
pub struct Lifecycle {
    /// When it last reconciled.
    looked: Mutex<Option<Instant>>,
    /// The change of the feed up to which its models have been reconciled.
    applied: AtomicI64,
    /// How often the feed had gone back by then.
    restarts: AtomicU64,
    verification: Mutex<Verification>,
    /// Held while it is read what the files of versions have to be.
    knowing: Mutex<()>,
    changes: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    following: Arc<Semaphore>,
}

/// How far the files of the models were read again.
struct Verification {
    /// When that was last begun.
    at: DateTime<Utc>,
    /// What was found, and is in no audit trail yet.
    unnoted: VecDeque<Violation>,
}

impl Lifecycle {
    /// Reconciled up to the start of `auth`.
    pub fn new(auth: &Auth) -> Self {
        Self {
            looked: Mutex::new(None),
            verification: Mutex::new(Verification { at: auth.now(), unnoted: VecDeque::new() }),
            knowing: Mutex::default(),
            applied: AtomicI64::new(auth.model_changes()),
            restarts: AtomicU64::new(auth.feed_restarts()),
            changes: Arc::new(Semaphore::new(MAX_CHANGES)),
            uploads: Arc::new(Semaphore::new(MAX_UPLOADS)),
            following: Arc::new(Semaphore::new(MAX_FOLLOWED)),
        }
    }
}

/// The part of a desired state that the registry needs.
pub fn desired_state(desired: &DesiredModel) -> DesiredState {
    DesiredState {
        unloaded: desired.unloaded,
        active: desired.active_version.clone(),
        loads: desired.loads,
        waiting: desired.waiting.clone(),
    }
}

/// The desired states by model, and their revision.
pub async fn desired_states(auth: &Auth) -> auth::Result<(HashMap<String, DesiredState>, Revision)> {
    let (desired, number) = auth.follow_desired_models().await?;
    let desired = desired.iter().map(|desired| (desired.name.clone(), desired_state(desired)));
    Ok((desired.collect(), Revision(number)))
}

/// The files of versions that were served before.
pub async fn known_files(auth: &Auth) -> auth::Result<KnownFiles> {
    let mut known = KnownFiles::new();
    for ModelFile { name, version, file, sha256 } in auth.model_files().await? {
        known.entry((name, version)).or_default().insert(file, sha256);
    }
    Ok(known)
}

/// The same as rows.
pub fn rows(files: KnownFiles) -> Vec<ModelFile> {
    let rows = |((name, version), digests): ((String, String), inference::Digests)| {
        digests.into_iter().map(move |(file, sha256)| ModelFile {
            name: name.clone(),
            version: version.clone(),
            file,
            sha256,
        })
    };
    files.into_iter().flat_map(rows).collect()
}

/// Remembers the files of versions that are served for the first time.
async fn remember(app: &App) -> auth::Result<()> {
    let unknown = app.registry.unknown_files();
    if unknown.is_empty() {
        return Ok(());
    }
    app.auth.remember_model_files(&rows(unknown)).await?;
    know_files(app).await
}

/// Reads what the files of versions have to be. One reader at a time: what was read earlier must not take the place of
/// what was read later.
async fn know_files(app: &App) -> auth::Result<()> {
    let _one = app.lifecycle.knowing.lock().await;
    app.registry.set_known_files(known_files(&app.auth).await?);
    Ok(())
}

/// Reads the files of the models again, when `MODEL_VERIFY_INTERVAL_SECONDS` are over; to be called every second.
pub async fn verify(app: &App) -> TickResult {
    let interval = chrono::Duration::seconds(i64::from(app.settings.models.model_verify_interval_seconds));
    let now = app.auth.now();
    let mut verification = app.lifecycle.verification.lock().await;
    if !interval.is_zero() && (now - verification.at).abs() >= interval {
        verification.at = now;
        let registry = app.registry.clone();
        let found = web::block(move || registry.verify()).await?;
        found.iter().for_each(report);
        verification.unnoted.extend(found);
    }
    // Found once: what the store does not take now, it is told again.
    while let Some(Violation { model, version, file, expected, found }) =
        verification.unnoted.front().cloned()
    {
        let loaded = ModelFile { name: model, version, file, sha256: expected };
        app.auth.note_model_violation(&loaded, found.as_deref()).await?;
        verification.unnoted.pop_front();
    }
    Ok(())
}

fn report(violation: &Violation) {
    let Violation { model, version, file, expected, found } = violation;
    tracing::error!(
        model,
        version,
        file,
        expected,
        found,
        "a file of a model was changed; what was loaded before goes on, and the file will not be loaded"
    );
}

/// Brings this replica's models to their desired state, where that has changed; to be called every second.
pub async fn follow(app: &App) -> TickResult {
    let mut looked = app.lifecycle.looked.lock().await;
    let following = &app.lifecycle.following;
    // What the database refuses to remember of one model keeps no other from being followed. What is being taken out may
    // be served still, and is not to be remembered again.
    let is_settled = following.available_permits() == MAX_FOLLOWED;
    let remembered = if is_settled { remember(app).await } else { Ok(()) };
    let changes = app.auth.model_changes();
    let restarts = app.auth.feed_restarts();
    let went_back = restarts != app.lifecycle.restarts.load(Ordering::Acquire);
    // What is being loaded has a number from before.
    if went_back && !is_settled {
        return Ok(remembered?);
    }
    if went_back {
        app.registry.forget_revisions();
    }
    let is_new = went_back || changes != app.lifecycle.applied.load(Ordering::Acquire);
    let is_time = looked.is_none_or(|looked| looked.elapsed() >= LOOK_AGAIN);
    if !(is_new || is_time && app.registry.is_behind()) {
        return Ok(remembered?);
    }
    let Ok(place) = Arc::clone(following).try_acquire_owned() else { return Ok(remembered?) };
    *looked = Some(Instant::now());
    let (desired, at) = desired_states(&app.auth).await?;
    know_files(app).await?;
    app.lifecycle.applied.store(changes, Ordering::Release);
    app.lifecycle.restarts.store(restarts, Ordering::Release);
    let registry = app.registry.clone();
    let reconcile = move || {
        registry.reconcile(&desired, at);
        drop(place);
    };
    if let Ok(Err(broken_off)) = timeout(PATIENCE, web::block(reconcile)).await {
        app.lifecycle.applied.store(i64::MIN, Ordering::Release);
        return Err(broken_off.into());
    }
    // Otherwise it goes on by itself.
    let is_done = following.available_permits() == MAX_FOLLOWED;
    let remembered = if is_done { remember(app).await.and(remembered) } else { remembered };
    Ok(remembered?)
}

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
    let place = if change == ModelChange::Unload { None } else { Some(place(&app.lifecycle.changes)?) };
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
    if let Err(error) = remember(app).await {
        tracing::warn!(error = storage::with_causes(&error), "the files of a model will be remembered later");
    }
    Ok(())
}

/// So that this replica's next change already counts with what was just remembered or forgotten; the others, and this one
/// where the database does not answer now, read it when they follow the change.
async fn know_files_again(app: &App) {
    if let Err(error) = know_files(app).await {
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

/// Belongs to the work, not to the call that asked for it: a caller who goes away makes no room for more.
fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
    let busy = |_| ApiError::new(Code::Overloaded, "Other models are being loaded; try again shortly.");
    Arc::clone(places).try_acquire_owned().map_err(busy)
}

/// A place for a version that is to be received; none where there are too many.
pub fn begin_upload(app: &App) -> Result<OwnedSemaphorePermit> {
    place(&app.lifecycle.uploads)
}

/// Takes a version that was received: it is tried, put into the repository and remembered, whether or not the caller
/// stays for the answer. Answers its size and SHA-256.
pub async fn accept_upload(
    app: web::Data<App>,
    caller: Caller<ModelsManage>,
    (incoming, place): (Incoming, OwnedSemaphorePermit),
    (name, version): (String, String),
    announced: Digests,
) -> Result<(u64, Option<String>)> {
    let added = tokio::spawn(async move {
        let _place = place;
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
    let _place = place(&app.lifecycle.changes)?;
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

/// Looks for changes in the repository, every `MODEL_POLL_SECONDS`.
pub async fn poll(app: &App) -> TickResult {
    let registry = app.registry.clone();
    let changed = web::block(move || registry.changed()).await?;
    if changed.is_empty() {
        return Ok(());
    }
    let taken_up = take_up(app, &changed).await;
    if taken_up.is_err() {
        app.registry.look_again(&changed);
    }
    taken_up
}

async fn take_up(app: &App, changed: &[String]) -> TickResult {
    // Only now: what was put there before is known by then.
    let (desired, at) = desired_states(&app.auth).await?;
    know_files(app).await?;
    let (registry, changed) = (app.registry.clone(), changed.to_vec());
    Ok(web::block(move || registry.take_up(changed, &desired, at)).await?)
}
