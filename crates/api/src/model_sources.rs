//! Fetching versions: those named by a `model.toml`, by `MODEL_URL`, or added by address on some replica. Versions that
//! this replica's repository lacks are fetched, a few at a time, so that a slow source holds up no other.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use actix_web::web;
use chrono::{DateTime, Duration, Utc};
use futures_util::future::{Either, select};
use inference::{
    Digests, Incoming, IncomingError, Origin, Registry, SourceFile, SourceFiles, SourcedVersion,
};
use secrecy::ExposeSecret;
use storage::{Blob, BlobSettings, Blobs, ModelSource, S3Settings};
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::app::App;
use crate::error::TickResult;
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
        Self { blobs: blobs(settings), named: named(settings), state: Mutex::default() }
    }
}

/// What `MODEL_URL` names.
pub fn named(settings: &Settings) -> Option<SourcedVersion> {
    let sources = &settings.sources;
    let (url, sha256) = sources.model_url.as_ref().zip(sources.model_url_sha256.as_ref())?;
    let file = SourceFile { url: url.expose_secret().to_owned(), sha256: sha256.clone(), size: None };
    Some(SourcedVersion {
        name: sources.model_url_name.clone(),
        version: sources.model_url_version.clone(),
        files: SourceFiles::from([(inference::MODEL_FILE.to_owned(), file)]),
    })
}

/// Fetches what this replica lacks, as far as it is time; to be called every second. Returns when nothing is being
/// fetched any more, and looks for more until then.
pub async fn follow(app: &web::Data<App>, sources: &Rc<Sources>) -> TickResult {
    let mut state = sources.state.lock().await;
    // Tasks of their own, so that they go on while a model is being loaded here; they end with this.
    let mut fetching = JoinSet::new();
    let mut begun: HashMap<Key, Begun> = HashMap::new();
    loop {
        let looked = read(app, &mut state).await;
        let looked = looked.and(renew_appeared(app).await);
        let looked = looked.and(withdraw_removed(app, &mut state).await);
        let lacking = lacking(app, sources, &state.added);
        begun.values_mut().filter(|begun| !is_wanted(app, &lacking, &begun.wanted)).for_each(Begun::give_up);
        for wanted in lacking {
            let of = key(&wanted.0);
            let is_due = state.is_due(&wanted.0, app.auth.now());
            if begun.len() < AT_ONCE && is_due && !begun.contains_key(&of) {
                let (goes_on, given_up) = oneshot::channel();
                begun.insert(of, Begun { wanted: wanted.clone(), goes_on: Some(goes_on) });
                let (app, sources) = (app.clone(), Rc::clone(sources));
                fetching.spawn_local(async move {
                    (fetch(&app, &sources.blobs, &wanted, given_up).await, wanted)
                });
            }
        }
        if fetching.is_empty() {
            return looked;
        }
        if let Ok(Some(fetched)) = timeout(LOOK, fetching.join_next()).await {
            let (outcome, wanted) = fetched?;
            begun.remove(&key(&wanted.0));
            settle(app, sources, &mut state, wanted, outcome);
        }
    }
}

type Key = (String, String);

/// A version to be fetched, and who names it.
type Wanted = (SourcedVersion, Origin);

/// A version that is being fetched.
struct Begun {
    wanted: Wanted,
    /// Dropped when it is given up.
    goes_on: Option<oneshot::Sender<()>>,
}

impl Begun {
    fn give_up(&mut self) {
        self.goes_on = None;
    }
}

/// What became of a version that was fetched.
enum Fetched {
    Placed,
    /// Whoever named it named something else meanwhile, or nothing.
    Unwanted,
}

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
fn settle(
    app: &App,
    sources: &Sources,
    state: &mut State,
    wanted: Wanted,
    outcome: Result<Fetched, Box<dyn Error>>,
) {
    let is_unwanted = !is_wanted(app, &lacking(app, sources, &state.added), &wanted);
    let (sourced, origin) = wanted;
    match outcome {
        Ok(Fetched::Placed) => {
            state.failures.remove(&key(&sourced));
            let went_back = app.auth.feed_restarts() != state.restarts;
            if origin == Origin::Received && !went_back && !state.added.contains(&sourced) {
                // It was removed while it came.
                state.removed.push(sourced);
            }
        }
        Err(error) if !is_unwanted => fail(app, state, sourced, &*error),
        // A model.toml that is not loaded yet names other files: not to be fetched again and again until it is.
        Ok(Fetched::Unwanted) if !is_unwanted && origin == Origin::Setting => {
            fail(app, state, sourced, &IncomingError::Unwanted);
        }
        Ok(Fetched::Unwanted) | Err(_) => {
            let SourcedVersion { name, version, .. } = sourced;
            tracing::info!(model = name, version, "a version that nobody wants any more is not fetched");
        }
    }
}

/// Notes why a version could not be fetched, and when it is tried again.
fn fail(app: &App, state: &mut State, sourced: SourcedVersion, error: &dyn Error) {
    let reason = error.to_string();
    let key = key(&sourced);
    let SourcedVersion { name, version, files } = sourced;
    let before = state.failures.get(&key).filter(|failure| failure.files == files);
    let times = before.map_or(0, |failure| failure.times);
    let pause = (AGAIN * 2_i32.pow(times.min(10))).min(AGAIN_AT_MOST);
    state.failures.insert(key, Failure { again: app.auth.now() + pause, times: times + 1, files });
    let causes = storage::with_causes(error);
    tracing::error!(model = name, version, reason = causes, "a version could not be fetched");
    let registry = app.registry.clone();
    // Not waited for: it takes as long as another version of the model is being loaded.
    actix_web::rt::spawn(async move {
        let mark = move || registry.mark_unavailable(&name, &version, &reason);
        if web::block(mark).await.is_err() {
            tracing::error!("the status of a model could not be noted");
        }
    });
}

