//! Every model of the repository, by name and version, with what keeps it from being served.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    decoding::Decoder,
    error::Error,
    loading::{self, Entry},
    manifest::Access,
    model::Model,
    onnx::Library,
    settings::Settings,
};

/// How long [`Registry::shutdown`] waits for runs to end before it interrupts them.
const DRAIN: Duration = Duration::from_secs(10);

/// Whether a version can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It answers.
    Ready,
    /// It does not, for the reason that stands beside it.
    Unavailable,
}

/// What there is to say about one version of a model.
#[derive(Debug, Clone)]
pub struct ModelStatus {
    /// Name of the model.
    pub name: String,
    /// The version; empty where the model's folder offers none.
    pub version: String,
    /// Whether it can be called.
    pub state: State,
    /// Why not; names no path outside the model's folder.
    pub reason: Option<String>,
    /// Whether the server counts as not ready without it.
    pub required: bool,
    /// Who may use it. A model whose `model.toml` cannot be read counts as granted only.
    pub access: Access,
    /// SHA-256 of its `model.onnx` in lower-case hexadecimal, where the file could be read.
    pub sha256: Option<String>,
}

/// Every model of the repository. Cheap to clone; all clones are the same registry.
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

struct Shared {
    models: BTreeMap<String, Entry>,
    decoder: Arc<Decoder>,
    runtime_version: Option<String>,
}

impl Registry {
    /// Loads the runtime and every model. Blocks for as long as that takes and never fails: what cannot be
    /// served is listed as [`State::Unavailable`] with a reason.
    pub fn open(settings: Settings) -> Self {
        let decoder = Arc::new(Decoder::start(&settings));
        let library = Library::load(settings.runtime_library.as_deref());
        if let Err(reason) = &library {
            tracing::error!(reason, "ONNX Runtime is not available");
        }
        let runtime_version = library.as_ref().ok().and_then(|library| library.version().map(str::to_owned));
        let models = loading::open(&settings, library.as_ref().map_err(String::as_str), &decoder);
        Self { shared: Arc::new(Shared { models, decoder, runtime_version }) }
    }

    /// Every version that is or should be served, by name and version.
    pub fn models(&self) -> Vec<ModelStatus> {
        self.shared.models.values().flat_map(Entry::statuses).collect()
    }

    /// The model in the given version, or in the highest that is ready. [`Error::NotFound`] or
    /// [`Error::Unavailable`].
    pub fn find(&self, name: &str, version: Option<&str>) -> Result<Arc<Model>, Error> {
        let entry = self
            .shared
            .models
            .get(name)
            .ok_or_else(|| Error::NotFound(format!("there is no model \"{name}\"")))?;
        entry.find(version)
    }

    /// Who may use the model; none where there is no such model.
    pub fn access(&self, name: &str) -> Option<Access> {
        self.shared.models.get(name).map(|entry| entry.access)
    }

    /// Answers what is queued, for at most ten seconds, interrupts what then still runs, and gives the memory
    /// back. Afterwards every call is refused.
    pub fn shutdown(&self) {
        let pools: Vec<_> =
            self.shared.models.values().flat_map(Entry::ready).map(|model| &model.pool).collect();
        self.shared.decoder.close();
        for pool in &pools {
            pool.close();
        }
        let until = Instant::now() + DRAIN;
        for pool in pools {
            pool.join(until);
        }
    }

    /// Version of the ONNX Runtime library, such as `1.31.1`; none where there is none.
    pub fn runtime_version(&self) -> Option<String> {
        self.shared.runtime_version.clone()
    }
}
