//! The settings: typed, documented and checked in one place.
//!
//! Each setting is a field of one of the sections below; its name is the field's in capitals, its doc comment the
//! documentation, its default the default. Layers, weakest first: defaults, a TOML file, `.env`, the environment.

mod alerts;
mod audit;
mod challenge;
mod detection;
mod issuers;
mod layers;
mod limits;
mod mail;
mod models;
mod origins;
mod outages;
mod passwords;
mod program;
pub mod reference;
mod rules;
mod secrets;
mod sizes;
pub mod smtp_url;
mod sources;
mod stores;
mod tokens;

use std::num::NonZeroUsize;

use clap::Parser;

pub use alerts::AlertsSettings;
pub use audit::AuditTrailSettings;
pub use challenge::ChallengeSettings;
pub use detection::DetectionSettings;
pub use issuers::trusted_issuers;
pub use layers::{in_force, load};
pub use limits::LimitSettings;
pub use mail::{MailSettings, PublicUrl, Switch};
pub use models::ModelSettings;
use origins::host;
pub use origins::{Network, Origins};
pub use outages::OutageSettings;
pub use passwords::{PasswordRules, PasswordSettings};
pub use program::ProgramSettings;
pub use rules::{Finding, Severity, excesses, findings};
pub use secrets::{audit_keys, encryption_keys, shared_secret};
pub use sizes::{FilePlace, SizeSettings};
pub use sources::SourceSettings;
pub use stores::{DatabaseTls, StoreSettings};
pub use tokens::{Registration, TokenSettings};

/// All settings.
#[derive(Clone, Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true, args_override_self = true)]
pub struct Settings {
    /// The program itself.
    #[command(flatten)]
    pub program: ProgramSettings,
    /// The database and Redis.
    #[command(flatten)]
    pub stores: StoreSettings,
    /// Which models are served.
    #[command(flatten)]
    pub models: ModelSettings,
    /// Models that come from elsewhere.
    #[command(flatten)]
    pub sources: SourceSettings,
    /// Tokens, keys and accounts.
    #[command(flatten)]
    pub tokens: TokenSettings,
    /// The audit trail.
    #[command(flatten)]
    pub audit: AuditTrailSettings,
    /// Mail, and the addresses in it.
    #[command(flatten)]
    pub mail: MailSettings,
    /// Alerts to operators.
    #[command(flatten)]
    pub alerts: AlertsSettings,
    /// Detection, and automatic answers to incidents.
    #[command(flatten)]
    pub detection: DetectionSettings,
    /// A challenge for people, after failures.
    #[command(flatten)]
    pub challenge: ChallengeSettings,
    /// Which passwords may be chosen, and what their hashes cost.
    #[command(flatten)]
    pub passwords: PasswordSettings,
    /// How large things may be.
    #[command(flatten)]
    pub sizes: SizeSettings,
    /// How often and how much at a time.
    #[command(flatten)]
    pub limits: LimitSettings,
    /// Policies while a store is out of reach.
    #[command(flatten)]
    pub outages: OutageSettings,
}

/// Why the settings cannot be used; the text names the setting and says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(pub String);

/// Of none nothing would work.
fn at_least_one(text: &str) -> Result<usize, String> {
    threads(text).map(NonZeroUsize::get)
}

fn threads(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "a whole number from 1 on".to_owned())
}

/// Reads a secret without ever showing it.
fn secret(text: &str) -> Result<secrecy::SecretString, std::convert::Infallible> {
    Ok(text.into())
}
