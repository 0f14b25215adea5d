//! `modelgate model`

use auth::{Auth, ModelChange, Origin};
use clap::{Args, Subcommand};
use inference::{IncomingError, Registry, SourcedVersion};

use super::admin::explained;
use super::model_add::Add;
use super::model_bench::Bench;
use super::model_inspect::Inspect;
use super::model_list::list;
use super::model_trial::Trial;
use super::{CommandResult, SettingsSource, block_on, print};
use crate::lifecycle::{ChangeError, ModelChanges, desired_states, known_files};
use crate::settings::Settings;
use crate::{model_sources, start, telemetry};

/// Manage, inspect and measure models.
#[derive(Debug, Subcommand)]
pub enum Model {
    /// Load every model of MODEL_DIR and list which versions a server on this database serves, and why others are not.
    List,
    /// The same, and fail unless all that is to be served would be.
    Verify,
    /// Serve a model, read from disk afresh; servers on the same database follow within a second.
    Load {
        #[command(flatten)]
        model: Named,
        /// Also where files are not those that were first served under their versions.
        #[arg(long)]
        accept_changes: bool,
    },
    /// Stop serving a model.
    Unload(Named),
    /// Make a version of a model answer the calls that name none.
    Activate {
        #[command(flatten)]
        model: Named,
        /// The version; left out: what model.toml says.
        version: Option<String>,
    },
    /// Activate the version that was active before.
    Rollback(Named),
    /// Put an ONNX file into the repository as a new version, tried first; it is served when it is activated.
    Add(Add),
    /// Show an ONNX file: inputs, outputs, operators, files, and whether it would load.
    Inspect(Inspect),
    /// Measure a model with zeros: latency and rows a second for each size of batch.
    Bench(Bench),
    /// Load one file, within bounds, and end: how servers try unknown models.
    #[command(hide = true)]
    Try(Trial),
}

/// One model.
#[derive(Args, Debug)]
pub struct Named {
    /// The model's name.
    name: String,
}

impl Model {
    /// Runs the command.
    pub fn run(self, settings: impl SettingsSource) -> CommandResult {
        // It knows nothing and reads nothing but the model.
        if let Self::Try(trial) = self {
            return trial.run();
        }
        let settings = &settings()?;
        // `inspect` says all that it finds by itself.
        if !matches!(self, Self::Inspect(_)) {
            telemetry::tell_warnings();
        }
        match self {
            Self::Try(trial) => trial.run(),
            Self::Bench(bench) => block_on(bench.run(settings)),
            Self::Add(add) => block_on(add.run(settings)),
            Self::Inspect(inspect) => inspect.run(settings),
            Self::List => block_on(async { list(settings).await.map(drop) }),
            Self::Verify => block_on(verify(settings)),
            Self::Load { model, accept_changes } => {
                block_on(change(settings, &model.name, ModelChange::Load { accept_changes }))
            }
            Self::Unload(model) => block_on(change(settings, &model.name, ModelChange::Unload)),
            Self::Activate { model, version } => {
                block_on(change(settings, &model.name, ModelChange::Activate(version)))
            }
            Self::Rollback(model) => block_on(change(settings, &model.name, ModelChange::RollBack)),
        }
    }
}

async fn verify(settings: &Settings) -> CommandResult {
    match list(settings).await? {
        (0, _) => Ok(()),
        (broken, all) => Err(format!("{broken} of {all} would not be served")),
    }
}

/// Changes the desired state, once it was seen to load here.
async fn change(settings: &Settings, name: &str, change: ModelChange) -> CommandResult {
    let auth = start::command(settings).await?;
    let registry = Registry::start(start::inference(settings));
    registry.set_known_files(known_files(&auth).await.map_err(explained)?);
    // What servers still serve can be stopped also where its folder is gone.
    let is_known = registry.has(name) || change == ModelChange::Unload && is_remembered(&auth, name).await?;
    if !is_known {
        return Err(format!("MODEL_DIR has no model {name:?}"));
    }
    // Nobody has to load a model to stop serving it, or to load it.
    let serving = match change {
        ModelChange::Load { .. } | ModelChange::Unload => None,
        ModelChange::Activate(_) | ModelChange::RollBack => serving(&auth, &registry, name).await?,
    };
    let changes = ModelChanges { auth: &auth, registry: &registry, actor: None, origin: &Origin::default() };
    let changed = match changes.change(name, &change, serving.as_deref()).await {
        // Known by now, so that its files can be fetched.
        Err(ChangeError::NotLoadable(_)) if fetch_missing(settings, &registry, name).await? => {
            changes.change(name, &change, serving.as_deref()).await
        }
        changed => changed,
    };
    let (prepared, _) = changed.map_err(refused)?;
    match prepared.version() {
        Some(version) => {
            print(&format!("{name}: version {version} is active; servers answer with it within a second."))
        }
        None => print(&format!("{name}: unloaded; servers stop serving it within a second.")),
    }
    Ok(())
}

async fn is_remembered(auth: &Auth, name: &str) -> Result<bool, String> {
    let known = known_files(auth).await.map_err(explained)?;
    Ok(known.keys().any(|(model, _)| model == name))
}

/// Fetches the versions of a model that its `model.toml` names sources of and that are not here, if there are any.
async fn fetch_missing(settings: &Settings, registry: &Registry, name: &str) -> Result<bool, String> {
    let missing: Vec<SourcedVersion> =
        registry.missing().into_iter().filter(|sourced| sourced.name == name).collect();
    let blobs = model_sources::blobs(settings);
    for sourced in &missing {
        let SourcedVersion { version, files, .. } = sourced;
        let described = |error: &dyn std::fmt::Display| format!("version {version}: {error}");
        let placed = match registry.receive(name, version) {
            Ok(incoming) => {
                let filled = model_sources::fill(&incoming, files, settings, &blobs).await;
                filled.map_err(|error| described(&error))?;
                let examined = registry.examine_incoming(incoming, &sourced.digests());
                examined.and_then(|examined| registry.place(examined, inference::Origin::Manifest)).map(drop)
            }
            Err(error) => Err(error),
        };
        match placed {
            Ok(()) => print(&format!("{name}: version {version} was fetched.")),
            // A server with the same repository was faster.
            Err(IncomingError::Exists) => {}
            Err(error) => return Err(described(&error)),
        }
    }
    Ok(!missing.is_empty())
}

/// The version that servers answer with: a model's desired state, as far as it loads here.
async fn serving(auth: &Auth, registry: &Registry, name: &str) -> Result<Option<String>, String> {
    if !registry.has(name) {
        return Ok(None);
    }
    let (mut desired, _) = desired_states(auth).await.map_err(explained)?;
    let prepared = registry.prepare(name, desired.remove(name).unwrap_or_default()).ok();
    Ok(prepared.and_then(|prepared| prepared.version().map(str::to_owned)))
}

/// Why a change was not made, for the person who typed the command.
pub(super) fn refused(error: ChangeError) -> String {
    match error {
        ChangeError::Auth(error) => explained(error),
        ChangeError::Version(error) => error.to_string(),
        ChangeError::NotLoadable(reason) => format!("it cannot be loaded, nothing was changed: {reason}"),
        ChangeError::Interrupted => "the work was broken off".to_owned(),
    }
}
