//! One suite for both durable engines and both ephemeral ones: whatever is promised of one holds for the other.
//! Time moves by a clock, not by sleeping.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed test may panic")]

mod accounts;
mod alerts;
mod api_keys;
mod audit;
mod changes;
mod database_roles;
mod ephemeral;
mod ephemeral_outage;
mod ephemeral_twins;
mod files;
mod guessing;
mod identities;
mod incidents;
mod ip_rules;
mod models;
mod notices;
mod one_time;
mod outbox;
mod quotas;
mod row_security;
mod sealed;
mod second_factors;
mod service_accounts;
mod sessions;
mod settings;
mod signing_keys;
mod sqlite_file;
mod store;
mod tables;
mod usage;
mod users;
mod world;
