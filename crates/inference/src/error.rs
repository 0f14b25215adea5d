//! What can go wrong, in the terms in which the caller has to answer for it.

/// Why a model gave no answer. The messages are meant for the person who called: they say what to change and
/// never name a path; what only the operator may know is in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such model, or not in this version (404).
    #[error("{0}")]
    NotFound(String),
    /// The model is known and cannot be served now, for the reason given (503).
    #[error("{0}")]
    Unavailable(String),
    /// A queue is full; trying again a little later may succeed (503).
    #[error("too many requests are waiting for this model; try again shortly")]
    Overloaded,
    /// The ticket's deadline passed before there was an answer (504).
    #[error("the model did not answer in time")]
    Deadline,
    /// The tensors or options do not fit the model; says which and what is expected (400).
    #[error("{0}")]
    InvalidInput(String),
    /// The bytes are not a picture that can be read (400).
    #[error("{0}")]
    InvalidImage(String),
    /// The picture exceeds the limit on bytes, pixels or sides (413).
    #[error("{0}")]
    ImageTooLarge(String),
    /// The model does not take pictures: its `model.toml` has no `[image]` or no `[classification]` (400).
    #[error("the model {0} takes tensors, not pictures")]
    NotAnImageModel(String),
    /// The model or the runtime failed. The cause is logged and deliberately not carried here (500).
    #[error("the model failed to run")]
    Runtime,
}

impl Error {
    pub(crate) fn shutting_down() -> Self {
        Self::Unavailable("the server is shutting down".to_owned())
    }
}
