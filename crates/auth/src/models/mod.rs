//! Models: their desired state, their versions and files, and who may use them.

pub(crate) mod access;
mod files;
pub(crate) mod lifecycle;
pub(crate) mod versions;
