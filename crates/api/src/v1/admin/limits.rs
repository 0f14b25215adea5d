//! Rate limits set at run time.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use auth::{Allowance, LimitSubject};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use validator::Validate;

use crate::app::{App, require_reach};
use crate::error::{ApiError, Code, Result};
use crate::extract::Json;
use crate::guard::Caller;
use crate::guard::permission::LimitsManage;
use crate::schema_names::LimitScope;
use crate::v1::lists::List;

/// A limit that was set.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Limit)]
pub struct LimitView {
    #[schema(value_type = LimitScope)]
    scope: String,
    /// The name of the class, role or model, or the id of the account or key.
    subject: String,
    /// Whose it is; null where it is nobody's alone.
    account_id: Option<Uuid>,
    /// Requests a minute; 0: no limit; null: not set.
    per_minute: Option<i64>,
    /// Requests an hour; 0: no limit; null: not set.
    per_hour: Option<i64>,
    updated_at: DateTime<Utc>,
}

impl From<storage::RateLimit> for LimitView {
    fn from(limit: storage::RateLimit) -> Self {
        let storage::RateLimit { scope, subject, account_id, per_minute, per_hour, updated_at } = limit;
        Self { scope, subject, account_id, per_minute, per_hour, updated_at }
    }
}

/// A limit to set; 0 is no limit, and what is missing is not set.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct LimitNumbers {
    /// Requests a minute.
    #[schema(maximum = 1_000_000)]
    per_minute: Option<u32>,
    /// Requests an hour.
    #[schema(maximum = 1_000_000)]
    per_hour: Option<u32>,
}

/// What the limit applies to, as the path names it.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "documentation only: the path is read as it stands")]
pub struct LimitParameters {
    /// Whose it is.
    #[param(value_type = LimitScope)]
    scope: String,
    /// `anonymous`, `login`, `register`, `mail`, `read`, `infer` or `hour`; the name of the role or model; or the id
    /// of the account or key.
    subject: String,
}

/// What the limit applies to; an unknown scope is 404.
pub struct LimitPath(LimitSubject);

impl FromRequest for LimitPath {
    type Error = ApiError;
    type Future = Ready<Result<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let unknown =
            "There is no such limit: name a class, role, account, key or model; docs/API.md lists them.";
        let segment = |name| request.match_info().get(name).unwrap_or_default();
        let named = LimitSubject::named(segment("scope"), segment("subject"));
        ready(named.map(Self).ok_or_else(|| ApiError::new(Code::NotFound, unknown)))
    }
}

/// The limits that were set; everything else is as the settings have it.
#[utoipa::path(get, path = "/api/v1/admin/limits", tag = "admin", responses((status = 200, body = List<LimitView>)))]
pub async fn list(_: Caller<LimitsManage>, app: web::Data<App>) -> Result<web::Json<List<LimitView>>> {
    let items = app.auth.configured_limits().await?.into_iter().map(Into::into).collect();
    Ok(web::Json(List { items, next_cursor: None }))
}

/// Set a limit; it holds here from the next request, and within two seconds on every replica.
#[utoipa::path(put, path = "/api/v1/admin/limits/{scope}/{subject}", tag = "admin", params(LimitParameters),
    request_body = LimitNumbers,
    responses((status = 204, description = "Set"), (status = 404, description = "No such class, role, account, key or model")))]
pub async fn set(
    caller: Caller<LimitsManage>,
    app: web::Data<App>,
    path: LimitPath,
    body: Json<LimitNumbers>,
) -> Result<HttpResponse> {
    if let LimitSubject::Model(name) = &path.0 {
        app.declared_access(&caller.principal, name).await?;
    }
    let LimitNumbers { per_minute, per_hour } = body.0;
    let allowance = Allowance { per_minute, per_hour };
    app.auth.set_limit(Some(&caller.principal), &path.0, allowance, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Remove a limit, so that the next more general one holds again.
#[utoipa::path(delete, path = "/api/v1/admin/limits/{scope}/{subject}", tag = "admin", params(LimitParameters),
    responses((status = 204, description = "Removed"), (status = 404, description = "There is no such limit")))]
pub async fn remove(
    caller: Caller<LimitsManage>,
    app: web::Data<App>,
    path: LimitPath,
) -> Result<HttpResponse> {
    if let LimitSubject::Model(name) = &path.0 {
        require_reach(&caller.principal, name)?;
    }
    app.auth.remove_limit(Some(&caller.principal), &path.0, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}
