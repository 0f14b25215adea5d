//! Fetching versions: those named by a `model.toml`, by `MODEL_URL`, or added by address on some replica. Versions that
//! this replica's repository lacks are fetched, a few at a time, so that a slow source holds up no other.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use actix_web::web;
use chrono::{DateTime, Duration, Utc};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use inference::{
    Digests, Incoming, IncomingError, Origin, Registry, SourceFile, SourceFiles, SourcedVersion,
};
use secrecy::ExposeSecret;
use storage::{Blob, BlobSettings, Blobs, ModelSource, S3Settings};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::app::App;
use crate::background::TickResult;
use crate::lifecycle;
use crate::settings::Settings;

/// The pause after a failed fetch of a version: from the first, twice as long each time, up to the second.
const AGAIN: Duration = Duration::seconds(30);
const AGAIN_AT_MOST: Duration = Duration::minutes(15);
/// Versions that are fetched at a time.
const AT_ONCE: usize = 4;
/// How often further versions are looked for while some are being fetched.
const LOOK: std::time::Duration = std::time::Duration::from_secs(1);

/// The sources of versions, and the state of fetching.
pub struct Sources {
    blobs: Blobs,
    /// What `MODEL_URL` names.
    named: Option<SourcedVersion>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Versions that were added by an address, as of this change of the feed.
    added: Vec<SourcedVersion>,
    read_at: Option<i64>,
    /// How often the feed had gone back by then.
    restarts: u64,
    /// Versions that were added by an address and removed since, as far as this replica may have them still.
    removed: Vec<SourcedVersion>,
    failures: HashMap<Key, Failure>,
}

/// A version that could not be fetched.
struct Failure {
    /// When that is tried again, unless it is to come from elsewhere by then.
    again: DateTime<Utc>,
    times: u32,
    files: SourceFiles,
}

/// How files from elsewhere are fetched.
pub fn blobs(settings: &Settings) -> Blobs {
    Blobs::new(blob_settings(settings))
}

/// The settings of `s3://`.
pub fn blob_settings(settings: &Settings) -> BlobSettings {
    let sources = &settings.sources;
    BlobSettings {
        s3: S3Settings {
            endpoint: sources.aws_endpoint_url.clone(),
            region: sources.aws_region.clone(),
            key_id: sources.aws_access_key_id.clone(),
            secret: sources.aws_secret_access_key.clone(),
            token: sources.aws_session_token.clone(),
        },
        plain_http: sources.allows_plain_http(),
    }
}

impl Sources {
    /// Nothing is fetched yet.
    pub fn new(settings: &Settings) -> Self {
        let sources = &settings.sources;
        let named = sources.model_url.as_ref().zip(sources.model_url_sha256.as_ref()).map(|(url, sha256)| {
            let file = SourceFile { url: url.expose_secret().to_owned(), sha256: sha256.clone(), size: None };
            SourcedVersion {
                name: sources.model_url_name.clone(),
                version: sources.model_url_version.clone(),
                files: SourceFiles::from([(inference::MODEL_FILE.to_owned(), file)]),
            }
        });
        Self { blobs: blobs(settings), named, state: Mutex::default() }
    }
}

/// Fetches what this replica lacks, as far as it is time; to be called every second. Returns when nothing is being
/// fetched any more, and looks for more until then.
pub async fn follow(app: &App) -> TickResult {
    let mut state = app.sources.state.lock().await;
    let mut fetching = FuturesUnordered::new();
    let mut begun = BTreeSet::new();
    loop {
        let looked = read(app, &mut state).await;
        let looked = looked.and(renew_appeared(app).await);
        let looked = looked.and(withdraw_removed(app, &mut state).await);
        for (sourced, origin) in lacking(app, &state.added) {
            let is_due = state.is_due(&sourced, app.auth.now());
            if begun.len() < AT_ONCE && is_due && begun.insert(key(&sourced)) {
                fetching.push(async move { (fetch(app, &sourced, origin).await, (sourced, origin)) });
            }
        }
        if fetching.is_empty() {
            return looked;
        }
        if let Ok(Some((outcome, sourced))) = timeout(LOOK, fetching.next()).await {
            begun.remove(&key(&sourced.0));
            settle(app, &mut state, sourced, outcome).await;
        }
    }
}

type Key = (String, String);

fn key(sourced: &SourcedVersion) -> Key {
    (sourced.name.clone(), sourced.version.clone())
}

impl State {
    fn is_due(&self, sourced: &SourcedVersion, now: DateTime<Utc>) -> bool {
        let failure = self.failures.get(&key(sourced));
        failure.is_none_or(|failure| now >= failure.again || failure.files != sourced.files)
    }
}

/// Notes that a version was fetched, or when it is tried again.
async fn settle(
    app: &App,
    state: &mut State,
    (sourced, origin): (SourcedVersion, Origin),
    outcome: TickResult,
) {
    let key = key(&sourced);
    let Err(error) = outcome else {
        state.failures.remove(&key);
        let went_back = app.auth.feed_restarts() != state.restarts;
        if origin == Origin::Received && !went_back && !state.added.contains(&sourced) {
            // It was removed while it came.
            state.removed.push(sourced);
        }
        return;
    };
    let reason = error.to_string();
    let SourcedVersion { name, version, files } = sourced;
    let before = state.failures.get(&key).filter(|failure| failure.files == files);
    let times = before.map_or(0, |failure| failure.times);
    let pause = (AGAIN * 2_i32.pow(times.min(10))).min(AGAIN_AT_MOST);
    state.failures.insert(key, Failure { again: app.auth.now() + pause, times: times + 1, files });
    let causes = storage::with_causes(&*error);
    tracing::error!(model = name, version, reason = causes, "a version could not be fetched");
    let registry = app.registry.clone();
    let mark = move || {
        registry.mark_unavailable(&name, format!("version {version} could not be fetched: {reason}"));
    };
    if web::block(mark).await.is_err() {
        tracing::error!("the status of a model could not be noted");
    }
}

