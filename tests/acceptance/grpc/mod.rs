//! gRPC: the same callers, limits, codes and words as over HTTP, on a port of its own.

mod access;
mod bounds;
mod calls;
mod compression;
mod limits;
mod stopping;
mod streams;

/// gRPC on a free port.
const ON: (&str, &str) = ("GRPC_PORT", "0");

const SERVICE: &str = "inference.GRPCInferenceService";

/// The full name of a method of the protocol.
fn method(name: &str) -> String {
    format!("{SERVICE}/{name}")
}
