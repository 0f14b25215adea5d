//! `modelgate model`

use auth::{ModelChange, Origin};
use clap::{Args, Subcommand};
use inference::{Registry, State};
use storage::DesiredModel;

use super::{CommandResult, block_on, print};
use crate::lifecycle::wanted;
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
    Load(Named),
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
}

/// One model.
#[derive(Args, Debug)]
pub struct Named {
    /// The model's name.
    name: String,
}

impl Model {
    /// Runs the command.
    pub fn run(self, settings: &Settings) -> CommandResult {
        match self {
            Self::List => list(settings).map(drop),
            Self::Verify => match list(settings)? {
                (0, _) => Ok(()),
                (broken, all) => Err(format!("{broken} of {all} would not be served")),
            },
            Self::Load(model) => block_on(change(settings, &model.name, ModelChange::Load)),
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
async fn change(settings: &Settings, name: &str, change: ModelChange) -> CommandResult {
    let told = |error: auth::Error| super::admin::explained(error);
    let auth = start::command(settings).await?;
    let registry = Registry::start(start::inference(settings));
    if !registry.has(name) {
        return Err(format!("MODEL_DIR has no model {name:?}"));
    }
    let before = auth.desired_models().await.map_err(told)?;
    let before = before.into_iter().find(|desired| desired.name == name);
    let before = before.unwrap_or_else(|| DesiredModel { name: name.into(), ..DesiredModel::default() });
    let serving = registry.prepare(name, wanted(&before)).ok();
    let serving = serving.as_ref().and_then(|prepared| prepared.version());
    let planned = auth.plan_model_change(name, &change, serving).await.map_err(told)?;
    let prepared = registry.prepare(name, wanted(&planned));
    let prepared =
        prepared.map_err(|reason| format!("{name} cannot be loaded, nothing was changed: {reason}"))?;
    let origin = Origin::default();
    auth.commit_model_change(None, &change, serving, &planned, &origin).await.map_err(told)?;
    match prepared.version() {
        Some(version) => print(&format!("{name}: version {version} answers from now on.")),
        None => print(&format!("{name}: nothing of it is served from now on.")),
    }
    Ok(())
}
