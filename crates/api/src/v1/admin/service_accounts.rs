//! Service accounts: the accounts of programs.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, Responder, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use storage::{ServiceAccount, ServiceAccountUpdate};
use utoipa::ToSchema;
use uuid::Uuid;
use validator::Validate;

use crate::app::App;
use crate::error::Result;
use crate::extract::{Id, Json, PageParameters, Parameters};
use crate::guard::Caller;
use crate::guard::permission::{UsersManage, UsersRead};
use crate::v1::api_keys::check_key_name;
use crate::v1::lists::List;

/// A service account.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ServiceAccount)]
pub struct ServiceAccountView {
    id: Uuid,
    name: String,
    /// The name of a role.
    role: String,
    /// Whether its keys may be used.
    active: bool,
    created_at: DateTime<Utc>,
}

impl From<ServiceAccount> for ServiceAccountView {
    fn from(account: ServiceAccount) -> Self {
        let ServiceAccount { id, name, role, active, created_at } = account;
        Self { id, name, role, active, created_at }
    }
}

/// A service account to make.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct NewServiceAccount {
    /// What it is for, 1 to 100 characters.
    #[validate(custom(function = check_key_name))]
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// The name of a role that may do no more than oneself.
    #[validate(length(max = 64, message = "use at most 64 characters"))]
    #[schema(max_length = 64)]
    role: String,
}

/// What to change about a service account; what is missing stays.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ServiceAccountChanges {
    /// What it is for, 1 to 100 characters.
    #[validate(custom(function = check_key_name))]
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// The name of a role that may do no more than oneself.
    #[validate(length(max = 64, message = "use at most 64 characters"))]
    #[schema(max_length = 64)]
    role: Option<String>,
    /// Whether its keys may be used; false refuses them at once.
    active: Option<bool>,
}

/// Service accounts, newest first.
#[utoipa::path(get, path = "/api/v1/admin/service-accounts", tag = "admin", params(PageParameters),
    responses((status = 200, body = List<ServiceAccountView>)))]
pub async fn list(
    _: Caller<UsersRead>,
    app: web::Data<App>,
    page: Parameters<PageParameters>,
) -> Result<web::Json<List<ServiceAccountView>>> {
    Ok(web::Json(List::of(app.auth.service_accounts(&page.0.request()?).await?)))
}

/// Make a service account. It has no password and no session; it acts by its keys.
#[utoipa::path(post, path = "/api/v1/admin/service-accounts", tag = "admin", request_body = NewServiceAccount,
    responses((status = 201, body = ServiceAccountView)))]
pub async fn create(
    caller: Caller<UsersManage>,
    app: web::Data<App>,
    body: Json<NewServiceAccount>,
) -> Result<impl Responder> {
    let NewServiceAccount { name, role } = body.0;
    let account = app.auth.create_service_account(&caller.principal, &name, &role, &caller.origin).await?;
    Ok((web::Json(ServiceAccountView::from(account)), StatusCode::CREATED))
}

/// One service account.
#[utoipa::path(get, path = "/api/v1/admin/service-accounts/{id}", tag = "admin", params(("id" = Uuid, Path)),
    responses((status = 200, body = ServiceAccountView), (status = 404, description = "No such service account")))]
pub async fn show(
    _: Caller<UsersRead>,
    app: web::Data<App>,
    id: Id,
) -> Result<web::Json<ServiceAccountView>> {
    Ok(web::Json(app.auth.service_account(id.0).await?.into()))
}

/// Change a service account; it holds from the next request of its keys.
#[utoipa::path(put, path = "/api/v1/admin/service-accounts/{id}", tag = "admin", params(("id" = Uuid, Path)),
    request_body = ServiceAccountChanges,
    responses((status = 200, body = ServiceAccountView), (status = 404, description = "No such service account")))]
pub async fn change(
    caller: Caller<UsersManage>,
    app: web::Data<App>,
    id: Id,
    body: Json<ServiceAccountChanges>,
) -> Result<web::Json<ServiceAccountView>> {
    let ServiceAccountChanges { name, role, active } = body.0;
    let change = ServiceAccountUpdate { name, role, active };
    let account = app.auth.change_service_account(&caller.principal, id.0, change, &caller.origin).await?;
    Ok(web::Json(account.into()))
}

/// Delete a service account with its keys; usage and the audit trail keep its id.
#[utoipa::path(delete, path = "/api/v1/admin/service-accounts/{id}", tag = "admin", params(("id" = Uuid, Path)),
    responses((status = 204, description = "Deleted"), (status = 404, description = "No such service account")))]
pub async fn delete(caller: Caller<UsersManage>, app: web::Data<App>, id: Id) -> Result<HttpResponse> {
    app.auth.delete_service_account(&caller.principal, id.0, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}
