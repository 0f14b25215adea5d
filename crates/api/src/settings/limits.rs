//! How often and how much at a time; 0 switches a limit off.

use auth::Limits;
use clap::Args;

/// How often and how much at a time; 0 switches a limit off.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
#[group(skip)]
pub struct LimitSettings {
    /// Requests without a credential, per address and minute; refused credentials count too.
    #[arg(long = "RATE_LIMIT_PER_MINUTE", default_value_t = 30)]
    pub rate_limit_per_minute: u32,
    /// Inferences per account and minute.
    #[arg(long = "RATE_LIMIT_INFER_PER_MINUTE", default_value_t = 60)]
    pub rate_limit_infer_per_minute: u32,
    /// Other calls per account and minute.
    #[arg(long = "RATE_LIMIT_READ_PER_MINUTE", default_value_t = 100)]
    pub rate_limit_read_per_minute: u32,
    /// Everything per account and hour.
    #[arg(long = "RATE_LIMIT_PER_HOUR", default_value_t = 1000)]
    pub rate_limit_per_hour: u32,
    /// Login attempts per minute: per address, per account name and network, and per account; where only the last is used
    /// up, the right password still gets in from networks that the account knows.
    #[arg(long = "RATE_LIMIT_LOGIN_PER_MINUTE", default_value_t = 5)]
    pub rate_limit_login_per_minute: u32,
    /// Registrations per address and minute.
    #[arg(long = "RATE_LIMIT_REGISTER_PER_MINUTE", default_value_t = 3)]
    pub rate_limit_register_per_minute: u32,
    /// Mails requested per hour: per network address or account that requests them, and per recipient for each purpose
    /// (registration, forgotten password, change of address).
    #[arg(long = "RATE_LIMIT_MAIL_PER_HOUR", default_value_t = 5)]
    pub rate_limit_mail_per_hour: u32,
    /// Requests per second and address, counted in this process before anything else is done.
    #[arg(long = "GUARD_PER_SECOND", default_value_t = 200, value_parser = clap::value_parser!(u32).range(..=1_000_000_000))]
    pub guard_per_second: u32,
    /// Requests of one account running at a time in this process. Over gRPC a stream is one, and each of its calls
    /// another.
    #[arg(long = "MAX_IN_FLIGHT_PER_CALLER", default_value_t = 64)]
    pub max_in_flight_per_caller: u32,
    /// Connections over gRPC open at a time in this process; one more waits.
    #[arg(long = "GRPC_MAX_CONNECTIONS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub grpc_max_connections: u32,
    /// Calls running at a time on one connection over gRPC; one more waits.
    #[arg(long = "GRPC_MAX_CALLS_PER_CONNECTION", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub grpc_max_calls_per_connection: u32,
    /// Live sessions of one account; one more ends the oldest.
    #[arg(long = "MAX_SESSIONS_PER_ACCOUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub max_sessions_per_account: u32,
    /// Seconds that a signed request is good, and that its signer's clock may be ahead.
    #[arg(long = "SIGNATURE_MAX_AGE_SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..=3600))]
    pub signature_max_age_seconds: u32,
    /// Rules about addresses that administrators make, and as many blocks that detectors make; one more is refused.
    #[arg(long = "MAX_IP_RULES", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_ip_rules: u32,
    /// Live API keys of one account; one more is refused with 409.
    #[arg(long = "MAX_API_KEYS_PER_ACCOUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_api_keys_per_account: u32,
    /// Days that usage is kept, 62 or more, since quotas of a month begin with the month's usage; 0: for ever.
    #[arg(long = "USAGE_RETENTION_DAYS", default_value_t = 0, value_parser = days_of_usage)]
    pub usage_retention_days: u32,
}

impl LimitSettings {
    /// The limits of requests as `auth` has them.
    pub fn windows(&self) -> Limits {
        Limits {
            anonymous_per_minute: self.rate_limit_per_minute,
            infer_per_minute: self.rate_limit_infer_per_minute,
            read_per_minute: self.rate_limit_read_per_minute,
            per_hour: self.rate_limit_per_hour,
            login_per_minute: self.rate_limit_login_per_minute,
            register_per_minute: self.rate_limit_register_per_minute,
            mail_per_hour: self.rate_limit_mail_per_hour,
        }
    }

    /// How long usage is kept; none: for ever.
    pub fn usage_kept_for(&self) -> Option<chrono::Duration> {
        (self.usage_retention_days > 0).then(|| chrono::Duration::days(i64::from(self.usage_retention_days)))
    }
}

fn days_of_usage(text: &str) -> Result<u32, String> {
    let days = text.parse().ok().filter(|days| *days == 0 || (62..=36_500).contains(days));
    days.ok_or_else(|| "use 0, or 62 to 36500".into())
}
