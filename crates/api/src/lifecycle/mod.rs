//! Models while the server runs: their desired state is in the database, and this replica reconciles with it.
//! Changes of it, and what becomes of a model whose run ended the server.

pub mod ended;
mod model_changes;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix_web::web;
use auth::Auth;
use chrono::{DateTime, Utc};
use inference::{DesiredState, KnownFiles, Registry, Revision, Violation};
use storage::{DesiredModel, ModelFile};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

pub use model_changes::{ChangeError, ModelChanges, NewVersion};

use crate::error::{ApiError, Code, Result, TickResult};

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

    /// Remembers the files of versions that are served for the first time.
    pub async fn remember(&self, auth: &Auth, registry: &Registry) -> auth::Result<()> {
        let unknown = registry.unknown_files();
        if unknown.is_empty() {
            return Ok(());
        }
        auth.remember_model_files(&rows(unknown)).await?;
        self.know_files(auth, registry).await
    }

    /// Reads what the files of versions have to be. One reader at a time: what was read earlier must not take the place
    /// of what was read later.
    pub async fn know_files(&self, auth: &Auth, registry: &Registry) -> auth::Result<()> {
        let _one = self.knowing.lock().await;
        registry.set_known_files(known_files(auth).await?);
        Ok(())
    }

    /// Reads the files of the models again, when the interval is over, if it is not zero; to be called every second.
    pub async fn verify(&self, auth: &Auth, registry: &Registry, interval: chrono::Duration) -> TickResult {
        let now = auth.now();
        let mut verification = self.verification.lock().await;
        if !interval.is_zero() && (now - verification.at).abs() >= interval {
            verification.at = now;
            let registry = registry.clone();
            let found = web::block(move || registry.verify()).await?;
            found.iter().for_each(report);
            verification.unnoted.extend(found);
        }
        // Found once: what the store does not take now, it is told again.
        while let Some(Violation { model, version, file, expected, found }) =
            verification.unnoted.front().cloned()
        {
            let loaded = ModelFile { name: model, version, file, sha256: expected };
            auth.note_model_violation(&loaded, found.as_deref()).await?;
            verification.unnoted.pop_front();
        }
        Ok(())
    }

    /// Brings this replica's models to their desired state, where that has changed; to be called every second.
    pub async fn follow(&self, auth: &Auth, registry: &Registry) -> TickResult {
        let mut looked = self.looked.lock().await;
        let following = &self.following;
        // What the database refuses to remember of one model keeps no other from being followed. What is being taken
        // out may be served still, and is not to be remembered again.
        let is_settled = following.available_permits() == MAX_FOLLOWED;
        let remembered = if is_settled { self.remember(auth, registry).await } else { Ok(()) };
        let changes = auth.model_changes();
        let restarts = auth.feed_restarts();
        let went_back = restarts != self.restarts.load(Ordering::Acquire);
        // What is being loaded has a number from before.
        if went_back && !is_settled {
            return Ok(remembered?);
        }
        if went_back {
            registry.forget_revisions();
        }
        let is_new = went_back || changes != self.applied.load(Ordering::Acquire);
        let is_time = looked.is_none_or(|looked| looked.elapsed() >= LOOK_AGAIN);
        if !(is_new || is_time && registry.is_behind()) {
            return Ok(remembered?);
        }
        let Ok(place) = Arc::clone(following).try_acquire_owned() else { return Ok(remembered?) };
        *looked = Some(Instant::now());
        let (desired, at) = desired_states(auth).await?;
        self.know_files(auth, registry).await?;
        self.applied.store(changes, Ordering::Release);
        self.restarts.store(restarts, Ordering::Release);
        let reconciled = registry.clone();
        let reconcile = move || {
            reconciled.reconcile(&desired, at);
            drop(place);
        };
        if let Ok(Err(broken_off)) = timeout(PATIENCE, web::block(reconcile)).await {
            self.applied.store(i64::MIN, Ordering::Release);
            return Err(broken_off.into());
        }
        // Otherwise it goes on by itself.
        let is_done = following.available_permits() == MAX_FOLLOWED;
        let remembered =
            if is_done { self.remember(auth, registry).await.and(remembered) } else { remembered };
        Ok(remembered?)
    }

    /// Looks for changes in the repository, every `MODEL_POLL_SECONDS`.
    pub async fn poll(&self, auth: &Auth, registry: &Registry) -> TickResult {
        let looked_through = registry.clone();
        let changed = web::block(move || looked_through.changed()).await?;
        if changed.is_empty() {
            return Ok(());
        }
        let taken_up = self.take_up(auth, registry, &changed).await;
        if taken_up.is_err() {
            registry.look_again(&changed);
        }
        taken_up
    }

    async fn take_up(&self, auth: &Auth, registry: &Registry, changed: &[String]) -> TickResult {
        // Only now: what was put there before is known by then.
        let (desired, at) = desired_states(auth).await?;
        self.know_files(auth, registry).await?;
        let (registry, changed) = (registry.clone(), changed.to_vec());
        Ok(web::block(move || registry.take_up(changed, &desired, at)).await?)
    }

    /// A place for a change of a model; none where there are too many.
    pub fn begin_change(&self) -> Result<OwnedSemaphorePermit> {
        place(&self.changes)
    }

    /// A place for a version that is to be received; none where there are too many.
    pub fn begin_upload(&self) -> Result<OwnedSemaphorePermit> {
        place(&self.uploads)
    }
}

/// Belongs to the work, not to the call that asked for it: a caller who goes away makes no room for more.
fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
    let busy = |_| ApiError::new(Code::Overloaded, "Other models are being loaded; try again shortly.");
    Arc::clone(places).try_acquire_owned().map_err(busy)
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

/// Files of versions as the database keeps them.
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
