//! `/v2`: the Open Inference Protocol.

mod binary;
mod classification;
pub mod config;
pub mod infer;
mod json_data;
pub mod metadata;
mod parameters;
pub mod repository;
mod request;
mod response;
pub mod rest;
pub mod statistics;
