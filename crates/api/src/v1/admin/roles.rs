//! Custom roles.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, Responder, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use storage::Role;
use utoipa::ToSchema;
use validator::Validate;

use crate::app::App;
use crate::error::Result;
use crate::extract::{Json, Name};
use crate::guard::Caller;
use crate::guard::permission::RolesManage;
use crate::v1::lists::List;
use crate::v1::rules::{Checked, require};

/// Most permissions named at once.
const MAX_PERMISSIONS: u64 = 64;

/// A role.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Role)]
pub struct RoleView {
    name: String,
    /// Names of permissions.
    permissions: Vec<String>,
    /// Whether it is built in; such a role cannot be changed.
    built_in: bool,
    created_at: DateTime<Utc>,
}

impl From<Role> for RoleView {
    fn from(role: Role) -> Self {
        let Role { name, permissions, built_in, created_at } = role;
        Self { name, permissions, built_in, created_at }
    }
}

/// A role to make.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct NewRole {
    /// 1 to 64 of a-z, 0-9, - and _, a letter first.
    #[validate(custom(function = check_role_name))]
    #[schema(pattern = "^[a-z][a-z0-9_-]{0,63}$")]
    name: String,
    /// Names of permissions, a subset of one's own.
    #[validate(length(max = MAX_PERMISSIONS, message = "use at most 64"))]
    permissions: Vec<String>,
}

/// The permissions of a role.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct RolePermissions {
    /// Names of permissions, a subset of one's own.
    #[validate(length(max = MAX_PERMISSIONS, message = "use at most 64"))]
    permissions: Vec<String>,
}

/// Every role, by name.
#[utoipa::path(get, path = "/api/v1/admin/roles", tag = "admin", responses((status = 200, body = List<RoleView>)))]
pub async fn list(_: Caller<RolesManage>, app: web::Data<App>) -> Result<web::Json<List<RoleView>>> {
    let items = app.auth.roles().await?.into_iter().map(Into::into).collect();
    Ok(web::Json(List { items, next_cursor: None }))
}

/// Make a role.
#[utoipa::path(post, path = "/api/v1/admin/roles", tag = "admin", request_body = NewRole,
    responses((status = 201, body = RoleView), (status = 409, description = "There is one of this name")))]
pub async fn create(
    caller: Caller<RolesManage>,
    app: web::Data<App>,
    body: Json<NewRole>,
) -> Result<impl Responder> {
    let NewRole { name, permissions } = body.0;
    let role = app.auth.create_role(&caller.principal, &name, &permissions, &caller.origin).await?;
    Ok((web::Json(RoleView::from(role)), StatusCode::CREATED))
}

/// Change a role's permissions; the change holds from the next request.
#[utoipa::path(put, path = "/api/v1/admin/roles/{name}", tag = "admin", params(("name" = String, Path)),
    request_body = RolePermissions,
    responses((status = 200, body = RoleView), (status = 404, description = "No such role")))]
pub async fn change(
    caller: Caller<RolesManage>,
    app: web::Data<App>,
    name: Name,
    body: Json<RolePermissions>,
) -> Result<web::Json<RoleView>> {
    let role = app.auth.change_role(&caller.principal, &name.0, &body.0.permissions, &caller.origin).await?;
    Ok(web::Json(role.into()))
}

/// Remove a role that no account has, with the grants that it has.
#[utoipa::path(delete, path = "/api/v1/admin/roles/{name}", tag = "admin", params(("name" = String, Path)),
    responses((status = 204, description = "Removed"), (status = 404, description = "No such role"),
              (status = 409, description = "Accounts have it")))]
pub async fn delete(caller: Caller<RolesManage>, app: web::Data<App>, name: Name) -> Result<HttpResponse> {
    app.auth.delete_role(&caller.principal, &name.0, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn check_role_name(name: &str) -> Checked {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    let fits = (1..=64).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(inside);
    require(fits, "name", "use 1 to 64 of a-z, 0-9, - and _, a letter first")
}
