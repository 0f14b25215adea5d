//! `modelgate model list` and `modelgate model verify`

use std::collections::{BTreeMap, HashMap};

use inference::{DesiredState, KnownFiles, ModelStatus, Registry, Revision, State, printable};

use super::admin::explained;
use super::print;
use crate::lifecycle::{desired_states, known_files};
use crate::settings::Settings;
use crate::start;

/// What was changed and served so far, as the database has it; nothing where there is none.
#[derive(Default)]
pub struct Remembered {
    pub desired: HashMap<String, DesiredState>,
    pub at: Revision,
    pub known: KnownFiles,
}

impl Remembered {
    /// Reads it. A database that does not answer keeps nobody from looking at the files.
    pub async fn read(settings: &Settings) -> Self {
        if !start::has_database(settings) {
            return Self::default();
        }
        Self::try_read(settings).await.unwrap_or_else(|reason| {
            tracing::warn!(
                reason,
                "this is what the files say; what was changed while servers ran is not known"
            );
            Self::default()
        })
    }

    async fn try_read(settings: &Settings) -> Result<Self, String> {
        let auth = start::command(settings).await?;
        let (desired, at) = desired_states(&auth).await.map_err(explained)?;
        Ok(Self { desired, at, known: known_files(&auth).await.map_err(explained)? })
    }
}

/// How many models or versions would not be served that should be, and of how many.
pub async fn list(settings: &Settings) -> Result<(usize, usize), String> {
    let folder = &settings.models.model_dir;
    std::fs::read_dir(folder)
        .map_err(|error| format!("MODEL_DIR ({}) cannot be read: {}", folder.display(), error.kind()))?;
    let Remembered { desired, at, known } = Remembered::read(settings).await;
    let registry = Registry::open_as(start::inference(settings), &desired, at, known);
    let models = registry.models();
    models.iter().for_each(show);
    for (name, version) in waiting(&registry, &models, &desired.iter().collect()) {
        print(&format!("{name}\t{version}\t-\twaits for its activation"));
    }
    let is_wished = |model: &&ModelStatus| !desired.get(&model.name).is_some_and(|desired| desired.unloaded);
    let broken = models.iter().filter(is_wished).filter(|model| model.state != State::Ready).count();
    registry.shutdown();
    Ok((broken, models.len()))
}

fn show(model: &ModelStatus) {
    let active = if model.active { "ready, active" } else { "ready" };
    let state = model.reason.as_deref().map_or_else(|| active.to_owned(), printable);
    let digest = model.sha256.as_deref().unwrap_or("-");
    print(&format!("{}\t{}\t{digest}\t{state}", model.name, model.version));
}

/// Versions that are there and served only when they are activated.
fn waiting<'a>(
    registry: &Registry,
    models: &[ModelStatus],
    desired: &BTreeMap<&'a String, &'a DesiredState>,
) -> Vec<(&'a str, &'a str)> {
    let all = desired.iter().filter(|(_, desired)| !desired.unloaded);
    let all = all
        .flat_map(|(name, desired)| desired.waiting.iter().map(|version| (name.as_str(), version.as_str())));
    let is_listed =
        |name: &str, version: &str| models.iter().any(|model| model.name == name && model.version == version);
    all.filter(|(name, version)| !registry.lacks(name, version) && !is_listed(name, version)).collect()
}
