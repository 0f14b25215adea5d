//! The desired state of a model, as an operator set it, beyond what its folder says.

use std::collections::BTreeSet;

use super::Registry;

/// The desired state of one model. The default follows its `model.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DesiredState {
    /// Whether no version is to be served.
    pub unloaded: bool,
    /// The version that answers calls which name none. `[versions] serve = "latest"` then counts from it downwards, so
    /// that a version withdrawn by going back to an earlier one is not served any more.
    pub active: Option<String>,
    /// How many reloads from disk were requested; a number other than the last one means: reload.
    pub loads: i64,
    /// Versions that are there and not to be served unless they are active: they came while the model was served.
    pub waiting: BTreeSet<String>,
}

impl DesiredState {
    /// Whether nobody asked for anything else than in `other`, but that versions were added or removed.
    pub(super) fn asks_as(&self, other: &Self) -> bool {
        (self.unloaded, &self.active, self.loads) == (other.unloaded, &other.active, other.loads)
    }
}

/// The number of the last change that a desired state includes. The owner of the desired state numbers its changes in
/// order; of two revisions the later one is served, whichever finishes loading first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub i64);

impl Registry {
    /// Has the next desired states taken over, whatever their revision is: the database went back.
    pub fn forget_revisions(&self) {
        self.read().values().for_each(|entry| entry.forget_revision());
    }
}
