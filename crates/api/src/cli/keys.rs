//! `modelgate keys`

use clap::Subcommand;

use super::{CommandResult, SettingsSource, print};
use crate::start;

/// Make and renew secrets.
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Print fresh values for the settings that are secrets, in the form of a .env file.
    Generate,
    /// Publish a new key for signing access tokens; it takes over after ten minutes, and no token is refused.
    Rotate {
        /// Replace every key at once: all access tokens are refused from now on, sessions can be refreshed.
        #[arg(long)]
        emergency: bool,
    },
}

impl Keys {
    /// Runs the command.
    pub async fn run(self, settings: impl SettingsSource) -> CommandResult {
        match self {
            Self::Generate => generate(),
            Self::Rotate { emergency } => rotate(settings, emergency).await,
        }
    }
}

fn generate() -> CommandResult {
    let fresh = || auth::EncryptionKey::generate().map_err(|error| error.to_string());
    print(&format!("ENCRYPTION_KEY={}\nMETRICS_TOKEN={}", fresh()?, fresh()?));
    Ok(())
}

async fn rotate(settings: impl SettingsSource, emergency: bool) -> CommandResult {
    let auth = start::command(&settings()?).await?;
    if emergency {
        let kid = auth.replace_signing_keys().await.map_err(|error| storage::told(&error))?;
        print(&format!(
            "{kid} signs from now on; every access token from before is refused within a second."
        ));
    } else {
        let kid = auth.publish_signing_key().await.map_err(|error| storage::told(&error))?;
        print(&format!(
            "{kid} is published and signs in ten minutes; the key before it verifies until its tokens end."
        ));
    }
    Ok(())
}
