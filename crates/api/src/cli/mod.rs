//! The command line: one command a file.

mod admin;
mod alert;
mod audit;
mod calibrate;
mod check;
mod config;
mod import;
mod incident;
mod ip_rules;
mod keys;
mod limits;
mod maintenance;
mod migrate;
mod model;
mod model_add;
mod model_bench;
mod model_inspect;
mod model_list;
mod model_trial;
mod openapi;
mod serve;

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::{Parser, Subcommand};

use crate::settings::{self, Settings};

/// Serve ONNX models to many users, safely.
#[derive(Debug, Parser)]
#[command(
    name = "modelgate",
    version,
    after_help = "Settings are read from the environment; docs/CONFIG.md lists them."
)]
pub struct Cli {
    /// A TOML file of settings; the environment wins over it.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer requests until stopped.
    Serve,
    /// Bring the database up to date.
    Migrate,
    /// Manage administrators and people.
    #[command(subcommand)]
    Admin(admin::Admin),
    /// Check the settings and the stores, or whether a server answers.
    Check(check::Check),
    /// Show the settings in force, secrets hidden.
    Config(config::Config),
    /// Print the OpenAPI document.
    Openapi,
    /// Manage, inspect and measure models.
    #[command(subcommand)]
    Model(model::Model),
    /// Allow and deny client addresses.
    #[command(subcommand)]
    IpRules(ip_rules::IpRules),
    /// Set rate limits.
    #[command(subcommand)]
    Limits(limits::Limits),
    /// Generate and rotate secrets.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Open, show and close incidents.
    #[command(subcommand)]
    Incident(incident::Incident),
    /// Test the channels of alerts.
    #[command(subcommand)]
    Alert(alert::Alert),
    /// Open and close the service.
    #[command(subcommand)]
    Maintenance(maintenance::Maintenance),
    /// Verify the audit trail and export its seals.
    #[command(subcommand)]
    Audit(audit::Audit),
}

/// Why a command failed, for the person who typed it.
type CommandResult = Result<(), String>;

/// Why something that was printed did not arrive: a password that is shown once must not be lost unnoticed.
static LOST_OUTPUT: OnceLock<String> = OnceLock::new();

impl Cli {
    /// Runs the command; errors go to standard error.
    pub fn run(self) -> ExitCode {
        let lost = || LOST_OUTPUT.get().map_or(Ok(()), |reason| Err(reason.clone()));
        match self.dispatch().and_then(|()| lost()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "modelgate: {error}");
                ExitCode::FAILURE
            }
        }
    }

    fn dispatch(self) -> CommandResult {
        let settings = || settings::load(self.config.as_deref()).map_err(|error| error.to_string());
        match self.command {
            Command::Serve => serve::run(settings()?),
            Command::Migrate => block_on(migrate::run(settings()?)),
            Command::Admin(admin) => block_on(admin.run(settings()?)),
            Command::Check(check) => block_on(check.run(settings)),
            Command::Config(config) => config.run(self.config.as_deref()),
            Command::Openapi => openapi::run(),
            Command::Model(model) => model.run(settings),
            Command::IpRules(rules) => block_on(rules.run(settings()?)),
            Command::Limits(limits) => block_on(limits.run(settings()?)),
            Command::Keys(keys) => block_on(keys.run(settings)),
            Command::Incident(incident) => block_on(incident.run(settings()?)),
            Command::Alert(alert) => block_on(alert.run(settings()?)),
            Command::Maintenance(maintenance) => block_on(maintenance.run(settings()?)),
            Command::Audit(audit) => block_on(audit.run(settings)),
        }
    }
}

/// Runs a command that waits for stores.
fn block_on(command: impl Future<Output = CommandResult>) -> CommandResult {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(command)
}

/// Writes to standard output; a closed pipe is the reader's choice.
fn print(text: &str) {
    if let Err(error) = writeln!(std::io::stdout(), "{text}")
        && error.kind() != ErrorKind::BrokenPipe
    {
        LOST_OUTPUT.get_or_init(|| format!("standard output cannot be written: {}", error.kind()));
    }
}

/// Something that settings are read from, when a command needs them at all.
trait SettingsSource: FnOnce() -> Result<Settings, String> {}
impl<F: FnOnce() -> Result<Settings, String>> SettingsSource for F {}
