//! The measuring half of `scripts/bench`: each command measures one thing and prints its figures as one line of JSON.
//!
//! Nothing of this is in the product.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

mod authenticate;
mod copies;
mod figures;
mod front;
mod limit;
mod load;
mod pictures;
mod subject;

use clap::Parser;

/// One measurement.
#[derive(Parser)]
#[command(name = "bench")]
enum Command {
    /// Requests over HTTP, one after another on each connection.
    Load(load::Options),
    /// What it costs to know a caller again, without HTTP.
    Authenticate(authenticate::Options),
    /// The runtime in process: what nothing can be faster than.
    Limit(limit::Options),
    /// What copies of tensors around a run cost.
    Copies(copies::Options),
    /// From pictures to tensors, with and without the product's decoding.
    Pictures(pictures::Options),
    /// Servers of the same framework without the product; prints nothing.
    Front(front::Options),
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let figures = match Command::parse() {
        Command::Load(options) => load::measure(options).await?,
        Command::Authenticate(options) => authenticate::measure(options).await?,
        Command::Limit(options) => limit::measure(&options)?,
        Command::Copies(options) => copies::measure(&options)?,
        Command::Pictures(options) => pictures::measure(options).await?,
        Command::Front(options) => return front::serve(options).await,
    };
    println!("{figures}");
    Ok(())
}