/// Versions that were added by address, if any changed since the last look.
async fn read(app: &App, state: &mut State) -> TickResult {
    let changes = app.auth.model_changes();
    if state.read_at == Some(changes) {
        return Ok(());
    }
    let mut added: Vec<SourcedVersion> = Vec::new();
    for row in app.auth.model_sources().await? {
        let ModelSource { name, version, file, url, sha256, size } = row;
        if added.last().is_none_or(|last| last.name != name || last.version != version) {
            added.push(SourcedVersion { name, version, files: SourceFiles::new() });
        }
        let size = size.and_then(|size| u64::try_from(size).ok());
        added.last_mut().map(|last| last.files.insert(file, SourceFile { url, sha256, size }));
    }
    let gone = state.added.iter().filter(|before| !added.contains(before)).cloned();
    let restarts = app.auth.feed_restarts();
    if restarts == state.restarts {
        state.removed.extend(gone);
    } else {
        // A database that went back knows nothing of what came since: that is no removal.
        state.removed.clear();
    }
    (state.added, state.read_at, state.restarts) = (added, Some(changes), restarts);
    Ok(())
}

/// Removes what another replica removed from the repository that is its own; what is served still, a little later. What
/// has come under the same number since stays.
async fn withdraw_removed(app: &App, state: &mut State) -> TickResult {
    if state.removed.is_empty() {
        return Ok(());
    }
    let known = lifecycle::known_files(&app.auth).await?;
    let (registry, removed) = (app.registry.clone(), std::mem::take(&mut state.removed));
    let withdraw = move || {
        let is_served = |sourced: &SourcedVersion| {
            let (SourcedVersion { name, version, .. }, digests) = (sourced, sourced.digests());
            let model = |files: &Digests| files.get(inference::MODEL_FILE).cloned();
            let is_known = known.get(&key(sourced)).is_some_and(|known| model(known) == model(&digests));
            if is_known {
                return false;
            }
            let may = registry.may_withdraw(name, version);
            if may.is_ok() && registry.holds(name, version, &digests) {
                let _ = registry.withdraw(name, version);
            }
            may == Err(IncomingError::InUse)
        };
        removed.into_iter().filter(is_served).collect()
    };
    state.removed = web::block(withdraw).await?;
    Ok(())
}

/// What this replica lacks. Of two that name the same version, the file beside the model goes first.
fn lacking(app: &App, added: &[SourcedVersion]) -> Vec<(SourcedVersion, Origin)> {
    let unloaded = |name: &str| app.registry.desired(name).is_some_and(|desired| desired.unloaded);
    let is_lacking = |sourced: &SourcedVersion| {
        app.registry.lacks(&sourced.name, &sourced.version) && !unloaded(&sourced.name)
    };
    let named = app.registry.missing().into_iter().chain(app.sources.named.clone());
    let all = named.map(|sourced| (sourced, Origin::Named));
    let all = all.chain(added.iter().map(|sourced| (sourced.clone(), Origin::Received)));
    let mut seen = BTreeSet::new();
    all.filter(|(sourced, _)| is_lacking(sourced) && seen.insert(key(sourced))).collect()
}

/// Serves what another replica put into the repository that both have.
async fn renew_appeared(app: &App) -> TickResult {
    let appeared = app.registry.appeared();
    if appeared.is_empty() {
        return Ok(());
    }
    let (desired, at) = lifecycle::desired_states(&app.auth).await?;
    let registry = app.registry.clone();
    let renew = move || {
        for name in appeared {
            let desired = desired.get(&name).cloned().unwrap_or_default();
            registry.renew(&name, desired, at);
        }
    };
    Ok(web::block(renew).await?)
}

/// Fetches the files of a version that is being received.
pub async fn fill(
    incoming: &Incoming,
    files: &SourceFiles,
    settings: &Settings,
    blobs: &Blobs,
) -> TickResult {
    let most = settings.models.max_model_size_mb << 20;
    for (file, source) in files {
        let path = incoming.path(file)?;
        let blob = Blob { url: &source.url, sha256: &source.sha256, size: source.size, most };
        blobs.fetch(&blob, &path).await?;
    }
    Ok(())
}

async fn fetch(app: &App, sourced: &SourcedVersion, origin: Origin) -> TickResult {
    let SourcedVersion { name, version, files } = sourced;
    let begun = Instant::now();
    let incoming = match app.registry.receive(name, version) {
        // Another replica with the same folder was faster.
        Err(IncomingError::Exists) => return Ok(()),
        incoming => incoming?,
    };
    fill(&incoming, files, &app.settings, &app.sources.blobs).await?;
    let (desired, at) = lifecycle::desired_states(&app.auth).await?;
    let desired = desired.get(name).cloned().unwrap_or_default();
    let (registry, digests, name) = (app.registry.clone(), sourced.digests(), name.clone());
    let admit =
        move |registry: &Registry| registry.place(registry.examine_incoming(incoming, &digests)?, origin);
    let added = web::block(move || match admit(&registry) {
        Ok(_) | Err(IncomingError::Exists) => {
            registry.renew(&name, desired, at);
            Ok(())
        }
        Err(error) => Err(error),
    });
    added.await??;
    let milliseconds = begun.elapsed().as_millis();
    tracing::info!(model = sourced.name, version, milliseconds, "a version was fetched");
    Ok(())
}
