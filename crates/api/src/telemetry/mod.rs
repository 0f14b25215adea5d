//! What the server tells of itself: its log, with the access log, and what it counts of every request.
//!
//! The log is one JSON object a line on standard output; for people on a terminal, plain lines.

pub mod access_log;
pub mod series;

use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::Subscriber;

/// Has a command tell warnings and errors to the person who typed it, on standard error.
pub fn tell_warnings() {
    let plain =
        Subscriber::builder().with_max_level(Level::WARN).without_time().with_target(false).with_ansi(false);
    // A second call would change nothing.
    let _ = plain.with_writer(std::io::stderr).try_init();
}

/// What is logged at `level`, a level or directives; the error says what is wrong with it.
pub fn filter(level: &str) -> Result<EnvFilter, String> {
    // A query at `info` for each statement would say little and cost much. Anyone can send bytes that are not HTTP:
    // they leave no line.
    let quiet = "sqlx=warn,ort=warn,actix_http::h1::dispatcher=off";
    EnvFilter::try_new(format!("{quiet},{level}")).map_err(|error| format!("LOG_LEVEL: {error}"))
}

/// Starts logging at `level`.
pub fn start(level: &str) -> Result<(), String> {
    let filter = filter(level)?;
    let log = Subscriber::builder().with_env_filter(filter).with_target(true);
    let started =
        if access_log::is_plain() { log.try_init() } else { log.json().flatten_event(true).try_init() };
    started.map_err(|error| error.to_string())
}
