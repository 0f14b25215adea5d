//! Whether the server lives and takes requests; public and exempt from every limit.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::guard::Visitor;

/// The paths that probes ask.
pub const PATHS: [&str; 5] =
    ["/health", "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"];

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`, `degraded` or `unavailable`.
    status: &'static str,
    /// Whether every model that was found can be used, and there is at least one.
    model_loaded: bool,
    /// Now.
    timestamp: DateTime<Utc>,
    /// The program's version.
    version: &'static str,
    /// What is missing while the server works on: `redis`, `database`, `models`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    degraded: Vec<&'static str>,
}

/// Everything about the server's health in one answer; always 200.
#[utoipa::path(get, path = "/health", tag = "health", responses((status = 200, body = Health)))]
pub async fn summary(_: Visitor, app: web::Data<App>) -> web::Json<Health> {
    let degraded = app.degraded();
    let status = if !app.is_ready() {
        "unavailable"
    } else if degraded.is_empty() {
        "ok"
    } else {
        "degraded"
    };
    web::Json(health(&app, status, degraded))
}

/// The process answers.
#[utoipa::path(get, path = "/health/live", tag = "health", responses((status = 200, body = Health)))]
pub async fn live(_: Visitor, app: web::Data<App>) -> web::Json<Health> {
    web::Json(health(&app, "ok", Vec::new()))
}

/// Requests may be sent here: 503 only while draining, while a required model is missing, or when neither store has
/// been reached for 30 s.
#[utoipa::path(get, path = "/health/ready", tag = "health",
    responses((status = 200, body = Health), (status = 503, body = Health, description = "Not ready")))]
pub async fn ready(_: Visitor, app: web::Data<App>) -> HttpResponse {
    let degraded = app.degraded();
    let (code, status) = match (app.is_ready(), degraded.is_empty()) {
        (true, true) => (StatusCode::OK, "ok"),
        (true, false) => (StatusCode::OK, "degraded"),
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    HttpResponse::build(code).json(health(&app, status, degraded))
}

fn health(app: &App, status: &'static str, degraded: Vec<&'static str>) -> Health {
    Health {
        status,
        model_loaded: app.models_loaded(),
        timestamp: app.auth.now(),
        version: env!("CARGO_PKG_VERSION"),
        degraded,
    }
}
