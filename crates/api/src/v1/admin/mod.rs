//! What administrators do, each route by its permission.

pub mod users;
