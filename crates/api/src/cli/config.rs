//! `modelgate config`

use std::path::Path;

use clap::Args;

use super::{CommandResult, print};
use crate::settings::{self, reference};

/// Show the settings.
#[derive(Args, Debug)]
pub struct Config {
    /// Print the documentation of every setting instead (docs/CONFIG.md).
    #[arg(long)]
    reference: bool,
}

impl Config {
    /// Runs the command; `file` is the configuration file.
    pub fn run(self, file: Option<&Path>) -> CommandResult {
        if self.reference {
            print(reference::markdown().trim_end());
            return Ok(());
        }
        for (name, value) in settings::in_force(file).map_err(|error| error.to_string())? {
            print(&format!("{name}={value}"));
        }
        Ok(())
    }
}
