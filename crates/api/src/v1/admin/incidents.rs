//! Incidents and the answers to them.

use actix_web::http::StatusCode;
use actix_web::{Responder, web};
use serde_json::Value;

use super::incident_bodies::{
    EntryView, EventLink, IncidentChanges, IncidentSearch, IncidentView, NewAnswer, NewIncident, Note,
};
use crate::app::App;
use crate::error::Result;
use crate::extract::{EntryId, Id, Json, PageParameters, Parameters};
use crate::guard::Caller;
use crate::guard::permission::IncidentsManage;
use crate::v1::lists::List;

/// Incidents, newest first.
#[utoipa::path(get, path = "/api/v1/admin/incidents", tag = "admin", params(IncidentSearch),
    responses((status = 200, body = List<IncidentView>)))]
pub async fn list(
    _: Caller<IncidentsManage>,
    app: web::Data<App>,
    search: Parameters<IncidentSearch>,
) -> Result<web::Json<List<IncidentView>>> {
    let (page, status, kind) = search.0.read()?;
    Ok(web::Json(List::of(app.auth.incidents(&page, status, kind).await?)))
}

/// Open an incident. Operators are alerted at once; the automatic answers of its kind (`INCIDENT_ANSWERS`) are run
/// within a second, as far as the caller has their permissions.
#[utoipa::path(post, path = "/api/v1/admin/incidents", tag = "admin", request_body = NewIncident,
    responses((status = 201, body = IncidentView)))]
pub async fn open(
    caller: Caller<IncidentsManage>,
    app: web::Data<App>,
    body: Json<NewIncident>,
) -> Result<impl Responder> {
    let request = body.0.try_into()?;
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
    let change = body.0.try_into()?;
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

/// Add a note to the timeline.
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
    let request = body.0.try_into()?;
    let entry = app.auth.answer_incident(&caller.principal, id.0, request, &caller.origin).await?;
    Ok((web::Json(EntryView::from(entry)), StatusCode::CREATED))
}

/// Undo what an answer did: switch accounts on, open an address, go back to the mode before. What other answers hold,
/// of any incident, stays until they are undone; the entry's `stays` lists what, and why.
#[utoipa::path(delete, path = "/api/v1/admin/incidents/{id}/answers/{entry_id}", tag = "admin",
    params(("id" = Uuid, Path), ("entry_id" = Uuid, Path)),
    responses((status = 200, body = EntryView), (status = 404, description = "No such answer"),
              (status = 409, description = "The incident is closed, or there is nothing to undo")))]
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
    Ok(web::Json(app.auth.incident_evidence(&caller.principal, id.0, entry.0, &caller.origin).await?))
}
