//! `modelgate keys`

use clap::Subcommand;

use super::{CommandResult, print};

/// Make secrets.
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Print fresh values for the settings that are secrets, in the form of a .env file.
    Generate,
}

impl Keys {
    /// Runs the command.
    pub fn run(self) -> CommandResult {
        let Self::Generate = self;
        let fresh = || auth::EncryptionKey::generate().map_err(|error| error.to_string());
        print(&format!("ENCRYPTION_KEY={}\nMETRICS_TOKEN={}", fresh()?, fresh()?));
        Ok(())
    }
}
