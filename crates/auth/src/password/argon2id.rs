//! argon2: what a hash costs, making one, and reading those that others made.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};

use super::stored::{TOO_COSTLY, UNKNOWN};
use crate::{Error, Result, crypto::random};

/// Parameters of argon2id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashParameters {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
}

/// OWASP's and ASVS 5.0's floor for two passes: 16 ms and 19 MiB on a common machine.
impl Default for HashParameters {
    fn default() -> Self {
        Self { memory_kib: 19_456, iterations: 2, parallelism: 1 }
    }
}

impl HashParameters {
    /// The most that a hash may cost, ours or one brought along: about a second. More would be a weapon.
    pub const MOST: Self = Self { memory_kib: 262_144, iterations: 10, parallelism: 16 };
    /// The least memory that any number of passes makes up for, in KiB.
    pub const LEAST_MEMORY_KIB: u32 = 12_288;

    /// The least memory for so many passes, in KiB (ASVS 5.0, appendix C).
    pub const fn least_memory_kib(iterations: u32) -> u32 {
        match iterations {
            0 | 1 => 47_104,
            2 => 19_456,
            _ => Self::LEAST_MEMORY_KIB,
        }
    }

    /// The hash of a password with a fresh salt, in PHC form.
    pub(super) fn hash(self, password: &[u8]) -> Result<String> {
        let broken = |error: String| Error::Internal(format!("hashing a password: {error}"));
        let params = Params::new(self.memory_kib, self.iterations, self.parallelism, None)
            .map_err(|error| broken(error.to_string()))?;
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_with_salt(password, &random::bytes::<16>()?)
            .map(|hash| hash.to_string())
            .map_err(|error| broken(error.to_string()))
    }
}

/// A hash of any variant of argon2 that costs no more than [`HashParameters::MOST`].
pub(super) struct Argon2Hash {
    hash: PasswordHash,
    costs: HashParameters,
}

impl Argon2Hash {
    /// Reads PHC form.
    pub fn parse(text: &str) -> std::result::Result<Self, &'static str> {
        let hash = PasswordHash::new(text).map_err(|_| UNKNOWN)?;
        // A number that is too large for the library is too large here as well.
        let params = Params::try_from(&hash).map_err(|_| TOO_COSTLY)?;
        let costs = HashParameters {
            memory_kib: params.m_cost(),
            iterations: params.t_cost(),
            parallelism: params.p_cost(),
        };
        let most = HashParameters::MOST;
        if hash.salt.is_none() || hash.hash.is_none() {
            return Err(UNKNOWN);
        }
        let bearable = costs.memory_kib <= most.memory_kib
            && costs.iterations <= most.iterations
            && costs.parallelism <= most.parallelism;
        if bearable { Ok(Self { hash, costs }) } else { Err(TOO_COSTLY) }
    }

    /// Whether it is the password's.
    pub fn is_of(&self, password: &[u8]) -> bool {
        Argon2::default().verify_password(password, &self.hash).is_ok()
    }

    /// Whether [`HashParameters::hash`] would make one like it.
    pub fn is_made_with(&self, parameters: HashParameters) -> bool {
        self.costs == parameters
            && self.hash.algorithm.as_str() == "argon2id"
            && self.hash.version == Some(Version::V0x13.into())
    }
}
