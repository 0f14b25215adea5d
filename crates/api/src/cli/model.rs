//! `modelgate model`

use auth::{ModelChange, Origin};
use clap::{Args, Subcommand};
use inference::{Registry, State};
use storage::DesiredModel;

use super::model_add::Add;
use super::model_bench::Bench;
use super::model_inspect::Inspect;
use super::model_trial::Trial;
use super::{CommandResult, SettingsSource, block_on, print};
use crate::lifecycle::{known_files, rows, wanted};
use crate::settings::Settings;
use crate::start;

/// Look at the model repository, and say what is served of it.
#[derive(Debug, Subcommand)]
pub enum Model {
    /// Load every model of MODEL_DIR and say which would be served.
    List,
    /// The same, and fail unless every one would be.
    Verify,
    /// Serve a model, read from disk afresh; servers on the same database follow within a second.
    Load {
        #[command(flatten)]
        model: Named,
        /// Also where files are not those that were first served under their versions.
        #[arg(long)]
        accept_changes: bool,
    },
    /// Serve nothing of a model any more.
    Unload(Named),
    /// Let a version of a model answer calls that name none.
    Activate {
        #[command(flatten)]
        model: Named,
        /// The version; left out: what model.toml says.
        version: Option<String>,
    },
    /// Activate the version that was active before.
    Rollback(Named),
    /// Put an ONNX file into the repository as a new version, tried first; it is served when it is activated or loaded.
    Add(Add),
    /// Say what an ONNX file is: inputs, outputs, operators, files, and whether it would load.
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
                block_on(change(settings, &model.name, ModelChange::Load, accept_changes))
            }
            Self::Unload(model) => block_on(change(settings, &model.name, ModelChange::Unload, false)),
            Self::Activate { model, version } => {
                block_on(change(settings, &model.name, ModelChange::Activate(version), false))
            }
            Self::Rollback(model) => block_on(change(settings, &model.name, ModelChange::RollBack, false)),
        }
    }
}

/// How many would not be served, and of how many.
fn list(settings: &Settings) -> Result<(usize, usize), String> {
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

/// Changes what is wanted, once it was seen to load here.
async fn change(settings: &Settings, name: &str, change: ModelChange, accept: bool) -> CommandResult {
    let told = |error: auth::Error| super::admin::explained(error);
    let auth = start::command(settings).await?;
    let registry = Registry::start(start::inference(settings));
    registry.expect(known_files(&auth).await.map_err(told)?);
    if !registry.has(name) {
        return Err(format!("MODEL_DIR has no model {name:?}"));
    }
    let before = auth.desired_models().await.map_err(told)?;
    let before = before.into_iter().find(|desired| desired.name == name);
    let before = before.unwrap_or_else(|| DesiredModel { name: name.into(), ..DesiredModel::default() });
    let serving = registry.prepare(name, wanted(&before)).ok();
    let serving = serving.as_ref().and_then(|prepared| prepared.version());
    let planned = auth.plan_model_change(name, &change, serving).await.map_err(told)?;
    let wanted = wanted(&planned);
    let prepared =
        if accept { registry.prepare_changed(name, wanted) } else { registry.prepare(name, wanted) };
    let prepared =
        prepared.map_err(|reason| format!("{name} cannot be loaded, nothing was changed: {reason}"))?;
    let origin = Origin::default();
    let accepted = if accept { rows(prepared.files()) } else { Vec::new() };
    let committed = auth.commit_model_change(None, &change, serving, &planned, &accepted, &origin).await;
    committed.map_err(told)?;
    match prepared.version() {
        Some(version) => print(&format!("{name}: version {version} answers from now on.")),
        None => print(&format!("{name}: nothing of it is served from now on.")),
    }
    Ok(())
}
