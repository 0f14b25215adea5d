//! Models: their desired state, and who may use them.

pub(crate) mod access;
pub(crate) mod lifecycle;
