//! Accounts: registration, invitation, administration, search, export and erasure.

pub(crate) mod address;
pub(crate) mod confirmation;
pub(crate) mod directory;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod invitations;
pub(crate) mod legal_holds;
pub(crate) mod people;
pub(crate) mod registration;
pub(crate) mod roles;
pub(crate) mod search;
pub(crate) mod service_accounts;
