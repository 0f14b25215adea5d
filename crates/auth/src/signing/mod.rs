//! The keys that sign access tokens: how they are made, kept, shown to others and replaced.

mod algorithm;
mod keyring;
mod material;
mod public_key;
mod rotation;

pub use algorithm::SigningAlgorithm;
pub(crate) use keyring::Keyring;
pub use material::SharedSecret;
pub use public_key::PublicKey;
pub(crate) use rotation::CHANGE;

/// What these keys sign; other purposes get keys of their own.
const PURPOSE: &str = "access";
