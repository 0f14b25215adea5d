//! What people are told: kept for them to read, and mailed.

pub(crate) mod errands;
pub(crate) mod notices;
pub(crate) mod outbox;
