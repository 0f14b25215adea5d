//! One's own sessions.

use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use serde::Serialize;
use storage::Session;
use utoipa::ToSchema;
use uuid::Uuid;

use super::lists::List;
use crate::app::App;
use crate::error::Result;
use crate::extract::{Id, PageParameters, Parameters};
use crate::guard::{Caller, Person};

/// A session: one login and all its refreshes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session)]
pub struct SessionView {
    id: Uuid,
    created_at: DateTime<Utc>,
    /// When its tokens were last refreshed.
    refreshed_at: Option<DateTime<Utc>>,
    /// When it ends, however often it is refreshed.
    expires_at: DateTime<Utc>,
    /// What its owner proved with who they are: `password`, `totp`, `recovery_code`.
    authenticated_with: Vec<String>,
    /// The address that logged in.
    address: Option<String>,
    /// What the client called itself.
    user_agent: Option<String>,
}

impl From<Session> for SessionView {
    fn from(session: Session) -> Self {
        Self {
            id: session.id,
            created_at: session.created_at,
            refreshed_at: session.rotated_at,
            expires_at: session.expires_at,
            authenticated_with: session.methods.split_whitespace().map(str::to_owned).collect(),
            address: session.address,
            user_agent: session.user_agent,
        }
    }
}

/// One's own live sessions, newest first.
#[utoipa::path(get, path = "/api/v1/auth/sessions", tag = "auth", params(PageParameters),
    responses((status = 200, body = List<SessionView>)))]
pub async fn list(
    caller: Caller<Person>,
    app: web::Data<App>,
    page: Parameters<PageParameters>,
) -> Result<web::Json<List<SessionView>>> {
    Ok(web::Json(List::of(app.auth.sessions(&caller.principal, &page.0.request()?).await?)))
}

/// End one of one's own sessions.
#[utoipa::path(delete, path = "/api/v1/auth/sessions/{id}", tag = "auth", params(("id" = Uuid, Path)),
    responses((status = 204, description = "Ended"), (status = 404, description = "No live session of yours")))]
pub async fn end(caller: Caller<Person>, app: web::Data<App>, id: Id) -> Result<HttpResponse> {
    app.auth.end_own_session(&caller.principal, id.0, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}
