//! What went wrong, and what is done about it.

use std::net::IpAddr;

use actix_web::http::StatusCode;
use actix_web::{Responder, web};
use auth::{AnswerRequest, IncidentChange, IncidentRequest};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use storage::{Incident, IncidentEntry};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use validator::Validate;

use crate::app::App;
use crate::error::Result;
use crate::extract::{EntryId, Id, Json, PageParameters, Parameters, named, page};
use crate::guard::Caller;
use crate::guard::permission::IncidentsManage;
use crate::v1::lists::List;
use crate::v1::rules::{Checked, has_length, is_line, require};

/// Longest note or resolution, in characters.
const MAX_TEXT: usize = 2_000;
/// Longest title, in characters.
const MAX_LINE: usize = 200;
/// The part of an answer's detail that only its own address tells: it is long.
const BUNDLE: &str = "bundle";

/// An incident.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Incident)]
pub struct IncidentView {
    id: Uuid,
    kind: String,
    /// `low`, `medium`, `high` or `critical`.
    severity: String,
    /// `open`, `contained`, `resolved` or `closed`.
    status: String,
    title: String,
    /// Whom or what a detector noticed, such as `address:203.0.113.7`.
    subject: Option<String>,
    /// Who opened it; null: a detector, or the command line.
    opened_by: Option<Uuid>,
    /// How often it was noticed while it was open.
    occurrences: i64,
    opened_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    closed_at: Option<DateTime<Utc>>,
    /// What came out.
    resolution: Option<String>,
}

impl From<Incident> for IncidentView {
    fn from(incident: Incident) -> Self {
        Self {
            id: incident.id,
            kind: incident.kind,
            severity: incident.severity,
            status: incident.status,
            title: incident.title,
            subject: incident.subject,
            opened_by: incident.opened_by,
            occurrences: incident.occurrences,
            opened_at: incident.opened_at,
            updated_at: incident.updated_at,
            closed_at: incident.closed_at,
            resolution: incident.resolution,
        }
    }
}

/// An entry of a timeline.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IncidentEntry)]
pub struct EntryView {
    id: Uuid,
    at: DateTime<Utc>,
    /// `opened`, `changed`, `note`, `event`, `planned`, `answer`, `failed` or `undone`.
    kind: String,
    /// Who made it; null: the program.
    actor: Option<Uuid>,
    /// What it tells.
    detail: Value,
    /// When what it tells of was undone.
    undone_at: Option<DateTime<Utc>>,
}

impl From<IncidentEntry> for EntryView {
    fn from(entry: IncidentEntry) -> Self {
        let IncidentEntry { id, at, kind, actor, mut detail, undone_at, .. } = entry;
        if let Some(members) = detail.as_object_mut() {
            members.remove(BUNDLE);
        }
        Self { id, at, kind, actor, detail, undone_at }
    }
}

/// Which incidents.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// `open`, `contained`, `resolved` or `closed`.
    status: Option<String>,
    /// Of one kind.
    kind: Option<String>,
    /// Most items, 1 to 100; 50 if none is given.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// An incident to open.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct NewIncident {
    /// `failed_logins`, `stolen_token`, `request_flood`, `upload_flood`, `attack_pattern`, `impossible_sequence`,
    /// `slow_requests`, `data_breach`, `system_compromise` or `other`.
    kind: String,
    /// `low`, `medium`, `high` or `critical`; what its kind has as a rule if none is given.
    severity: Option<String>,
    /// What went wrong, in a line of 1 to 200 characters; as its kind says if none is given.
    #[validate(custom(function = check_line))]
    #[schema(min_length = 1, max_length = 200)]
    title: Option<String>,
    /// The accounts that it is about, 100 at most: those that answers are about.
    #[serde(default)]
    #[validate(length(max = 100, message = "name at most 100"))]
    accounts: Vec<Uuid>,
    /// The address that it is about.
    #[schema(value_type = Option<String>)]
    address: Option<IpAddr>,
}

/// What to change about an incident; what is missing stays.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct IncidentChanges {
    /// `low`, `medium`, `high` or `critical`.
    severity: Option<String>,
    /// `open`, `contained`, `resolved` or `closed`; closing needs a resolution, and is for good.
    status: Option<String>,
    /// What came out: 1 to 2000 characters.
    #[validate(custom(function = check_text))]
    #[schema(min_length = 1, max_length = 2000)]
    resolution: Option<String>,
}

