//! What can go wrong, in the terms in which the caller has to answer for it.

use crate::{model::Model, predict::InputKind};

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
    /// The deadline of the [`Ticket`](crate::Ticket) passed before there was an answer (504).
    #[error("the model did not answer in time")]
    Deadline,
    /// The client went away, so that nobody waits for an answer (499).
    #[error("the client went away before there was an answer")]
    CallerLeft,
    /// The tensors or options do not fit the model; says which and what is expected (400).
    #[error("{0}")]
    InvalidInput(String),
    /// The bytes are not a picture that can be read (400).
    #[error("{0}")]
    InvalidImage(String),
    /// The picture exceeds the limit on bytes, pixels or sides (413).
    #[error("{0}")]
    ImageTooLarge(String),
    /// What the call takes is more than there ever is room for; says how much (413).
    #[error("{0}")]
    TooLarge(String),
    /// Rows or texts break a rule of `model.toml`; says which and where (400).
    #[error("some cells or texts are not valid")]
    Invalid(Vec<Problem>),
    /// The model expects another kind of input; says which (400 or 415).
    #[error("{0}")]
    WrongInput(String),
    /// The model or the runtime failed. The cause is logged and deliberately not carried here (500).
    #[error("the model failed to run")]
    Runtime,
}

/// What is wrong with a cell or a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: `rows[3].age`, `texts[0]`.
    pub place: String,
    /// What must be different.
    pub message: String,
}

impl Error {
    /// For a call of [`Model::predict`] with something else than the model takes.
    pub(crate) fn wrong_input(model: &Model, given: InputKind) -> Self {
        let takes = model.input_kind().map_or("tensors: use /v2", InputKind::name);
        Self::WrongInput(format!("the model {} takes {takes}, not {}", model.name(), given.name()))
    }

    /// The same words whoever asks: they must not tell a model that a caller may not use from one that is not there.
    pub fn no_such_model(name: &str) -> Self {
        Self::NotFound(format!("there is no model \"{name}\""))
    }

    pub(crate) fn shutting_down() -> Self {
        Self::Unavailable("the server is shutting down".to_owned())
    }
}
