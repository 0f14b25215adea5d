//! `modelgate audit`

use std::path::PathBuf;

use auth::{AuditSettings, AuditTrail, Verification, seal_line};
use clap::{Args, Subcommand};
use storage::{AuditSeal, Store, with_causes};

use super::{CommandResult, SettingsSource, print};
use crate::settings::{Settings, audit_keys};
use crate::{seals, start};

/// Verify the audit trail and export its seals.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Verify every event, link and seal: an edit, a deletion, a reorder and an insertion are found and named.
    Verify(Verify),
    /// Seal what is linked and print the last seal, to be kept where the database is not.
    Head,
    /// Print the public key that verifies seals, for those who have nothing else.
    Key,
}

/// What to compare with.
#[derive(Args, Debug)]
pub struct Verify {
    /// A file of seals that was kept elsewhere: a tail that was cut off, or an old copy, is found too.
    #[arg(long, value_name = "FILE")]
    head: Vec<PathBuf>,
}

impl Audit {
    /// Runs the command.
    pub async fn run(self, settings: impl SettingsSource) -> CommandResult {
        let settings = settings()?;
        match self {
            Self::Verify(verify) => verify.run(&settings).await,
            Self::Head => head(&settings).await,
            Self::Key => {
                let keys = audit_keys(&settings).map_err(|error| error.to_string())?;
                print(&keys.active().public_pem());
                Ok(())
            }
        }
    }
}

/// The database of a server: one that is made by asking for it holds no trail, and all would be well with it.
async fn store(settings: &Settings) -> Result<Store, String> {
    if !start::has_database(settings) {
        let folder = settings.program.data_dir.display();
        return Err(format!(
            "there is no database in DATA_DIR ({folder}); name the server's DATA_DIR or DATABASE_URL"
        ));
    }
    start::store(settings).await
}

async fn trail(settings: &Settings) -> Result<AuditTrail, String> {
    let store = store(settings).await?;
    Ok(AuditTrail::new(store, start::audit(settings)?))
}

async fn head(settings: &Settings) -> CommandResult {
    // Due or not: an exported head should cover every link there is.
    let store = store(settings).await?;
    let trail = AuditTrail::new(store, AuditSettings { seal_every: 1, ..start::audit(settings)? });
    trail.advance(false).await.map_err(|error| with_causes(&error))?;
    let seal = trail.standing().await.map_err(|error| with_causes(&error))?.last_seal;
    print(&seal_line(&seal.ok_or("nothing has been sealed yet")?));
    Ok(())
}

impl Verify {
    async fn run(self, settings: &Settings) -> CommandResult {
        let mut kept: Vec<AuditSeal> = Vec::new();
        for file in &self.head {
            let seals = seals::read(file)?;
            kept.extend(seals.ok_or_else(|| format!("{}: there is no such file", file.display()))?);
        }
        kept.extend(seals::read(&seals::head_file(settings))?.unwrap_or_default());
        let compared = kept.len();
        let found = trail(settings).await?.verify(&kept).await.map_err(|error| with_causes(&error))?;
        print_verification(&found, compared)
    }
}

fn print_verification(found: &Verification, compared: usize) -> CommandResult {
    for finding in &found.findings {
        print(&finding.to_string());
    }
    if found.more > 0 {
        print(&format!("… and {} more", found.more));
    }
    let Verification { links, last, seals, waiting, .. } = found;
    print(&format!(
        "{links} events and {seals} seals verified, the last link is {last}; {waiting} events wait for their link; compared with {compared} seals kept elsewhere."
    ));
    match found.findings.len() as u64 + found.more {
        0 => Ok(()),
        wrong => Err(format!("the audit trail is not as it was written: {wrong} findings")),
    }
}
