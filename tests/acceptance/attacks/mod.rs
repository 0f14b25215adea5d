//! What attackers try, by the numbers of tests/conformance/attacks.toml: each attempt gets its refusal, leaves its
//! trace and changes nothing.

mod authorization;
mod injection;
mod login;
mod numbers;
mod operations;
mod outages;
mod refresh;
mod revocation;
mod transport;
