//! The `[cache]` table: whether answers are cached.

use serde::Deserialize;

/// Most memory for the answers of one version, in MiB.
const MAX_CACHE_MB: u64 = 65_536;

/// The `[cache]` table: the same inputs get the same answer without another run. Only for deterministic models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Whether answers are kept; default yes where the table is there.
    pub enabled: bool,
    /// Memory for the answers of one version in MiB, 1 to 65536; default as in the settings.
    pub max_mb: Option<u64>,
    /// Whether callers share answers, so that the time of an answer may reveal what another caller sent; default no.
    pub shared: bool,
}

impl Default for Cache {
    fn default() -> Self {
        Self { enabled: true, max_mb: None, shared: false }
    }
}

impl Cache {
    pub(super) fn check(&self) -> Result<(), String> {
        match self.max_mb {
            Some(megabytes) if !(1..=MAX_CACHE_MB).contains(&megabytes) => {
                Err(format!("[cache] max_mb must be 1 to {MAX_CACHE_MB}"))
            }
            _ => Ok(()),
        }
    }
}