/// Something to say.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// 1 to 2000 characters.
    #[validate(custom(function = check_text))]
    #[schema(min_length = 1, max_length = 2000)]
    text: String,
}

/// An event of the audit trail.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct EventLink {
    event_id: Uuid,
}

/// An answer to run.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct NewAnswer {
    /// `disable_accounts` or `end_sessions` (`users:manage`), `block_address` or `maintenance` (`system:manage`), or
    /// `collect_evidence` (`audit:read`).
    answer: String,
    /// To which accounts, 100 at most; none: those that the incident is about.
    #[serde(default)]
    #[validate(length(max = 100, message = "name at most 100"))]
    accounts: Vec<Uuid>,
    /// To which address; none: that of the incident.
    #[schema(value_type = Option<String>)]
    address: Option<IpAddr>,
}

/// Incidents, newest first.
#[utoipa::path(get, path = "/api/v1/admin/incidents", tag = "admin", params(Wanted),
    responses((status = 200, body = List<IncidentView>)))]
pub async fn list(
    _: Caller<IncidentsManage>,
    app: web::Data<App>,
    wanted: Parameters<Wanted>,
) -> Result<web::Json<List<IncidentView>>> {
    let Wanted { status, kind, limit, cursor } = wanted.0;
    let status = status.map(|name| named("status", &name)).transpose()?;
    let kind = kind.map(|name| named("kind", &name)).transpose()?;
    let page = page(limit, cursor.as_deref())?;
    Ok(web::Json(List::of(app.auth.incidents(&page, status, kind).await?)))
}

/// Open an incident. Operators are told at once; the answers that its kind has (`INCIDENT_ANSWERS`) are run within a
/// second, as far as one may give them oneself.
#[utoipa::path(post, path = "/api/v1/admin/incidents", tag = "admin", request_body = NewIncident,
    responses((status = 201, body = IncidentView)))]
pub async fn open(
    caller: Caller<IncidentsManage>,
    app: web::Data<App>,
    body: Json<NewIncident>,
) -> Result<impl Responder> {
    let NewIncident { kind, severity, title, accounts, address } = body.0;
    let kind = named("kind", &kind)?;
    let severity = severity.map(|name| named("severity", &name)).transpose()?;
    let request = IncidentRequest { kind, severity, title, accounts, address };
    let opened = app.auth.open_incident(Some(&caller.principal), request, &caller.origin).await?;
    Ok((web::Json(IncidentView::from(opened)), StatusCode::CREATED))
}

/// One incident.
#[utoipa::path(get, path = "/api/v1/admin/incidents/{id}", tag = "admin", params(("id" = Uuid, Path)),
    responses((status = 200, body = IncidentView), (status = 404, description = "No such incident")))]
pub async fn show(
    _: Caller<IncidentsManage>,
    app: web::Data<App>,
    id: Id,
) -> Result<web::Json<IncidentView>> {
    Ok(web::Json(app.auth.incident(id.0).await?.into()))
}

/// Change an incident that is not closed.
#[utoipa::path(put, path = "/api/v1/admin/incidents/{id}", tag = "admin", params(("id" = Uuid, Path)),
    request_body = IncidentChanges,
    responses((status = 200, body = IncidentView), (status = 404, description = "No such incident"),
              (status = 409, description = "It is closed")))]
pub async fn change(
    caller: Caller<IncidentsManage>,
    app: web::Data<App>,
    id: Id,
    body: Json<IncidentChanges>,
) -> Result<web::Json<IncidentView>> {
    let IncidentChanges { severity, status, resolution } = body.0;
    let severity = severity.map(|name| named("severity", &name)).transpose()?;
    let status = status.map(|name| named("status", &name)).transpose()?;
    let change = IncidentChange { severity, status, resolution };
    let changed = app.auth.change_incident(Some(&caller.principal), id.0, change, &caller.origin).await?;
    Ok(web::Json(changed.into()))
}

/// The timeline of an incident, newest first.
#[utoipa::path(get, path = "/api/v1/admin/incidents/{id}/timeline", tag = "admin",
    params(("id" = Uuid, Path), PageParameters),
    responses((status = 200, body = List<EntryView>), (status = 404, description = "No such incident")))]
pub async fn timeline(
    _: Caller<IncidentsManage>,
    app: web::Data<App>,
    id: Id,
    page: Parameters<PageParameters>,
) -> Result<web::Json<List<EntryView>>> {
    Ok(web::Json(List::of(app.auth.incident_entries(id.0, &page.0.request()?).await?)))
}

