//! What administrators do, each route by its permission.

pub mod models;
pub mod roles;
pub mod users;
