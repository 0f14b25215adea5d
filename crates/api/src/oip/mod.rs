//! `/v2`: the Open Inference Protocol.

mod json;
mod json_data;
pub mod metadata;
pub mod rest;
