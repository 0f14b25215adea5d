//! `/v2`: the Open Inference Protocol; what gRPC says in its own messages is decided here, too.

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
