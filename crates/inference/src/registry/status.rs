//! The status of a model's versions, as the registry reports it.

use crate::{manifest::Access, named::named_enum};

named_enum! {
    /// The state of a version.
    pub enum State {
        /// It answers calls.
        Ready = "ready",
        /// It is being loaded.
        Loading = "loading",
        /// It accepts no more calls and finishes the running ones.
        Unloading = "unloading",
        /// It does not answer, for the reason given in [`ModelStatus::reason`].
        Unavailable = "unavailable",
    }
}

/// The status of one version of a model.
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
    /// Whether it answers calls that name no version.
    pub active: bool,
    /// Why the model stays as it is although its desired state is another.
    pub setback: Option<String>,
}
