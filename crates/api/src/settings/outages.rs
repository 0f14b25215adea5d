//! Policies while a store is out of reach.

use std::time::Duration;

use auth::OutagePolicy;
use clap::{ArgAction, Args};

/// Policies while a store is out of reach.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Outages")]
#[group(skip)]
pub struct OutageSettings {
    /// Replicas that share the limits. While Redis is out of reach each counts by itself and allows its share.
    #[arg(long = "EXPECTED_REPLICAS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub expected_replicas: u32,
    /// Seconds after which a replica that reached neither store refuses whatever may change something.
    #[arg(long = "ISOLATION_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(3..=3600))]
    pub isolation_seconds: u64,
    /// Whether such a replica still runs models for callers that it knows, which it does for a minute.
    #[arg(long = "INFER_WHILE_ISOLATED", default_value_t = true, action = ArgAction::Set)]
    pub infer_while_isolated: bool,
}

impl OutageSettings {
    /// The policies as `auth` has them.
    pub fn policy(&self) -> OutagePolicy {
        OutagePolicy {
            replicas: self.expected_replicas,
            isolation: Duration::from_secs(self.isolation_seconds),
            infer_while_isolated: self.infer_while_isolated,
        }
    }
}
