//! Who is calling, what they may do, and whether it is let in now.

pub(crate) mod access;
pub(crate) mod acting;
pub(crate) mod admission;
pub(crate) mod authentication;
pub(crate) mod cache;
pub(crate) mod freshness;
pub(crate) mod holder;
pub(crate) mod principal;
pub(crate) mod revocation;
pub(crate) mod step_up;
