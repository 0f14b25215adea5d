//! What an operator wants of a model, beyond what its folder says.

/// What is wanted of one model. The default is whatever its `model.toml` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DesiredState {
    /// Nothing of it is to be served.
    pub unloaded: bool,
    /// The version that answers calls which name none. `[versions] serve = "latest"` then counts from it downwards, so
    /// that a version withdrawn by going back to an earlier one is not served any more.
    pub active: Option<String>,
    /// How often it was told to be read from disk afresh; another number than the last one means: again.
    pub loads: i64,
}

/// The number of the last change that what is wanted takes account of. Whoever keeps what is wanted numbers its changes
/// in their order; of two moments, what was wanted at the later one is served, whichever is loaded first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub i64);
