//! What is old is removed a part at a time: SQLite has one writer, and requests wait for it.

/// Rows that one `prune` removes at most; of usage it is all rows of one day.
pub(crate) const PRUNED_AT_ONCE: i64 = 1_000;
