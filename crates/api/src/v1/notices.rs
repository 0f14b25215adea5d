//! Notices about one's own account.

use actix_web::web;
use auth::NoticeKind;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::lists::List;
use crate::app::App;
use crate::error::Result;
use crate::extract::{PageParameters, Parameters};
use crate::guard::{Caller, Person};

/// Something that happened to the account.
#[derive(Serialize, ToSchema)]
#[schema(as = Notice)]
pub struct NoticeView {
    id: Uuid,
    /// A stable name for what happened.
    kind: String,
    /// What happened, for people.
    text: &'static str,
    created_at: DateTime<Utc>,
    /// When it was mailed; null: not (yet).
    mailed_at: Option<DateTime<Utc>>,
}

impl From<storage::Notice> for NoticeView {
    fn from(notice: storage::Notice) -> Self {
        let storage::Notice { id, kind, created_at, mailed_at, .. } = notice;
        let text = kind.parse().map_or("", NoticeKind::text);
        Self { id, kind, text, created_at, mailed_at }
    }
}

/// The notices about one's own account, newest first; kept for a year.
#[utoipa::path(get, path = "/api/v1/me/notices", tag = "me", params(PageParameters),
    responses((status = 200, body = List<NoticeView>)))]
pub async fn list(
    caller: Caller<Person>,
    app: web::Data<App>,
    page: Parameters<PageParameters>,
) -> Result<web::Json<List<NoticeView>>> {
    Ok(web::Json(List::of(app.auth.notices(&caller.principal, &page.0.request()?).await?)))
}
