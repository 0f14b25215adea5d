//! `/v2`: the Open Inference Protocol. Its rules for tensors and parameters serve gRPC as well.

mod at_most;
pub mod binary;
mod classification;
pub mod config;
mod described;
pub mod infer;
mod json_data;
pub mod metadata;
mod object;
pub mod parameters;
pub mod repository;
pub mod request;
mod response;
pub mod rest;
pub mod statistics;
