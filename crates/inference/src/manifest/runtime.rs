//! The `[runtime]` table: how many sessions and threads a model gets.

use serde::Deserialize;

use crate::provider::Provider;

/// Most sessions and threads that `model.toml` may set for one model.
pub(crate) const MAX_THREADS: usize = 64;

/// Most memory that one session may be given, in MiB.
const MAX_MEMORY_MB: u64 = 1 << 20;

/// The `[runtime]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Runtime {
    /// Sessions, each on its own thread, 1 to 64; default as in the settings.
    pub instances: Option<usize>,
    /// Sessions that one caller may keep busy at a time, 1 to 64; default all of them while nobody else calls, and
    /// one less beside others. With fewer than there are, a caller who floods the model never keeps others waiting
    /// for a run of theirs to end.
    pub instances_per_caller: Option<usize>,
    /// Threads inside one run, 1 to 64; default as in the settings.
    pub intra_threads: Option<usize>,
    /// Whether several sessions keep the weights that they share in the runtime's packed form as well, which takes as
    /// much memory again and makes runs of few rows faster; default for up to 16 MiB of weights.
    pub pack_weights: Option<bool>,
    /// MiB that each session may take for what its runs compute, beside three times the size of the model's files, at
    /// most 1 TiB; 0: all that there is. Default as in the settings.
    pub memory_mb: Option<u64>,
    /// What computes it, best first, such as `["cuda", "cpu"]`; what follows a refused one is the fallback. Default as
    /// in the settings.
    pub providers: Option<Vec<Provider>>,
    /// Whether a first run on zeros is made before the model counts as ready; default yes.
    pub warm_up: bool,
}

impl Default for Runtime {
    fn default() -> Self {
        Self {
            instances: None,
            instances_per_caller: None,
            intra_threads: None,
            pack_weights: None,
            memory_mb: None,
            providers: None,
            warm_up: true,
        }
    }
}

impl Runtime {
    pub(super) fn check(&self) -> Result<(), String> {
        for (key, value) in [
            ("instances", self.instances),
            ("instances_per_caller", self.instances_per_caller),
            ("intra_threads", self.intra_threads),
        ] {
            if value.is_some_and(|value| !(1..=MAX_THREADS).contains(&value)) {
                return Err(format!("[runtime] {key} must be 1 to {MAX_THREADS}"));
            }
        }
        if self.memory_mb.is_some_and(|most| most > MAX_MEMORY_MB) {
            return Err(format!("[runtime] memory_mb must be at most {MAX_MEMORY_MB}"));
        }
        if self.providers.as_ref().is_some_and(Vec::is_empty) {
            return Err("[runtime] providers needs at least one, such as \"cpu\"".to_owned());
        }
        Ok(())
    }
}
