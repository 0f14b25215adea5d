//! Every promise of the contract, kept by the real program.

#![expect(clippy::panic, reason = "a failed test panics")]

mod harness;

mod administration;
mod algorithms;
mod api_keys;
mod attacks;
mod audit_trail;
mod authorization;
mod bad_content;
mod bad_requests;
mod conformance;
mod damage;
mod edge;
mod encryption_rotation;
mod forged_tokens;
mod guessing;
mod holding;
mod images;
mod key_limits;
mod limits;
mod load;
mod login;
mod logout;
mod main_job;
mod meanwhile;
mod metering;
mod mfa_login;
mod mfa_required;
mod models_absent;
mod openapi;
mod outage;
mod packaging;
mod proxies;
mod pruning;
mod raw_requests;
mod refresh;
mod round_trips;
mod routes_matrix;
mod sealed_people;
mod second_factors;
mod service_accounts;
mod settings;
mod shutdown;
mod signing_keys;
mod step_up;
mod tensors;
mod tokens;
mod two_replicas;
mod uploads;
mod workspace;
