//! Passwords: which may be chosen, and what their hashes cost.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use auth::HashParameters;
use clap::{Args, ValueEnum};

use super::threads;

/// What a password has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PasswordRules {
    /// Upper and lower case letters, digits and special characters.
    Strict,
    /// Hard to guess, whatever it is made of.
    Nist,
}

/// Passwords.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Passwords")]
#[group(skip)]
pub struct PasswordSettings {
    /// What a password of 12 to 128 characters has to be: of every kind of character, or hard to guess. Common ones,
    /// and those with one's name or address in them, are refused by both.
    #[arg(long = "PASSWORD_POLICY", value_enum, default_value = "strict")]
    pub password_policy: PasswordRules,
    /// A file of passwords that nobody may have, one a line, such as those of known breaches; at most 128 MiB.
    #[arg(long = "PASSWORD_BLOCKLIST_FILE")]
    pub password_blocklist_file: Option<PathBuf>,
    /// Memory of a password's hash (argon2id) in KiB: at least 47104 with one pass, 19456 with two, 12288 with more.
    #[arg(long = "ARGON2_MEMORY_KIB", default_value_t = HashParameters::default().memory_kib, value_parser = clap::value_parser!(u32).range(i64::from(HashParameters::LEAST_MEMORY_KIB)..=i64::from(HashParameters::MOST.memory_kib)))]
    pub argon2_memory_kib: u32,
    /// Passes over that memory. `modelgate admin calibrate` measures what suits a machine.
    #[arg(long = "ARGON2_ITERATIONS", default_value_t = HashParameters::default().iterations, value_parser = clap::value_parser!(u32).range(1..=i64::from(HashParameters::MOST.iterations)))]
    pub argon2_iterations: u32,
    /// Lanes of that memory.
    #[arg(long = "ARGON2_PARALLELISM", default_value_t = HashParameters::default().parallelism, value_parser = clap::value_parser!(u32).range(1..=i64::from(HashParameters::MOST.parallelism)))]
    pub argon2_parallelism: u32,
    /// Password hashes computed at a time; unset: one less than the cores, and as many as fit into 512 MiB.
    #[arg(long = "PASSWORD_HASH_THREADS", value_parser = threads)]
    pub password_hash_threads: Option<NonZeroUsize>,
    /// Passwords that may wait to be hashed; one more is answered with 503.
    #[arg(long = "PASSWORD_HASH_QUEUE", default_value_t = 16)]
    pub password_hash_queue: usize,
}

impl PasswordSettings {
    /// What a hash costs.
    pub fn parameters(&self) -> HashParameters {
        HashParameters {
            memory_kib: self.argon2_memory_kib,
            iterations: self.argon2_iterations,
            parallelism: self.argon2_parallelism,
        }
    }
}
