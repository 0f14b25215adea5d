//! What a call brings along to be scheduled by, and where its time went.

use std::time::{Duration, Instant};

/// Who calls, how urgently, and until when an answer is of use.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    /// Opaque key of the caller: waiting requests of different callers take turns, and answers that are kept for one
    /// are not given to another unless the model's `[cache]` says so.
    pub caller: u64,
    /// Which calls go first: 1 (before all others) to [`Ticket::PRIORITIES`]; 0 is [`Ticket::DEFAULT_PRIORITY`], and
    /// more than the last as the last.
    pub priority: u32,
    /// When an answer is of no more use; then the call gives [`Error::Deadline`](crate::Error::Deadline) and its work is dropped.
    pub deadline: Instant,
}

impl Ticket {
    /// How many priorities there are.
    pub const PRIORITIES: u32 = 5;
    /// The priority of a call that names none.
    pub const DEFAULT_PRIORITY: u32 = 3;
}

/// Where the time of a call went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timing {
    /// Decoding and resizing pictures, waiting for a thread to do it included; zero for tensors.
    pub preprocess: Duration,
    /// Waiting for a session.
    pub queue: Duration,
    /// Running the model.
    pub compute: Duration,
    /// The call's part of that, by its rows among those that ran with it.
    pub share: Duration,
}
