//! The program itself.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use secrecy::SecretString;

use super::{Network, Origins, host, secret, threads};

/// What kind of installation this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Environment {
    /// One person's machine: documentation on, registration open, missing secrets made.
    Development,
    /// Everything else.
    Production,
}

/// The program itself.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Program")]
#[group(skip)]
pub struct ProgramSettings {
    /// Kind of installation. Production refuses to start with missing or weak secrets.
    #[arg(long = "APP_ENV", value_enum, default_value = "production")]
    pub app_env: Environment,
    /// Address to listen on.
    #[arg(long = "HOST", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on; 0 picks a free one and logs it.
    #[arg(long = "PORT", default_value_t = 8080)]
    pub port: u16,
    /// Port to listen on for gRPC, at HOST; 0 picks a free one and logs it. Unset: no gRPC.
    #[arg(long = "GRPC_PORT")]
    pub grpc_port: Option<u16>,
    /// Directory of everything that this program writes: the embedded database, secrets made in development.
    #[arg(long = "DATA_DIR", default_value = "data")]
    pub data_dir: PathBuf,
    /// Host names that requests may be sent to, without ports, separated by commas, *.example.com for each below one;
    /// unset or *: any.
    #[arg(long = "ALLOWED_HOSTS", value_delimiter = ',', value_parser = host)]
    pub allowed_hosts: Vec<String>,
    /// Origins whose pages may call the API (CORS), separated by commas, such as https://app.example.com; unset: none.
    #[arg(long = "ALLOWED_ORIGINS", default_value = "")]
    pub allowed_origins: Origins,
    /// Addresses or CIDR blocks of the proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.
    #[arg(long = "TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<Network>,
    /// Addresses or CIDR blocks that administration may come from, whatever rules say at run time, separated by commas;
    /// unset: any. Detectors do not block them.
    #[arg(long = "ADMIN_ALLOWED_IPS", value_delimiter = ',')]
    pub admin_allowed_ips: Vec<Network>,
    /// Whether /openapi.json and /docs are served; unset: in development only.
    #[arg(long = "API_DOCS_ENABLED")]
    pub api_docs_enabled: Option<bool>,
    /// Bearer token that may read /metrics, beside callers with system:manage.
    #[arg(long = "METRICS_TOKEN", value_parser = secret)]
    pub metrics_token: Option<SecretString>,
    /// Address that /.well-known/security.txt names for reports, such as mailto:security@example.com.
    #[arg(long = "SECURITY_CONTACT")]
    pub security_contact: Option<String>,
    /// Threads that answer requests; unset: one per core.
    #[arg(long = "WORKERS", value_parser = threads)]
    pub workers: Option<std::num::NonZeroUsize>,
    /// Seconds that a connection's first head may take to arrive.
    #[arg(long = "HEAD_TIMEOUT_SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub head_timeout_seconds: u64,
    /// Seconds that a connection is kept over which nothing comes. Whatever a later head or the reading of an answer
    /// takes, a connection ends this long and HEAD_TIMEOUT_SECONDS after its last answer, or later by a second for
    /// each 16 KiB of it.
    #[arg(long = "KEEP_ALIVE_SECONDS", default_value_t = 75, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub keep_alive_seconds: u64,
    /// Seconds from its arrival after which a request is given up with 504; longer than BODY_TIMEOUT_SECONDS, so that a
    /// slow body is reported as one. What runs a model or changes one, and what receives a file, has bounds of its own;
    /// what an answer streams is not counted.
    #[arg(long = "REQUEST_TIMEOUT_SECONDS", default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub request_timeout_seconds: u64,
    /// Seconds between the signal to stop and closing the door: readiness says 503 meanwhile, so that a load balancer
    /// looks elsewhere first.
    #[arg(long = "DRAIN_SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=3600))]
    pub drain_seconds: u64,
    /// Seconds that running requests get to finish when the server stops.
    #[arg(long = "SHUTDOWN_TIMEOUT_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(..=3600))]
    pub shutdown_timeout_seconds: u64,
    /// What is logged: a level (error, warn, info, debug) or tracing directives such as info,access=off.
    #[arg(long = "LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// A file that holds an offset in seconds by which the clock is moved: tests only, in development on loopback.
    #[arg(long = "TEST_CLOCK")]
    pub test_clock: Option<PathBuf>,
}

impl ProgramSettings {
    /// Whether this is a production installation.
    pub fn is_production(&self) -> bool {
        self.app_env == Environment::Production
    }

    /// How long a connection's first head may take.
    pub fn head_timeout(&self) -> Duration {
        Duration::from_secs(self.head_timeout_seconds)
    }

    /// How long a connection is kept over which nothing comes.
    pub fn keep_alive(&self) -> Duration {
        Duration::from_secs(self.keep_alive_seconds)
    }

    /// How long a request may take.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout_seconds)
    }

    /// Whether the API's documentation is served.
    pub fn serves_docs(&self) -> bool {
        self.api_docs_enabled.unwrap_or(!self.is_production())
    }
}
