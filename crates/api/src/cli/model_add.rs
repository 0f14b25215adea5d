//! `modelgate model add`

use std::fs::File;
use std::path::PathBuf;

use auth::Origin;
use clap::Args;
use data_encoding::BASE64;
use inference::Registry;

use super::admin::explained;
use super::{CommandResult, print};
use crate::lifecycle::{all_wanted, rows};
use crate::settings::Settings;
use crate::start;

/// A version to add.
#[derive(Args, Debug)]
pub struct Add {
    /// An ONNX file without files beside it.
    file: PathBuf,
    /// The model's name.
    #[arg(long)]
    name: String,
    /// The version, which must be new.
    #[arg(long)]
    version: String,
    /// What its SHA-256 must be, in hexadecimal.
    #[arg(long)]
    sha256: String,
    /// Its Ed25519 signature in Base64, where MODEL_SIGNING_KEYS are set.
    #[arg(long)]
    signature: Option<String>,
}

impl Add {
    /// Runs the command.
    pub async fn run(self, settings: &Settings) -> CommandResult {
        let Self { file, name, version, sha256, signature } = self;
        let auth = start::command(settings).await?;
        let registry = Registry::start(start::inference(settings));
        let incoming = registry.receive(&name, &version).map_err(|error| error.to_string())?;
        let failed = |error: std::io::Error| format!("{}: {error}", file.display());
        std::io::copy(&mut File::open(&file).map_err(failed)?, &mut incoming.create().map_err(failed)?)
            .map_err(failed)?;
        if let Some(signature) = signature {
            let bytes = BASE64.decode(signature.as_bytes()).map_err(|_| "the signature is not Base64")?;
            incoming.sign(&bytes).map_err(failed)?;
        }
        let wanted = all_wanted(&auth).await.map_err(explained)?.remove(&name).unwrap_or_default();
        let serving = if registry.has(&name) { registry.prepare(&name, wanted).ok() } else { None };
        let serving = serving.as_ref().and_then(|prepared| prepared.version());
        let admitted = registry.admit(incoming, &sha256).map_err(|error| error.to_string())?;
        let files = rows([((name.clone(), version.clone()), admitted.files)].into());
        let committed = auth.commit_model_version(None, &name, &files, serving, &Origin::default()).await;
        if let Err(error) = committed {
            registry.withdraw(&name, &version).map_err(|error| error.to_string())?;
            return Err(explained(error));
        }
        print(&format!(
            "{name}: version {version} is in the repository; modelgate model activate {name} {version} serves it."
        ));
        Ok(())
    }
}
