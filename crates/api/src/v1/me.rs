//! One's own profile and usage.

use actix_web::web;
use chrono::{Datelike, NaiveDate};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use validator::Validate;

use super::users::{UserView, check_name};
use crate::app::App;
use crate::error::{ApiError, Result};
use crate::extract::{Json, Parameters};
use crate::guard::{Caller, Own, Person};

/// What one may change about oneself.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Rename {
    /// 2 to 50 letters and spaces.
    #[validate(custom(function = check_name))]
    #[schema(min_length = 2, max_length = 50)]
    name: String,
}

/// Which days.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Days {
    /// First day (UTC); 30 days ago if none is given.
    from: Option<NaiveDate>,
    /// Last day (UTC); today if none is given.
    to: Option<NaiveDate>,
}

/// What was used on one day of one model with one credential.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageItem {
    day: NaiveDate,
    model: String,
    version: String,
    /// The API key; null: access tokens.
    api_key_id: Option<Uuid>,
    requests: i64,
    /// Rows or pictures that the model answered.
    inferences: i64,
    images: i64,
    /// Bytes of the requests' bodies.
    bytes: i64,
    /// Time that the model ran, in microseconds.
    compute_microseconds: i64,
    failures: i64,
}

/// Usage by day, model and credential.
#[derive(Debug, Serialize, ToSchema)]
pub struct Usage {
    items: Vec<UsageItem>,
}

impl From<storage::UsageRow> for UsageItem {
    fn from(row: storage::UsageRow) -> Self {
        Self {
            day: row.day,
            model: row.model,
            version: row.version,
            api_key_id: (!row.api_key_id.is_nil()).then_some(row.api_key_id),
            requests: row.requests,
            inferences: row.inferences,
            images: row.images,
            bytes: row.bytes,
            compute_microseconds: row.compute_microseconds,
            failures: row.failures,
        }
    }
}

/// Who one is.
#[utoipa::path(get, path = "/api/v1/me", tag = "me", responses((status = 200, body = UserView)))]
pub async fn profile(caller: Caller<Own>, app: web::Data<App>) -> Result<web::Json<UserView>> {
    Ok(web::Json(app.auth.profile(&caller.principal).await?.into()))
}

/// Change one's own name.
#[utoipa::path(put, path = "/api/v1/me", tag = "me", request_body = Rename, responses((status = 200, body = UserView)))]
pub async fn rename(
    caller: Caller<Person>,
    app: web::Data<App>,
    body: Json<Rename>,
) -> Result<web::Json<UserView>> {
    Ok(web::Json(app.auth.rename(&caller.principal, &body.0.name, &caller.origin).await?.into()))
}

/// What one has used. The last seconds may be missing: usage is written in batches.
#[utoipa::path(get, path = "/api/v1/me/usage", tag = "me", params(Days), responses((status = 200, body = Usage)))]
pub async fn usage(
    caller: Caller<Own>,
    app: web::Data<App>,
    days: Parameters<Days>,
) -> Result<web::Json<Usage>> {
    let to = days.0.to.unwrap_or_else(|| app.auth.now().date_naive());
    let month_before = || to.checked_sub_days(chrono::Days::new(30)).unwrap_or(NaiveDate::MIN);
    let from = days.0.from.unwrap_or_else(month_before);
    // Other years cannot be written in four digits, nor kept by every database.
    if ![from, to].iter().all(|day| (1..=9999).contains(&day.year())) {
        return Err(ApiError::field("from", "use years from 1 to 9999"));
    }
    if from > to || to - from > chrono::Duration::days(366) {
        return Err(ApiError::field("from", "use at most 366 days, the first before the last"));
    }
    let mut tx = app.store.read(storage::Scope::Account(caller.principal.account)).await?;
    let rows = tx.usage().summary(caller.principal.account, from, to).await?;
    Ok(web::Json(Usage { items: rows.into_iter().map(Into::into).collect() }))
}
