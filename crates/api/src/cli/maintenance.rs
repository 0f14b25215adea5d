//! `modelgate maintenance`

use auth::{OperatingMode, Operation, OperationChange, Origin};
use clap::{Args, Subcommand};

use super::{CommandResult, print};
use crate::settings::Settings;
use crate::start;
use crate::v1::admin::maintenance::{MAX_RETRY_AFTER, check_message};
use crate::v1::rules;

/// Open and close the service; servers on the same database follow within two seconds.
#[derive(Debug, Subcommand)]
pub enum Maintenance {
    /// Show whether the service is open.
    Status,
    /// Close it to everyone but callers with system:manage.
    On(Notice),
    /// Make readiness 503 everywhere, so that load balancers look elsewhere; requests are answered.
    Drain,
    /// The emergency stop: end every session, refuse every API key; people with system:manage may log in.
    Stop(Notice),
    /// Open it to everyone.
    Off,
}

/// What refused callers get.
#[derive(Args, Debug)]
pub struct Notice {
    /// One line for them, of at most 500 characters.
    #[arg(long, value_parser = message)]
    message: Option<String>,
    /// Their Retry-After, in seconds.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_RETRY_AFTER)))]
    retry_after: Option<u32>,
}

impl Maintenance {
    /// Runs the command.
    pub async fn run(self, settings: Settings) -> CommandResult {
        let auth = start::command(&settings).await?;
        let plain = |mode| OperationChange { mode, message: None, retry_after: None };
        let noted = |mode, Notice { message, retry_after }| OperationChange { mode, message, retry_after };
        let change = match self {
            Self::Status => {
                print_mode(&auth.operation());
                return Ok(());
            }
            Self::On(notice) => noted(OperatingMode::Maintenance, notice),
            Self::Stop(notice) => noted(OperatingMode::EmergencyStop, notice),
            Self::Drain => plain(OperatingMode::Draining),
            Self::Off => plain(OperatingMode::Off),
        };
        let set = auth.set_operation(None, change, &Origin::default()).await;
        print_mode(&set.map_err(|error| storage::with_causes(&error))?);
        Ok(())
    }
}

fn print_mode(operation: &Operation) {
    print(operation.mode.name());
    if let Some(since) = operation.since {
        print(&format!("since {}", since.format("%Y-%m-%d %H:%M:%S UTC")));
    }
    if let Some(message) = &operation.message {
        print(&format!("callers are told: {message}"));
    }
}

fn message(text: &str) -> Result<String, String> {
    check_message(text).map(|()| text.to_owned()).map_err(rules::message)
}
