//! `/api/v1`: accounts, keys, models and their administration.

pub mod admin;
pub mod api_keys;
mod attempts;
pub mod auth;
pub mod files;
pub mod identities;
pub mod links;
pub mod lists;
pub mod me;
pub mod models;
pub mod notices;
pub mod personal_data;
pub mod predictions;
pub mod rules;
pub mod second_factors;
pub mod second_step;
pub mod sessions;
pub mod tokens;
pub mod usage;
pub mod usage_export;
pub mod users;
