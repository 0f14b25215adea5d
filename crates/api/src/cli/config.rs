//! `modelgate config`

use clap::Args;

use super::{CommandResult, SettingsSource, print};
use crate::settings::reference;

/// Show the settings.
#[derive(Args, Debug)]
pub struct Config {
    /// Print the documentation of every setting instead (docs/CONFIG.md).
    #[arg(long)]
    reference: bool,
}

impl Config {
    /// Runs the command.
    pub fn run(self, settings: impl SettingsSource) -> CommandResult {
        if self.reference {
            print(reference::markdown().trim_end());
            return Ok(());
        }
        // Secrets are types that do not show themselves.
        print(&format!("{:#?}", settings()?));
        Ok(())
    }
}
