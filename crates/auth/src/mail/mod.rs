//! Notices to people, and mail.

pub(crate) mod notices;
pub(crate) mod outbox;
pub(crate) mod tasks;
