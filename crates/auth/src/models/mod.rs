//! Models: what is wanted of them, and who may use them.

pub(crate) mod access;
pub(crate) mod lifecycle;
