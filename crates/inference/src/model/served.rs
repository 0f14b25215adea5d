//! What the versions of one model know of each other.

use std::sync::Arc;

use parking_lot::RwLock;

/// The names of the versions that are served, lowest first.
#[derive(Default)]
pub(crate) struct Served(RwLock<Arc<[String]>>);

impl Served {
    pub(super) fn read(&self) -> Arc<[String]> {
        Arc::clone(&self.0.read())
    }

    pub(crate) fn set(&self, names: Arc<[String]>) {
        *self.0.write() = names;
    }
}
