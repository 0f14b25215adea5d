//! The crate against the real ONNX Runtime, through its public surface: models written byte by byte, loaded from
//! a temporary repository, and called.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed test may panic")]

mod answers;
mod batching;
mod classify;
mod fixture;
mod infer;
mod lifecycle;
mod onnx_file;
mod repository;
mod speed;
mod worker;
