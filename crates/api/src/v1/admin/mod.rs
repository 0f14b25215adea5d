//! Administration, each route by its permission.

pub mod alerts;
pub mod api_keys;
pub mod audit;
mod audit_export;
pub mod audit_stream;
pub mod incident_bodies;
pub mod incidents;
pub mod invitations;
pub mod ip_rules;
pub mod legal_holds;
pub mod limits;
pub mod maintenance;
pub mod model_lifecycle;
pub mod model_versions;
pub mod models;
pub mod quotas;
pub mod roles;
pub mod service_accounts;
pub mod service_keys;
pub mod usage;
pub mod users;
