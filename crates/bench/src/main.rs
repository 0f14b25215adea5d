//! The measuring half of `scripts/bench`: each command measures one thing and prints its figures as one line of JSON.
//!
//! Nothing of this is in the product.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

mod authenticate;
mod figures;
mod load;

use clap::Parser;

/// One measurement.
#[derive(Parser)]
#[command(name = "bench")]
enum Command {
    /// Requests over HTTP, one after another on each connection.
    Load(load::Options),
    /// What it costs to know a caller again, without HTTP.
    Authenticate(authenticate::Options),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let figures = match Command::parse() {
        Command::Load(options) => load::measure(options).await?,
        Command::Authenticate(options) => authenticate::measure(options).await?,
    };
    println!("{figures}");
    Ok(())
}
