//! The audit trail, for callers with `audit:read`. Reading it is itself recorded.

use actix_web::http::header::{CONTENT_DISPOSITION, HeaderMap};
use actix_web::{HttpRequest, HttpResponse, web};
use auth::AuditReading;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use storage::{AuditEvent, AuditFilter};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::audit_export::{Export, Format};
use super::audit_stream::Listener;
use crate::app::App;
use crate::error::{ApiError, Result};
use crate::extract::{Id, Moment, PageLimit, Parameters, WholeNumber, page};
use crate::guard::Caller;
use crate::guard::permission::AuditRead;
use crate::transport::connections::LONGEST_STREAM_SECONDS;
use crate::v1::lists::List;

/// Which events.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditSearch {
    /// What was done, such as LOGIN_FAILURE or api_key.created.
    action: Option<String>,
    /// The account that did it.
    actor: Option<Uuid>,
    /// What it was done to, such as account:<id>.
    target: Option<String>,
    /// How it ended: success or failure.
    outcome: Option<String>,
    /// The request it was done in.
    request_id: Option<String>,
    /// From this moment on (RFC 3339).
    #[param(value_type = Option<DateTime<Utc>>)]
    from: Option<Moment>,
    /// Before this moment.
    #[param(value_type = Option<DateTime<Utc>>)]
    to: Option<Moment>,
    /// Most items of a page, 1 to 100; 50 if none is given.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<PageLimit>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Which events of an export.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditExport {
    /// `jsonl`, an object a line, or `csv`.
    #[serde(default)]
    #[param(inline)]
    format: Format,
    /// What was done.
    action: Option<String>,
    /// The account that did it.
    actor: Option<Uuid>,
    /// What it was done to.
    target: Option<String>,
    /// How it ended: success or failure.
    outcome: Option<String>,
    /// The request it was done in.
    request_id: Option<String>,
    /// From this moment on (RFC 3339).
    #[param(value_type = Option<DateTime<Utc>>)]
    from: Option<Moment>,
    /// Before this moment; now, if none is given.
    #[param(value_type = Option<DateTime<Utc>>)]
    to: Option<Moment>,
}

/// Which events of a stream.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditListening {
    /// What was done.
    action: Option<String>,
    /// The account that did it.
    actor: Option<Uuid>,
    /// Seconds after which the stream ends; none: with the caller's permission, after a day at the latest.
    #[param(value_type = Option<u32>, maximum = 86400)]
    seconds: Option<WholeNumber<0, LONGEST_STREAM_SECONDS>>,
}

/// An event.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditEventView {
    /// The number of its link; null in the moment before it has one.
    pub seq: Option<i64>,
    /// Its id.
    pub id: Uuid,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// What was done.
    pub action: String,
    /// success or failure.
    pub outcome: String,
    /// The account that did it; null: nobody known.
    pub actor: Option<Uuid>,
    /// What it was done to.
    pub target: Option<String>,
    /// The request it was done in.
    pub request_id: Option<String>,
    /// Where it was done from; null also once it was erased.
    pub address: Option<String>,
    /// What else is recorded.
    pub detail: Value,
}

impl From<AuditEvent> for AuditEventView {
    fn from(event: AuditEvent) -> Self {
        Self {
            detail: auth::Export::detail(&event),
            seq: event.seq,
            id: event.id,
            at: event.occurred_at,
            action: event.action,
            outcome: event.outcome,
            actor: event.actor,
            target: event.target,
            request_id: event.request_id,
            address: event.address,
        }
    }
}

/// The progress of the chain.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditChainView {
    /// The number of the last link; 0 before the first.
    last_link: i64,
    /// Since when an event waits for its link; null: none does.
    waiting_since: Option<DateTime<Utc>>,
    /// The number of the last link with a seal.
    last_sealed_link: Option<i64>,
    /// When that seal was made.
    sealed_at: Option<DateTime<Utc>>,
}

/// Events of the audit trail, newest first.
#[utoipa::path(get, path = "/api/v1/admin/audit", tag = "admin", params(AuditSearch),
    responses((status = 200, body = List<AuditEventView>)))]
pub async fn list(
    caller: Caller<AuditRead>,
    app: web::Data<App>,
    search: Parameters<AuditSearch>,
) -> Result<web::Json<List<AuditEventView>>> {
    let AuditSearch { action, actor, target, outcome, request_id, from, to, limit, cursor } = search.0;
    let page = page(limit, cursor.as_deref())?;
    let (from, to) = (from.map(Moment::get), to.map(Moment::get));
    let filter = AuditFilter { action, actor, target, outcome, request_id, from, to };
    app.auth.record_audit_reading(&caller.principal, AuditReading::Page, &filter, &caller.origin).await?;
    Ok(web::Json(List::of(app.auth.audit_page(&filter, &page).await?)))
}

