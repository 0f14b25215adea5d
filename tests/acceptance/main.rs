//! Every promise of the contract, kept by the real program.

#![expect(clippy::panic, reason = "a failed test panics")]

mod harness;

mod api_keys;
mod images;
mod login;
mod logout;
mod main_job;
mod packaging;
mod routes_matrix;
mod refresh;
mod tensors;
mod workspace;
