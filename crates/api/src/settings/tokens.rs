//! Tokens, keys and accounts.

use std::path::PathBuf;

use auth::{Lifetimes, SigningAlgorithm};
use chrono::Duration;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use secrecy::SecretString;

use super::secret;

/// Whether people may make accounts themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Registration {
    /// They may.
    Open,
    /// Only administrators make accounts.
    Closed,
}

/// Tokens, keys and accounts.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Tokens and accounts")]
#[group(skip)]
pub struct TokenSettings {
    /// How access tokens are signed.
    #[arg(long = "JWT_ALGORITHM", value_parser = algorithm(), default_value = "EdDSA")]
    pub jwt_algorithm: SigningAlgorithm,
    /// What the first HS256 key is made of: at least 32 random bytes (openssl rand -hex 32). Made in development.
    #[arg(long = "JWT_SECRET_KEY", value_parser = secret)]
    pub jwt_secret_key: Option<SecretString>,
    /// `iss` of access tokens.
    #[arg(long = "JWT_ISSUER", default_value = "modelgate")]
    pub jwt_issuer: String,
    /// `aud` of access tokens.
    #[arg(long = "JWT_AUDIENCE", default_value = "modelgate")]
    pub jwt_audience: String,
    /// Seals secrets, addresses and names in the database: 32 random bytes in base64 (openssl rand -base64 32). Made in
    /// development.
    #[arg(long = "ENCRYPTION_KEY", value_parser = secret)]
    pub encryption_key: Option<SecretString>,
    /// Keys that only open what they sealed, separated by commas: what ENCRYPTION_KEY was before, or will be.
    #[arg(long = "ENCRYPTION_KEYS_PREVIOUS", value_parser = secret, value_delimiter = ',')]
    pub encryption_keys_previous: Vec<SecretString>,
    /// Seconds that an access token is good.
    #[arg(long = "JWT_ACCESS_TOKEN_EXPIRES", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub jwt_access_token_expires: u32,
    /// Seconds that a session is good, however often it is refreshed.
    #[arg(long = "JWT_REFRESH_TOKEN_EXPIRES", default_value_t = 2_592_000, value_parser = clap::value_parser!(u32).range(60..=31_536_000))]
    pub jwt_refresh_token_expires: u32,
    /// Seconds that a session, with its access tokens, is good without being refreshed.
    #[arg(long = "SESSION_IDLE_EXPIRES", default_value_t = 1_209_600, value_parser = clap::value_parser!(u32).range(60..=31_536_000))]
    pub session_idle_expires: u32,
    /// Seconds after a login or a step-up in which sensitive acts, such as making an API key, need no new proof.
    #[arg(long = "STEP_UP_MAX_AGE_SECONDS", default_value_t = 900, value_parser = clap::value_parser!(u32).range(60..=86_400))]
    pub step_up_max_age_seconds: u32,
    /// Roles whose people may do nothing but get a second factor until they have one: names, separated by commas.
    #[arg(long = "MFA_REQUIRED_ROLES", value_delimiter = ',', value_parser = name)]
    pub mfa_required_roles: Vec<String>,
    /// What authenticator apps show beside a person's address: up to 40 characters, no colon.
    #[arg(long = "MFA_ISSUER", default_value = "Modelgate", value_parser = issuer)]
    pub mfa_issuer: String,
    /// A TOML file of issuers whose access tokens are accepted besides our own (Keycloak, Entra, Auth0, …), one
    /// [[issuer]] each; docs/OPERATIONS.md shows some.
    #[arg(long = "OIDC_ISSUERS_FILE")]
    pub oidc_issuers_file: Option<PathBuf>,
    /// Whether people may make accounts themselves; unset: open in development.
    #[arg(long = "REGISTRATION", value_enum)]
    pub registration: Option<Registration>,
}

impl TokenSettings {
    /// The lifetimes as `auth` has them.
    pub fn lifetimes(&self) -> Lifetimes {
        let seconds = |count: u32| Duration::seconds(i64::from(count));
        Lifetimes {
            access_token: seconds(self.jwt_access_token_expires),
            session: seconds(self.jwt_refresh_token_expires),
            idle: seconds(self.session_idle_expires),
            proof: seconds(self.step_up_max_age_seconds),
        }
    }
}

fn algorithm() -> impl TypedValueParser<Value = SigningAlgorithm> {
    PossibleValuesParser::new(SigningAlgorithm::ALL.iter().map(|algorithm| algorithm.name()))
        .try_map(SigningAlgorithm::try_from)
}

fn name(text: &str) -> Result<String, String> {
    let name = text.trim();
    if name.is_empty() { Err("name a role".into()) } else { Ok(name.to_owned()) }
}

/// A colon separates issuer and account in what an app reads.
fn issuer(text: &str) -> Result<String, String> {
    let fits = !text.trim().is_empty() && text.chars().count() <= 40 && !text.contains(':');
    if fits { Ok(text.trim().to_owned()) } else { Err("use 1 to 40 characters and no colon".into()) }
}
