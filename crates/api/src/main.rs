//! Modelgate serves ONNX models to authenticated users, from one binary.

mod allocation;
mod app;
mod background;
mod cli;
mod detection;
mod error;
mod extract;
mod files;
mod grpc;
mod guard;
mod health;
mod lifecycle;
mod metering;
mod metrics;
mod middleware;
mod model_acts;
mod model_sources;
mod oip;
mod openapi;
mod outgoing;
mod qr;
mod request_context;
mod routes;
mod run;
mod schema_names;
mod seals;
mod server;
mod settings;
mod start;
mod telemetry;
mod transport;
mod v1;
mod well_known;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    switch_off_telemetry();
    allocation::bound_what_is_kept();
    cli::Cli::parse().run()
}

/// ONNX Runtime makes itself a device id and a database in the home directory when its library is loaded, before any
/// of its functions can be called; this variable is the only switch that it heeds by then.
#[expect(
    unsafe_code,
    clippy::disallowed_methods,
    reason = "nothing else runs yet that could read the environment"
)]
fn switch_off_telemetry() {
    // SAFETY: this is the first act of `main`; no other thread exists.
    unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
}
