//! Modelgate: ONNX models behind a door with a lock.

mod app;
mod background;
mod cli;
mod documentation;
mod error;
mod extract;
mod guard;
mod health;
mod metering;
mod metrics;
mod middleware;
mod oip;
mod openapi;
mod routes;
mod server;
mod settings;
mod start;
mod telemetry;
mod v1;
mod well_known;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    cli::Cli::parse().run()
}