/// Say something in the timeline.
#[utoipa::path(post, path = "/api/v1/admin/incidents/{id}/notes", tag = "admin", params(("id" = Uuid, Path)),
    request_body = Note,
    responses((status = 201, body = EntryView), (status = 404, description = "No such incident")))]
pub async fn note(
    caller: Caller<IncidentsManage>,
    app: web::Data<App>,
    id: Id,
    body: Json<Note>,
) -> Result<impl Responder> {
    let entry = app.auth.note_incident(&caller.principal, id.0, &body.0.text, &caller.origin).await?;
    Ok((web::Json(EntryView::from(entry)), StatusCode::CREATED))
}

/// Link an event of the audit trail.
#[utoipa::path(post, path = "/api/v1/admin/incidents/{id}/events", tag = "admin", params(("id" = Uuid, Path)),
    request_body = EventLink,
    responses((status = 201, body = EntryView), (status = 404, description = "No such incident")))]
pub async fn link(
    caller: Caller<IncidentsManage>,
    app: web::Data<App>,
    id: Id,
    body: Json<EventLink>,
) -> Result<impl Responder> {
    let entry = app.auth.link_incident(&caller.principal, id.0, body.0.event_id, &caller.origin).await?;
    Ok((web::Json(EntryView::from(entry)), StatusCode::CREATED))
}

/// Run an answer, now. It needs the permission of what it does, besides; accounts that may do more than oneself are
/// skipped.
#[utoipa::path(post, path = "/api/v1/admin/incidents/{id}/answers", tag = "admin", params(("id" = Uuid, Path)),
    request_body = NewAnswer,
    responses((status = 201, body = EntryView), (status = 404, description = "No such incident"),
              (status = 409, description = "It is closed")))]
pub async fn answer(
    caller: Caller<IncidentsManage>,
    app: web::Data<App>,
    id: Id,
    body: Json<NewAnswer>,
) -> Result<impl Responder> {
    let NewAnswer { answer, accounts, address } = body.0;
    let request = AnswerRequest { answer: named("answer", &answer)?, accounts, address };
    let entry = app.auth.answer_incident(&caller.principal, id.0, request, &caller.origin).await?;
    Ok((web::Json(EntryView::from(entry)), StatusCode::CREATED))
}

/// Undo what an answer did: switch accounts on, open an address, go back to the mode before. What other answers hold,
/// to whichever incidents, stays until they are undone; the entry's `stays` tells what, and why.
#[utoipa::path(delete, path = "/api/v1/admin/incidents/{id}/answers/{entry_id}", tag = "admin",
    params(("id" = Uuid, Path), ("entry_id" = Uuid, Path)),
    responses((status = 200, body = EntryView), (status = 404, description = "No such answer"),
              (status = 409, description = "The incident is closed")))]
pub async fn undo(
    caller: Caller<IncidentsManage>,
    app: web::Data<App>,
    id: Id,
    entry: EntryId,
) -> Result<web::Json<EntryView>> {
    Ok(web::Json(app.auth.undo_answer(&caller.principal, id.0, entry.0, &caller.origin).await?.into()))
}

/// What `collect_evidence` collected; needs `audit:read`, too.
#[utoipa::path(get, path = "/api/v1/admin/incidents/{id}/answers/{entry_id}", tag = "admin",
    params(("id" = Uuid, Path), ("entry_id" = Uuid, Path)),
    responses((status = 200, description = "Events, sessions and counts", body = Value),
              (status = 404, description = "No such evidence")))]
pub async fn evidence(
    caller: Caller<IncidentsManage>,
    app: web::Data<App>,
    id: Id,
    entry: EntryId,
) -> Result<web::Json<Value>> {
    Ok(web::Json(app.auth.incident_evidence(&caller.principal, id.0, entry.0).await?))
}

fn check_text(text: &str) -> Checked {
    let harmless = !text.chars().any(|character| character != '\n' && character.is_control());
    let message = "use 1 to 2000 characters that say something, without control characters but line breaks";
    require(harmless && has_length(text, 1..=MAX_TEXT), "text", message)
}

/// A line, for it becomes the subject of a mail.
fn check_line(text: &str) -> Checked {
    let message = "use 1 to 200 characters that say something, in one line";
    require(is_line(text, 1..=MAX_LINE), "text", message)
}
