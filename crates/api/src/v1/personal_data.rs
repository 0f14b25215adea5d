//! All of one's own data, to take along or to have erased.

use std::time::{Duration, Instant};

use actix_web::http::header::ContentType;
use actix_web::{HttpResponse, web};
use auth::Export;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::api_keys::KeyView;
use super::files::FileView;
use super::identities::IdentityView;
use super::notices::NoticeView;
use super::second_factors::SecondFactorState;
use super::sessions::SessionView;
use super::usage::UsageItem;
use super::users::UserView;
use crate::app::App;
use crate::error::{ApiError, Result};
use crate::guard::{Caller, StepUp};
use crate::transport::bodies::SMALL;

/// How long an export may wait to be written.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everything that is kept about a person; of each kind the newest ten thousand at most.
#[derive(Serialize, ToSchema)]
#[schema(as = Export)]
pub struct ExportView {
    profile: UserView,
    /// Sessions, also those that ended in the last thirty days.
    sessions: Vec<SessionView>,
    /// One's identities at other issuers.
    identities: Vec<IdentityView>,
    /// Keys, revoked ones too; never their secrets.
    api_keys: Vec<KeyView>,
    granted_models: Vec<String>,
    second_factor: SecondFactorState,
    usage: Vec<UsageItem>,
    /// What is known of one's files; each is had by its id.
    files: Vec<FileView>,
    notices: Vec<NoticeView>,
    events: Vec<EventView>,
}

/// Something that one did, or that was done to one's account.
#[derive(Serialize, ToSchema)]
#[schema(as = OwnEvent)]
pub struct EventView {
    id: Uuid,
    occurred_at: DateTime<Utc>,
    action: String,
    outcome: String,
    /// Whether one did it oneself.
    own: bool,
    /// What it was done to.
    target: Option<String>,
    request_id: Option<String>,
    /// Where one did it from.
    address: Option<String>,
    /// What else is recorded.
    detail: Value,
}

impl From<Export> for ExportView {
    fn from(export: Export) -> Self {
        let event = |event: storage::AuditEvent| EventView {
            detail: Export::detail(&event),
            id: event.id,
            occurred_at: event.occurred_at,
            action: event.action,
            outcome: event.outcome,
            own: event.actor.is_some(),
            target: event.target,
            request_id: event.request_id,
            address: event.address,
        };
        Self {
            profile: export.person.into(),
            sessions: export.sessions.into_iter().map(Into::into).collect(),
            identities: export.identities.into_iter().map(Into::into).collect(),
            api_keys: export.api_keys.into_iter().map(Into::into).collect(),
            granted_models: export.granted_models,
            second_factor: export.second_factor.into(),
            usage: export.usage.into_iter().map(Into::into).collect(),
            files: export.files.into_iter().map(Into::into).collect(),
            notices: export.notices.into_iter().map(Into::into).collect(),
            events: export.events.into_iter().map(event).collect(),
        }
    }
}

/// Everything that is kept about oneself, five times an hour.
#[utoipa::path(get, path = "/api/v1/me/export", tag = "me", responses((status = 200, body = ExportView)))]
pub async fn export(caller: Caller<StepUp>, app: web::Data<App>) -> Result<HttpResponse> {
    let export = app.auth.export(&caller.principal, &caller.origin).await?;
    // Long ones are not written by the threads that answer everyone.
    let write = move || serde_json::to_vec(&ExportView::from(export)).map_err(ApiError::internal);
    let text = app.bodies.work(SMALL + 1, Instant::now() + PATIENCE, write).await??;
    Ok(HttpResponse::Ok().content_type(ContentType::json()).body(text))
}

/// Erase one's own account with all that belongs to it. Usage and the audit trail keep its id and nothing more.
#[utoipa::path(delete, path = "/api/v1/me", tag = "me",
    responses((status = 204, description = "Erased"), (status = 409, description = "The last active administrator")))]
pub async fn erase(caller: Caller<StepUp>, app: web::Data<App>) -> Result<HttpResponse> {
    app.auth.erase_own(&caller.principal, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}
