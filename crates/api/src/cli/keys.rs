//! `modelgate keys`

use auth::Resealed;
use clap::Subcommand;

use super::{CommandResult, SettingsSource, print};
use crate::start;

/// Generate and rotate secrets.
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
    /// Reseal under ENCRYPTION_KEY what the keys in ENCRYPTION_KEYS_PREVIOUS sealed; servers go on working.
    RotateEncryption,
}

impl Keys {
    /// Runs the command.
    pub async fn run(self, settings: impl SettingsSource) -> CommandResult {
        match self {
            Self::Generate => generate(),
            Self::Rotate { emergency } => rotate(settings, emergency).await,
            Self::RotateEncryption => rotate_encryption(settings).await,
        }
    }
}

fn generate() -> CommandResult {
    let fresh = || auth::EncryptionKey::generate().map_err(|error| error.to_string());
    print(&format!("ENCRYPTION_KEY={}\nAUDIT_KEY={}\nMETRICS_TOKEN={}", fresh()?, fresh()?, fresh()?));
    Ok(())
}

async fn rotate(settings: impl SettingsSource, emergency: bool) -> CommandResult {
    let auth = start::command(&settings()?).await?;
    if emergency {
        let kid = auth.replace_signing_keys().await.map_err(|error| storage::with_causes(&error))?;
        print(&format!(
            "{kid} signs from now on; every access token from before is refused within a second."
        ));
    } else {
        let kid = auth.publish_signing_key().await.map_err(|error| storage::with_causes(&error))?;
        print(&format!(
            "{kid} is published and signs in ten minutes; the key before it verifies until its tokens end."
        ));
    }
    Ok(())
}

async fn rotate_encryption(settings: impl SettingsSource) -> CommandResult {
    let auth = start::command(&settings()?).await?;
    let columns = auth.rotate_encryption().await.map_err(|error| storage::with_causes(&error))?;
    let mut left = Vec::new();
    for Resealed { column, resealed, left: rest, reason } in columns {
        print(&format!("{column}: {resealed} sealed anew"));
        if rest > 0 {
            let reason = reason.unwrap_or_else(|| "a server sealed them meanwhile; run this again".into());
            left.push(format!("{column}: {rest} are not under ENCRYPTION_KEY: {reason}"));
        }
    }
    if !left.is_empty() {
        return Err(left.join("\n"));
    }
    print("Everything is sealed under ENCRYPTION_KEY; nothing needs ENCRYPTION_KEYS_PREVIOUS any more.");
    Ok(())
}
