//! Whether the server lives and takes requests; public and exempt from every limit.

use actix_web::{HttpResponse, web};
use auth::OperatingMode;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::guard::Anonymous;
use crate::schema_names;

/// The paths of health probes.
pub const PATHS: [&str; 5] =
    ["/health", "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"];

/// How the server is.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// All is well.
    Ok,
    /// It works on without what `degraded` names.
    Degraded,
    /// No requests may be sent here.
    Unavailable,
}

/// How the server is, and what it lacks.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    status: HealthStatus,
    /// Whether every model that was found can be used, and there is at least one.
    model_loaded: bool,
    /// Now.
    timestamp: DateTime<Utc>,
    /// The program's version.
    version: &'static str,
    /// What is missing while the server works on: `redis`, `database`, `models`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    degraded: Vec<&'static str>,
    /// The operating mode, unless the service is open to everyone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema_names::OperatingMode>)]
    mode: Option<&'static str>,
}

impl Health {
    fn of(app: &App) -> Self {
        let degraded = app.degraded();
        let status = match (app.is_ready(), degraded.is_empty()) {
            (true, true) => HealthStatus::Ok,
            (true, false) => HealthStatus::Degraded,
            (false, _) => HealthStatus::Unavailable,
        };
        Self { status, degraded, mode: app.mode().map(OperatingMode::name), ..Self::of_process(app) }
    }

    /// The answer of a live process.
    fn of_process(app: &App) -> Self {
        Self {
            status: HealthStatus::Ok,
            model_loaded: app.models_loaded(),
            timestamp: app.auth.now(),
            version: env!("CARGO_PKG_VERSION"),
            degraded: Vec::new(),
            mode: None,
        }
    }
}

/// Everything about the server's health in one answer; always 200.
#[utoipa::path(get, path = "/health", tag = "health", responses((status = 200, body = Health)))]
pub async fn summary(_: Anonymous, app: web::Data<App>) -> web::Json<Health> {
    web::Json(Health::of(&app))
}

/// The process answers.
#[utoipa::path(get, path = "/health/live", tag = "health", responses((status = 200, body = Health)))]
pub async fn live(_: Anonymous, app: web::Data<App>) -> web::Json<Health> {
    web::Json(Health::of_process(&app))
}

/// Requests may be sent here: 503 only while draining, while a required model is missing, or when neither store has
/// been reached for 30 s.
#[utoipa::path(get, path = "/health/ready", tag = "health",
    responses((status = 200, body = Health), (status = 503, body = Health, description = "Not ready")))]
pub async fn ready(_: Anonymous, app: web::Data<App>) -> HttpResponse {
    let health = Health::of(&app);
    match health.status {
        HealthStatus::Unavailable => HttpResponse::ServiceUnavailable().json(health),
        _ => HttpResponse::Ok().json(health),
    }
}
