//! How much roles, accounts and keys may use.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use auth::{QuotaPeriod, QuotaRequest, QuotaSubject, QuotaUnit};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use validator::Validate;

use crate::app::App;
use crate::error::{ApiError, Code, Result};
use crate::extract::{Json, PageLimit, Parameters, page};
use crate::guard::Caller;
use crate::guard::permission::LimitsManage;
use crate::schema_names;
use crate::v1::lists::List;

/// The most that a quota can be: numbers up to here are exact in every JSON reader.
const MAX_QUOTA: i64 = 1_000_000_000_000_000;

/// A quota.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Quota)]
pub struct QuotaView {
    /// `role`: each of its accounts without one of its own; `account`; or `key`, besides its account.
    scope: String,
    /// The name of the role, or the id of the account or key.
    subject: String,
    /// Whose it is; null for a role's.
    account_id: Option<Uuid>,
    #[schema(value_type = schema_names::QuotaUnit)]
    unit: String,
    #[schema(value_type = schema_names::QuotaPeriod)]
    period: String,
    /// The most of it.
    limit: i64,
    /// Whether what is beyond is refused; otherwise it is served with `X-Quota-Exceeded`.
    hard: bool,
    updated_at: DateTime<Utc>,
}

impl From<storage::Quota> for QuotaView {
    fn from(quota: storage::Quota) -> Self {
        let storage::Quota { scope, subject, account_id, unit, period, cap, hard, updated_at, .. } = quota;
        Self { scope, subject, account_id, unit, period, limit: cap, hard, updated_at }
    }
}

/// How much of it.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct QuotaLimit {
    /// The most; 0 allows nothing.
    #[validate(range(min = 0, max = MAX_QUOTA, message = "use 0 to 1000000000000000"))]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    limit: i64,
    /// Whether what is beyond is refused; default true.
    #[serde(default = "hard")]
    hard: bool,
}

fn hard() -> bool {
    true
}

/// Which quotas.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct QuotaSearch {
    /// The name of a role, or the id of an account or key; everything if none is given.
    subject: Option<String>,
    /// Most items, 1 to 100; 50 if none is given.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<PageLimit>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Which quota, as the path names it.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "documentation only: the path is read as it stands")]
pub struct QuotaParameters {
    /// `role`, `account` or `key`.
    scope: String,
    /// The name of the role, or the id of the account or key.
    subject: String,
    /// What it counts.
    #[param(value_type = schema_names::QuotaUnit)]
    unit: String,
    /// How long it lasts.
    #[param(value_type = schema_names::QuotaPeriod)]
    period: String,
}

/// Which quota.
pub struct QuotaPath {
    subject: QuotaSubject,
    unit: QuotaUnit,
    period: QuotaPeriod,
}

impl QuotaPath {
    /// Parses the path; an unknown name is 404.
    fn read(request: &HttpRequest) -> Option<Self> {
        let segment = |name| request.match_info().get(name).unwrap_or_default();
        let subject = segment("subject");
        let id = || auth::parse_id(subject);
        let subject = match segment("scope") {
            "role" if !subject.chars().any(char::is_control) => QuotaSubject::Role(subject.to_owned()),
            "account" => QuotaSubject::Account(id()?),
            "key" => QuotaSubject::Key(id()?),
            _ => return None,
        };
        Some(Self { subject, unit: segment("unit").parse().ok()?, period: segment("period").parse().ok()? })
    }
}

impl FromRequest for QuotaPath {
    type Error = ApiError;
    type Future = Ready<Result<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let unknown = "There is no such quota: name a role, account or key, a unit and a period; docs/API.md lists them.";
        ready(Self::read(request).ok_or_else(|| ApiError::new(Code::NotFound, unknown)))
    }
}

/// Quotas, the newest first.
#[utoipa::path(get, path = "/api/v1/admin/quotas", tag = "admin", params(QuotaSearch),
    responses((status = 200, body = List<QuotaView>)))]
pub async fn list(
    _: Caller<LimitsManage>,
    app: web::Data<App>,
    search: Parameters<QuotaSearch>,
) -> Result<web::Json<List<QuotaView>>> {
    let QuotaSearch { subject, limit, cursor } = search.0;
    let quotas = app.auth.quotas(subject.as_deref(), &page(limit, cursor.as_deref())?).await?;
    Ok(web::Json(List::of(quotas)))
}

/// Set a quota; it holds from the next request, and what was used in the period so far counts.
#[utoipa::path(put, path = "/api/v1/admin/quotas/{scope}/{subject}/{unit}/{period}", tag = "admin",
    params(QuotaParameters), request_body = QuotaLimit,
    responses((status = 204, description = "Set"), (status = 404, description = "No such role, account or key")))]
pub async fn set(
    caller: Caller<LimitsManage>,
    app: web::Data<App>,
    path: QuotaPath,
    body: Json<QuotaLimit>,
) -> Result<HttpResponse> {
    let QuotaPath { subject, unit, period } = path;
    let request = QuotaRequest { unit, period, cap: body.0.limit, hard: body.0.hard };
    app.auth.set_quota(&caller.principal, &subject, &request, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Remove a quota.
#[utoipa::path(delete, path = "/api/v1/admin/quotas/{scope}/{subject}/{unit}/{period}", tag = "admin",
    params(QuotaParameters),
    responses((status = 204, description = "Removed"), (status = 404, description = "No such quota")))]
pub async fn remove(
    caller: Caller<LimitsManage>,
    app: web::Data<App>,
    path: QuotaPath,
) -> Result<HttpResponse> {
    let QuotaPath { subject, unit, period } = path;
    app.auth.remove_quota(&caller.principal, &subject, unit, period, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}