/// One event of the audit trail.
#[utoipa::path(get, path = "/api/v1/admin/audit/{id}", tag = "admin", params(("id" = Uuid, Path)),
    responses((status = 200, body = AuditEventView), (status = 404, description = "No such event")))]
pub async fn show(
    caller: Caller<AuditRead>,
    app: web::Data<App>,
    id: Id,
) -> Result<web::Json<AuditEventView>> {
    Ok(web::Json(app.auth.audit_event(&caller.principal, id.0, &caller.origin).await?.into()))
}

/// The progress of the chain over the audit trail.
#[utoipa::path(get, path = "/api/v1/admin/audit/chain", tag = "admin",
    responses((status = 200, body = AuditChainView)))]
pub async fn chain(_: Caller<AuditRead>, app: web::Data<App>) -> Result<web::Json<AuditChainView>> {
    let standing = app.auth.audit_standing().await?;
    let seal = standing.last_seal;
    Ok(web::Json(AuditChainView {
        last_link: standing.last_link,
        waiting_since: standing.waiting_since,
        last_sealed_link: seal.as_ref().map(|seal| seal.seq),
        sealed_at: seal.map(|seal| seal.sealed_at),
    }))
}

/// Events of the audit trail as a file, oldest first. It breaks off when the caller's permission ends, or on a fault.
#[utoipa::path(get, path = "/api/v1/admin/audit/export", tag = "admin", params(AuditExport),
    responses((status = 200, description = "A file", content((String = "application/jsonl"), (String = "text/csv")))))]
pub async fn export(
    caller: Caller<AuditRead>,
    app: web::Data<App>,
    search: Parameters<AuditExport>,
    request: HttpRequest,
) -> Result<HttpResponse> {
    let AuditExport { format, action, actor, target, outcome, request_id, from, to } = search.0;
    let now = app.auth.now();
    let (from, to) = (from.map(Moment::get), Some(to.map_or(now, |to| to.get().min(now))));
    let filter = AuditFilter { action, actor, target, outcome, request_id, from, to };
    let listener = listener(&app, &caller, &request, AuditReading::Export, filter).await?;
    let name = format!("attachment; filename=\"audit.{}\"", format.name());
    Ok(HttpResponse::Ok()
        .content_type(format.content_type())
        .insert_header((CONTENT_DISPOSITION, name))
        .streaming(Export::new(listener, format).pages()))
}

/// Events of the audit trail as they get their links (server-sent events); `id` is the number of the link. With
/// `Last-Event-ID` it goes on behind that one. It ends when the caller's permission does.
#[utoipa::path(get, path = "/api/v1/admin/audit/stream", tag = "admin",
    params(AuditListening, ("Last-Event-ID" = Option<i64>, Header, description = "The `id` of the last event that came")),
    responses((status = 200, description = "Events", content_type = "text/event-stream", body = String)))]
pub async fn stream(
    caller: Caller<AuditRead>,
    app: web::Data<App>,
    listening: Parameters<AuditListening>,
    request: HttpRequest,
) -> Result<HttpResponse> {
    let AuditListening { action, actor, seconds } = listening.0;
    let after = match last_event(request.headers())? {
        Some(seq) => seq,
        None => app.auth.audit_standing().await?.last_link,
    };
    let filter = AuditFilter { action, actor, ..AuditFilter::default() };
    let listener = listener(&app, &caller, &request, AuditReading::Stream, filter).await?;
    let seconds = seconds.map_or(LONGEST_STREAM_SECONDS, WholeNumber::get);
    Ok(HttpResponse::Ok().content_type("text/event-stream").streaming(listener.events(after, seconds)))
}

async fn listener(
    app: &web::Data<App>,
    caller: &Caller<AuditRead>,
    request: &HttpRequest,
    how: AuditReading,
    filter: AuditFilter,
) -> Result<Listener> {
    let listener = Listener::new(app, caller, request.headers().clone(), filter)?;
    app.auth.record_audit_reading(&caller.principal, how, &listener.filter, &caller.origin).await?;
    Ok(listener)
}

/// The number behind which to go on.
fn last_event(headers: &HeaderMap) -> Result<Option<i64>> {
    let Some(sent) = headers.get("Last-Event-ID") else { return Ok(None) };
    let number = sent.to_str().ok().and_then(|text| text.parse().ok()).filter(|number: &i64| *number >= 0);
    number
        .map(Some)
        .ok_or_else(|| ApiError::field("Last-Event-ID", "send the id of the last event that came"))
}
