//! Everyone's usage.

use actix_web::{HttpResponse, web};
use auth::UsageScope;
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use storage::{UsageCursor, UsageFilter};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::app::App;
use crate::error::{ApiError, Result};
use crate::extract::{PageLimit, Parameters, page};
use crate::guard::Caller;
use crate::guard::permission::UsageRead;
use crate::v1::usage::{Days, QuotaStanding, Span, UsageEntry};
use crate::v1::usage_export::{Format, export as write};

/// Which usage to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsageSearch {
    /// First day (UTC); 30 days ago if none is given.
    from: Option<NaiveDate>,
    /// Last day (UTC); today if none is given.
    to: Option<NaiveDate>,
    /// `day` if none is given.
    #[serde(default)]
    #[param(inline)]
    by: Span,
    /// One account's.
    account_id: Option<Uuid>,
    /// One key's.
    api_key_id: Option<Uuid>,
    /// Of one model.
    model: Option<String>,
    /// Most items, 1 to 100; 50 if none is given.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<PageLimit>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Which usage to export, and its format.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsageExport {
    /// First day (UTC); 30 days ago if none is given.
    from: Option<NaiveDate>,
    /// Last day (UTC); today if none is given.
    to: Option<NaiveDate>,
    /// `day` if none is given.
    #[serde(default)]
    #[param(inline)]
    by: Span,
    /// One account's.
    account_id: Option<Uuid>,
    /// One key's.
    api_key_id: Option<Uuid>,
    /// Of one model.
    model: Option<String>,
    /// `json` if none is given.
    #[serde(default)]
    #[param(inline)]
    format: Format,
}

/// A page of usage, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsagePage {
    items: Vec<UsageEntry>,
    /// Send it as `cursor` to get the next part; null at the end.
    next_cursor: Option<String>,
    /// The remaining quotas of the account, if one was given; otherwise empty.
    quotas: Vec<QuotaStanding>,
}

/// Everyone's usage, by day or month, account, model and credential, the oldest first; and what is left of one
/// account's quotas.
#[utoipa::path(get, path = "/api/v1/admin/usage", tag = "admin", params(UsageSearch),
    responses((status = 200, body = UsagePage)))]
pub async fn list(
    _: Caller<UsageRead>,
    app: web::Data<App>,
    search: Parameters<UsageSearch>,
) -> Result<web::Json<UsagePage>> {
    let UsageSearch { from, to, by, account_id, api_key_id, model, limit, cursor } = search.0;
    let (from, to) = Days { from, to }.read(app.auth.now().date_naive())?;
    let after =
        cursor.as_deref().map(|text| UsageCursor::parse(text).ok_or_else(wrong_cursor)).transpose()?;
    let filter =
        UsageFilter { account: account_id, api_key: api_key_id, model, from, to, by_month: by.is_month() };
    let limit = page(limit, None)?.limit();
    let (slices, next) = app.auth.usage(UsageScope::Everyone, &filter, after.as_ref(), limit).await?;
    let quotas = match account_id {
        Some(account) => app.auth.quotas_of_account(account).await?,
        None => Vec::new(),
    };
    Ok(web::Json(UsagePage {
        items: slices.into_iter().map(Into::into).collect(),
        next_cursor: next.map(|cursor| cursor.encode()),
        quotas: quotas.into_iter().map(Into::into).collect(),
    }))
}

/// Everyone's usage, whole, as JSON or CSV, the oldest first.
#[utoipa::path(get, path = "/api/v1/admin/usage/export", tag = "admin", params(UsageExport),
    responses((status = 200, content((Vec<UsageEntry> = "application/json"), (String = "text/csv")))))]
pub async fn export(
    _: Caller<UsageRead>,
    app: web::Data<App>,
    wanted: Parameters<UsageExport>,
) -> Result<HttpResponse> {
    let UsageExport { from, to, by, account_id, api_key_id, model, format } = wanted.0;
    let (from, to) = Days { from, to }.read(app.auth.now().date_naive())?;
    let filter =
        UsageFilter { account: account_id, api_key: api_key_id, model, from, to, by_month: by.is_month() };
    write(&app, UsageScope::Everyone, filter, format).await
}

fn wrong_cursor() -> ApiError {
    ApiError::field("cursor", "use next_cursor of the page before")
}
