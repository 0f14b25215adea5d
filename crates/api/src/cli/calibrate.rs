//! `modelgate admin calibrate`

use std::time::Duration;

use auth::HashParameters;
use clap::Args;

use super::{CommandResult, print};

/// How long a hash of a password should take.
#[derive(Args, Debug)]
pub struct Calibrate {
    /// Milliseconds that a hash may take; 150 to 300 are felt by nobody who logs in.
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u32).range(10..=2000))]
    target_ms: u32,
}

impl Calibrate {
    /// Runs the command.
    pub fn run(self) -> CommandResult {
        let target = Duration::from_millis(u64::from(self.target_ms));
        let (found, took) = HashParameters::calibrate(target).map_err(|error| error.to_string())?;
        print(&format!(
            "# A hash takes {} ms and {} MiB here. Hashes made so far are renewed as their owners log in.\n\
             ARGON2_MEMORY_KIB={}\nARGON2_ITERATIONS={}\nARGON2_PARALLELISM={}",
            took.as_millis(),
            found.memory_kib >> 10,
            found.memory_kib,
            found.iterations,
            found.parallelism
        ));
        Ok(())
    }
}
