//! What people are told: kept for them to read, and mailed.

pub(crate) mod notices;
pub(crate) mod outbox;
pub(crate) mod tasks;
