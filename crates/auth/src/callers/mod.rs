//! Callers: authentication, authorisation and admission.

pub(crate) mod access;
pub(crate) mod acting;
pub(crate) mod admission;
pub(crate) mod authentication;
pub(crate) mod cache;
pub(crate) mod confirmation;
pub(crate) mod counting;
pub(crate) mod freshness;
pub(crate) mod holder;
pub(crate) mod principal;
pub(crate) mod revocation;
pub(crate) mod step_up;
