//! `modelgate model`

use clap::Subcommand;
use inference::{Registry, State};

use super::{CommandResult, print};
use crate::settings::Settings;
use crate::start;

/// Look at the model repository.
#[derive(Debug, Subcommand)]
pub enum Model {
    /// Load every model of MODEL_DIR and say which would be served.
    List,
    /// The same, and fail unless every one would be.
    Verify,
}

impl Model {
    /// Runs the command.
    pub fn run(self, settings: &Settings) -> CommandResult {
        let registry = Registry::open(start::inference(settings));
        let models = registry.models();
        for model in &models {
            let state = model.reason.as_deref().unwrap_or("ready");
            let digest = model.sha256.as_deref().unwrap_or("-");
            print(&format!("{}\t{}\t{digest}\t{state}", model.name, model.version));
        }
        let broken = models.iter().filter(|model| model.state != State::Ready).count();
        registry.shutdown();
        match self {
            Self::Verify if broken > 0 => Err(format!("{broken} of {} would not be served", models.len())),
            Self::Verify | Self::List => Ok(()),
        }
    }
}
