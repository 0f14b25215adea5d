//! The delivery state of alerts to operators.

use actix_web::{HttpResponse, web};
use auth::AlertState;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use storage::AlertRecord;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::app::App;
use crate::error::Result;
use crate::extract::{Id, PageLimit, Parameters, named, page};
use crate::guard::Caller;
use crate::guard::permission::IncidentsManage;
use crate::schema_names::{self, AlertChannel, Severity};
use crate::v1::lists::List;

/// An alert on one channel, without its content and its recipients.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Alert)]
pub struct AlertView {
    /// The same as in the message, however often it is sent.
    id: Uuid,
    #[schema(value_type = AlertChannel)]
    channel: String,
    #[schema(example = "incident")]
    kind: String,
    #[schema(value_type = Severity)]
    severity: String,
    title: String,
    #[schema(value_type = schema_names::AlertState)]
    state: String,
    /// How often it was tried.
    attempts: i64,
    created_at: DateTime<Utc>,
    /// When it is tried next; null: it is not.
    next_attempt_at: Option<DateTime<Utc>>,
    sent_at: Option<DateTime<Utc>>,
    given_up_at: Option<DateTime<Utc>>,
}

impl From<AlertRecord> for AlertView {
    fn from(record: AlertRecord) -> Self {
        let waits = record.state == AlertState::Waiting.name();
        Self {
            id: record.id,
            channel: record.channel,
            kind: record.kind,
            severity: record.severity,
            title: record.title,
            state: record.state,
            attempts: record.attempts,
            created_at: record.created_at,
            next_attempt_at: waits.then_some(record.next_attempt_at),
            sent_at: record.sent_at,
            given_up_at: record.failed_at,
        }
    }
}

/// Which alerts.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AlertSearch {
    /// All if none is given.
    #[param(value_type = Option<schema_names::AlertState>)]
    state: Option<String>,
    /// Most items, 1 to 100; 50 if none is given.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<PageLimit>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The delivery state of alerts, newest first; one for each channel. They are kept for 90 days.
#[utoipa::path(get, path = "/api/v1/admin/alerts", tag = "admin", params(AlertSearch),
    responses((status = 200, body = List<AlertView>)))]
pub async fn list(
    _: Caller<IncidentsManage>,
    app: web::Data<App>,
    wanted: Parameters<AlertSearch>,
) -> Result<web::Json<List<AlertView>>> {
    let AlertSearch { state, limit, cursor } = wanted.0;
    let state = state.map(|state| named::<AlertState>("state", &state)).transpose()?;
    Ok(web::Json(List::of(app.auth.alerts(&page(limit, cursor.as_deref())?, state).await?)))
}

/// Have an alert that was given up sent again, within a second and then as often as any other.
#[utoipa::path(post, path = "/api/v1/admin/alerts/{id}/retry", tag = "admin", params(("id" = Uuid, Path)),
    responses((status = 204, description = "It will be sent"), (status = 404, description = "No such alert"),
              (status = 409, description = "It was not given up")))]
pub async fn retry(caller: Caller<IncidentsManage>, app: web::Data<App>, id: Id) -> Result<HttpResponse> {
    app.auth.retry_alert(&caller.principal, id.0, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}
