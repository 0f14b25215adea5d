//! `/metrics`, for Prometheus.

mod model_gauges;
mod resources;

use std::net::IpAddr;

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use actix_web::{HttpRequest, HttpResponse, web};
use auth::LimitClass;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use secrecy::ExposeSecret;
use storage::{IpPlace, Scope, Service};

use crate::app::App;
use crate::error::{ApiError, Result};
use crate::guard::{self, Anonymous, credential};

/// Upper bounds of the time buckets, in seconds: a tiny model takes microseconds, a large one tenths of a second.
const STAGE_BUCKETS: [f64; 12] = [1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1.0, 5.0];

/// Installs the recorder of this process.
pub fn install() -> std::result::Result<PrometheusHandle, metrics_exporter_prometheus::BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full("inference_stage_seconds".into()), &STAGE_BUCKETS)?
        .install_recorder()
}

/// The metrics of this process, in Prometheus's text format; for METRICS_TOKEN as a bearer token, or a caller with
/// `system:manage`.
#[utoipa::path(get, path = "/metrics", tag = "operations", security(("bearer" = ["system:manage"]), ("api_key" = ["system:manage"])),
    responses((status = 200, description = "Prometheus text format", body = String, content_type = "text/plain"),
              (status = 401, description = "No valid credential"), (status = 403, description = "The caller may not")))]
pub async fn scrape(visitor: Anonymous, app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse> {
    if !has_token(&app, request.headers()) {
        let address =
            visitor.origin.address.ok_or_else(|| ApiError::internal("a request without an address"))?;
        if let Err(error) = enter(&app, address, request.headers()).await {
            return Err(guard::refused(&app, address, error).await);
        }
    }
    let text = format!("{}{}{}", app.metrics.render(), gauges(&app).await, model_gauges::text(&app));
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text))
}

async fn enter(app: &App, address: IpAddr, headers: &HeaderMap) -> Result<()> {
    let credential = credential::read(headers)?;
    app.auth.require_address(address, IpPlace::Admin)?;
    let permission = Some(auth::Permission::SystemManage);
    app.auth
        .admit(&auth::PresentedCredential::Whole(credential), address, permission, LimitClass::Read, None)
        .await?;
    Ok(())
}

fn has_token(app: &App, headers: &HeaderMap) -> bool {
    let expected = app.settings.program.metrics_token.as_ref();
    let sent = headers.get(AUTHORIZATION).and_then(|value| credential::bearer(value.to_str().ok()?).ok());
    match (expected, sent) {
        (Some(expected), Some(sent)) => auth::same_secret(expected.expose_secret(), sent),
        _ => false,
    }
}

/// What one line of the text says.
pub struct Line {
    /// The series, with its labels.
    series: String,
    /// Its type, in Prometheus's word.
    kind: &'static str,
    value: f64,
}

impl Line {
    /// Of a series that only grows.
    pub fn counter(series: impl Into<String>, value: f64) -> Self {
        Self { series: series.into(), kind: "counter", value }
    }

    /// Of a series that rises and falls.
    pub fn gauge(series: impl Into<String>, value: f64) -> Self {
        Self { series: series.into(), kind: "gauge", value }
    }

    /// The name of its series, without the labels.
    pub fn name(&self) -> &str {
        self.series.split('{').next().unwrap_or(&self.series)
    }
}

/// What is counted elsewhere and only read here.
async fn gauges(app: &App) -> String {
    let mut lines = stores(app);
    lines.extend(security(app));
    lines.extend(trail(app).await);
    if let Ok(sessions) = active_sessions(app).await {
        lines.push(Line::gauge("active_sessions", sessions as f64));
    }
    lines.extend(resources::gauges(app));
    render(&lines)
}

fn stores(app: &App) -> Vec<Line> {
    let queries = app.store.queries();
    vec![
        Line::counter("storage_queries_total", queries.request as f64),
        Line::counter("storage_background_queries_total", queries.background as f64),
        Line::counter("ephemeral_round_trips_total", app.ephemeral.round_trips() as f64),
    ]
}

fn security(app: &App) -> Vec<Line> {
    let events = app.auth.security_events();
    let logins = [("success", "LOGIN_SUCCESS"), ("failure", "LOGIN_FAILURE")].map(|(status, event)| {
        let count = events.iter().find(|(name, _)| *name == event).map_or(0, |(_, count)| *count);
        Line::counter(format!("login_attempts_total{{status=\"{status}\"}}"), count as f64)
    });
    let counted = events.iter().map(|(event, count)| {
        Line::counter(format!("security_events_total{{event_type=\"{event}\"}}"), *count as f64)
    });
    logins.into_iter().chain(counted).collect()
}

async fn trail(app: &App) -> Vec<Line> {
    let Ok(standing) = app.auth.trail().standing().await else { return Vec::new() };
    let waiting = standing.waiting_since.map(|since| (app.auth.now() - since).num_milliseconds().max(0));
    let sealed = standing.last_seal.map_or(0, |seal| seal.seq);
    vec![
        Line::gauge("audit_lag_seconds", waiting.unwrap_or(0) as f64 / 1000.0),
        Line::gauge("audit_last_link", standing.last_link as f64),
        Line::gauge("audit_last_sealed_link", sealed as f64),
    ]
}

/// Lines in the text format; those of one name stand together.
pub fn render(lines: &[Line]) -> String {
    let mut text = String::new();
    let mut last = "";
    for line in lines {
        let (Line { series, kind, value }, name) = (line, line.name());
        if name != last {
            text.push_str(&format!("# TYPE {name} {kind}\n"));
            last = name;
        }
        text.push_str(&format!("{series} {value}\n"));
    }
    text
}

async fn active_sessions(app: &App) -> storage::Result<i64> {
    let mut tx = app.store.read(Scope::Service(Service::Metering)).await?;
    tx.sessions().active_count().await
}
