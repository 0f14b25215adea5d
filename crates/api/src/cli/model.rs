//! `modelgate model`

use auth::{Auth, ModelChange, Origin};
use clap::{Args, Subcommand};
use inference::{Registry, State};

use super::admin::explained;
use super::model_add::Add;
use super::model_bench::Bench;
use super::model_inspect::Inspect;
use super::model_trial::Trial;
use super::{CommandResult, SettingsSource, block_on, print};
use crate::lifecycle::{ChangeError, ModelChanges, desired_states, known_files};
use crate::settings::Settings;
use crate::{start, telemetry};

/// Manage, inspect and measure models.
#[derive(Debug, Subcommand)]
pub enum Model {
    /// Load every model of MODEL_DIR and list which would be served.
    List,
    /// Load every model of MODEL_DIR and fail unless all would be served.
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
            Self::List => list(settings).map(drop),
            Self::Verify => match list(settings)? {
                (0, _) => Ok(()),
                (broken, all) => Err(format!("{broken} of {all} would not be served")),
            },
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

/// How many would not be served, and of how many.
fn list(settings: &Settings) -> Result<(usize, usize), String> {
    let folder = &settings.models.model_dir;
    std::fs::read_dir(folder)
        .map_err(|error| format!("MODEL_DIR ({}) cannot be read: {}", folder.display(), error.kind()))?;
    let registry = Registry::open(start::inference(settings));
    let models = registry.models();
    for model in &models {
        let state = model.reason.as_deref().unwrap_or("ready");
        let digest = model.sha256.as_deref().unwrap_or("-");
        print(&format!("{}\t{}\t{digest}\t{state}", model.name, model.version));
    }
    let broken = models.iter().filter(|model| model.state != State::Ready).count();
    registry.shutdown();
    Ok((broken, models.len()))
}

/// Changes the desired state, once it was seen to load here.
async fn change(settings: &Settings, name: &str, change: ModelChange) -> CommandResult {
    let auth = start::command(settings).await?;
    let registry = Registry::start(start::inference(settings));
    registry.set_known_files(known_files(&auth).await.map_err(explained)?);
    if !registry.has(name) {
        return Err(format!("MODEL_DIR has no model {name:?}"));
    }
    // Nobody has to load a model to stop serving it, or to load it.
    let serving = match change {
        ModelChange::Load { .. } | ModelChange::Unload => None,
        ModelChange::Activate(_) | ModelChange::RollBack => serving(&auth, &registry, name).await?,
    };
    let changes = ModelChanges { auth: &auth, registry: &registry, actor: None, origin: &Origin::default() };
    let (prepared, _) = changes.change(name, &change, serving.as_deref()).await.map_err(refused)?;
    match prepared.version() {
        Some(version) => {
            print(&format!("{name}: version {version} is active; servers answer with it within a second."))
        }
        None => print(&format!("{name}: unloaded; servers stop serving it within a second.")),
    }
    Ok(())
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