/// Takes over which versions were added by address, if any changed since the last look.
async fn read(app: &App, state: &mut State) -> TickResult {
    let changes = app.auth.model_changes();
    if state.read_at == Some(changes) {
        return Ok(());
    }
    let added = added(app).await?;
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

/// Versions that were added by address.
async fn added(app: &App) -> auth::Result<Vec<SourcedVersion>> {
    let mut added: Vec<SourcedVersion> = Vec::new();
    for row in app.auth.model_sources().await? {
        let ModelSource { name, version, file, url, sha256, size } = row;
        if added.last().is_none_or(|last| last.name != name || last.version != version) {
            added.push(SourcedVersion { name, version, files: SourceFiles::new() });
        }
        let size = size.and_then(|size| u64::try_from(size).ok());
        added.last_mut().map(|last| last.files.insert(file, SourceFile { url, sha256, size }));
    }
    Ok(added)
}

/// Removes what another replica removed from the repository that is its own; what is served still, a little later. What
/// has come under the same number since stays.
async fn withdraw_removed(app: &App, state: &mut State) -> TickResult {
    if state.removed.is_empty() {
        return Ok(());
    }
    let known = lifecycle::known_files(&app.auth).await?;
    let (registry, removed) = (app.registry.clone(), state.removed.clone());
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
fn lacking(app: &App, sources: &Sources, added: &[SourcedVersion]) -> Vec<Wanted> {
    let unloaded = |name: &str| app.registry.desired(name).is_some_and(|desired| desired.unloaded);
    let is_lacking = |sourced: &SourcedVersion| {
        app.registry.lacks(&sourced.name, &sourced.version) && !unloaded(&sourced.name)
    };
    let all = app.registry.missing().into_iter().map(|sourced| (sourced, Origin::Manifest));
    let all = all.chain(sources.named.iter().map(|sourced| (sourced.clone(), Origin::Setting)));
    let all = all.chain(added.iter().map(|sourced| (sourced.clone(), Origin::Received)));
    let mut seen = BTreeSet::new();
    all.filter(|(sourced, _)| is_lacking(sourced) && seen.insert(key(sourced))).collect()
}

/// Whether a version that is being fetched is to come still. What another replica put there meanwhile is taken up when
/// this one finds it.
fn is_wanted(app: &App, lacking: &[Wanted], wanted: &Wanted) -> bool {
    lacking.contains(wanted) || !app.registry.lacks(&wanted.0.name, &wanted.0.version)
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
    let most = settings.models.max_model_bytes();
    for (file, source) in files {
        let path = incoming.path(file)?;
        let blob = Blob { url: &source.url, sha256: &source.sha256, size: source.size, most };
        blobs.fetch(&blob, &path).await?;
    }
    Ok(())
}

/// The same, unless it is given up before all of them are there.
async fn fill_unless(
    given_up: oneshot::Receiver<()>,
    settings: &Settings,
    blobs: &Blobs,
    incoming: &Incoming,
    files: &SourceFiles,
) -> Result<bool, Box<dyn Error>> {
    let filling = pin!(fill(incoming, files, settings, blobs));
    match select(filling, given_up).await {
        Either::Left((filled, _)) => filled.map(|()| true),
        Either::Right(_) => Ok(false),
    }
}

async fn fetch(
    app: &App,
    blobs: &Blobs,
    (sourced, origin): &Wanted,
    given_up: oneshot::Receiver<()>,
) -> Result<Fetched, Box<dyn Error>> {
    let SourcedVersion { name, version, files } = sourced;
    let (origin, begun) = (*origin, Instant::now());
    let (registry, of) = (app.registry.clone(), (name.clone(), version.clone()));
    let incoming = match web::block(move || registry.receive(&of.0, &of.1)).await? {
        // Another replica with the same folder was faster.
        Err(IncomingError::Exists) => return Ok(Fetched::Placed),
        incoming => incoming?,
    };
    let is_filled = fill_unless(given_up, &app.settings, blobs, &incoming, files).await?;
    // What a model.toml says is looked at when it is placed.
    if !is_filled || origin == Origin::Received && !added(app).await?.contains(sourced) {
        return Ok(Fetched::Unwanted);
    }
    let (desired, at) = lifecycle::desired_states(&app.auth).await?;
    let desired = desired.get(name).cloned().unwrap_or_default();
    let (registry, digests, name) = (app.registry.clone(), sourced.digests(), name.clone());
    let admit =
        move |registry: &Registry| registry.place(registry.examine_incoming(incoming, &digests)?, origin);
    let added = web::block(move || match admit(&registry) {
        Ok(_) | Err(IncomingError::Exists) => {
            registry.renew(&name, desired, at);
            Ok(Fetched::Placed)
        }
        Err(IncomingError::Unwanted) => Ok(Fetched::Unwanted),
        Err(error) => Err(error),
    });
    let fetched = added.await??;
    if matches!(fetched, Fetched::Placed) {
        let milliseconds = begun.elapsed().as_millis();
        tracing::info!(model = sourced.name, version, milliseconds, "a version was fetched");
    }
    Ok(fetched)
}
