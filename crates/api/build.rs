//! Generates the gRPC services from `proto/`, without a `protoc` of the machine's.

use std::error::Error;

const PROTO: &str = "../../proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PROTO}");
    let files = protox::compile(["inference.proto", "health.proto"], [PROTO])?;
    tonic_prost_build::configure()
        .build_client(false)
        // Tensors are parts of the message that they came in, not copies.
        .bytes(".inference")
        .codec_path("crate::grpc::codec::BoundedCodec")
        .compile_fds(files)?;
    Ok(())
}
