//! Old rows are removed in parts: SQLite has one writer, and requests wait for it.

/// Rows that one `prune` removes at most; of usage it is all rows of one day.
pub(crate) const PRUNED_AT_ONCE: i64 = 1_000;
