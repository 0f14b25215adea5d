//! Passwords: hashed on threads of their own, kept in forms that are understood, renewed when they are out of date.

mod argon2id;
mod blocklist;
mod calibration;
pub(crate) mod policy;
mod pool;
mod renewal;
mod stored;

pub use argon2id::HashParameters;
pub use blocklist::Blocklist;
pub use pool::{HashingPool, PasswordHashing};

/// Why a hash from elsewhere cannot be taken; nothing of the hash is in the answer.
pub(crate) fn refusal(hash: &str) -> Option<&'static str> {
    stored::StoredHash::parse(hash).err()
}
