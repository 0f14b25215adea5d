//! The audit trail.

use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;

use super::secret;

/// The audit trail.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Audit trail")]
#[group(skip)]
pub struct AuditTrailSettings {
    /// Vouches for the audit trail: 32 random bytes in base64 (openssl rand -base64 32), the same on every replica
    /// and in no backup of the database. Made in development.
    #[arg(long = "AUDIT_KEY", value_parser = secret)]
    pub audit_key: Option<SecretString>,
    /// Earlier values of AUDIT_KEY, separated by commas, which only verify.
    #[arg(long = "AUDIT_KEYS_PREVIOUS", value_parser = secret, value_delimiter = ',')]
    pub audit_keys_previous: Vec<SecretString>,
    /// Events after which the end of the chain is sealed at the latest.
    #[arg(long = "AUDIT_SEAL_EVENTS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub audit_seal_events: u32,
    /// Seconds after which an event has a seal at the latest.
    #[arg(long = "AUDIT_SEAL_SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub audit_seal_seconds: u32,
    /// A file to which each seal is added as a line of JSON, to be kept where the database is not.
    #[arg(long = "AUDIT_SEAL_FILE")]
    pub audit_seal_file: Option<PathBuf>,
    /// Days that the audit trail is kept; 0: for ever. What is older goes by whole sealed segments, once an hour.
    #[arg(long = "AUDIT_RETENTION_DAYS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=36_500))]
    pub audit_retention_days: u32,
    /// Live streams and exports of the audit trail at a time, on each replica; one more is refused with 503.
    #[arg(long = "AUDIT_READERS", default_value_t = 16, value_parser = readers)]
    pub audit_readers: usize,
}

impl AuditTrailSettings {
    /// How long the trail is kept; none: for ever.
    pub fn kept_for(&self) -> Option<chrono::Duration> {
        (self.audit_retention_days > 0).then(|| chrono::Duration::days(i64::from(self.audit_retention_days)))
    }
}

fn readers(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count <= 1000).ok_or_else(|| "use 0 to 1000".into())
}
