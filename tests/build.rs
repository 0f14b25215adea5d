//! Generates the messages of `proto/` for the tests' own gRPC client.

use std::error::Error;

const PROTO: &str = "../proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PROTO}");
    let files = protox::compile(["inference.proto", "health.proto"], [PROTO])?;
    tonic_prost_build::configure().build_client(false).build_server(false).compile_fds(files)?;
    Ok(())
}
