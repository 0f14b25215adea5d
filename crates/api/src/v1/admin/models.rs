//! Who may use which model.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use storage::GrantSubject;
use utoipa::ToSchema;
use uuid::Uuid;
use validator::Validate;

use crate::app::App;
use crate::error::{ApiError, Result};
use crate::extract::{Id, Json, Name, RoleName, named};
use crate::guard::Caller;
use crate::guard::permission::ModelsManage;
use crate::schema_names::ModelAccess;

/// The access to set.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct AccessChange {
    /// null: what its model.toml says.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(value_type = Option<ModelAccess>, required)]
    access: Option<String>,
}

/// An account or a role: one of the two.
#[derive(Debug, Deserialize, Serialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Grantee {
    /// An account's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Uuid>,
    /// A role's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[validate(length(min = 1, max = 64, message = "use 1 to 64 characters"))]
    #[schema(min_length = 1, max_length = 64)]
    role: Option<String>,
}

/// Who may use a model.
#[derive(Debug, Serialize, ToSchema)]
pub struct PolicyView {
    #[schema(value_type = ModelAccess)]
    access: &'static str,
    /// Whether an administrator set that, whatever its model.toml says.
    overridden: bool,
    grants: Vec<Grantee>,
}

impl From<GrantSubject> for Grantee {
    fn from(subject: GrantSubject) -> Self {
        match subject {
            GrantSubject::Account(id) => Self { account: Some(id), role: None },
            GrantSubject::Role(name) => Self { account: None, role: Some(name) },
        }
    }
}

impl Grantee {
    fn subject(self) -> Result<GrantSubject> {
        match (self.account, self.role) {
            (Some(id), None) => Ok(GrantSubject::Account(id)),
            (None, Some(name)) => Ok(GrantSubject::Role(name)),
            _ => Err(ApiError::field("account", "name either an account or a role")),
        }
    }
}

/// Who may use a model.
#[utoipa::path(get, path = "/api/v1/admin/models/{name}/access", tag = "admin", params(("name" = String, Path)),
    responses((status = 200, body = PolicyView), (status = 404, description = "No such model")))]
pub async fn policy(
    caller: Caller<ModelsManage>,
    app: web::Data<App>,
    name: Name,
) -> Result<web::Json<PolicyView>> {
    let declared = app.declared_access(&caller.principal, &name.0).await?;
    let policy = app.auth.model_policy(&name.0, declared).await?;
    let grants = policy.grants.into_iter().map(Into::into).collect();
    Ok(web::Json(PolicyView { access: policy.access.name(), overridden: policy.overridden, grants }))
}

/// Set whether a model is everyone's, whatever its model.toml says, or take that back.
#[utoipa::path(put, path = "/api/v1/admin/models/{name}/access", tag = "admin", params(("name" = String, Path)),
    request_body = AccessChange,
    responses((status = 204, description = "Set"), (status = 404, description = "No such model")))]
pub async fn set_access(
    caller: Caller<ModelsManage>,
    app: web::Data<App>,
    name: Name,
    body: Json<AccessChange>,
) -> Result<HttpResponse> {
    app.declared_access(&caller.principal, &name.0).await?;
    let access = body.0.access.as_deref().map(|access| named("access", access)).transpose()?;
    app.auth.set_model_access(&caller.principal, &name.0, access, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Grant a model to an account or a role.
#[utoipa::path(put, path = "/api/v1/admin/models/{name}/grants", tag = "admin", params(("name" = String, Path)),
    request_body = Grantee,
    responses((status = 204, description = "Granted"), (status = 404, description = "No such model")))]
pub async fn grant(
    caller: Caller<ModelsManage>,
    app: web::Data<App>,
    name: Name,
    body: Json<Grantee>,
) -> Result<HttpResponse> {
    app.declared_access(&caller.principal, &name.0).await?;
    app.auth.grant_model(&caller.principal, &name.0, &body.0.subject()?, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Remove an account's grant.
#[utoipa::path(delete, path = "/api/v1/admin/models/{name}/grants/accounts/{id}", tag = "admin",
    params(("name" = String, Path), ("id" = Uuid, Path)),
    responses((status = 204, description = "Removed"), (status = 404, description = "No such model or grant")))]
pub async fn revoke_from_account(
    caller: Caller<ModelsManage>,
    app: web::Data<App>,
    name: Name,
    id: Id,
) -> Result<HttpResponse> {
    take_back(&app, &caller, &name.0, &GrantSubject::Account(id.0)).await
}

/// Remove a role's grant.
#[utoipa::path(delete, path = "/api/v1/admin/models/{name}/grants/roles/{role}", tag = "admin",
    params(("name" = String, Path), ("role" = String, Path)),
    responses((status = 204, description = "Removed"), (status = 404, description = "No such model or grant")))]
pub async fn revoke_from_role(
    caller: Caller<ModelsManage>,
    app: web::Data<App>,
    name: Name,
    role: RoleName,
) -> Result<HttpResponse> {
    take_back(&app, &caller, &name.0, &GrantSubject::Role(role.0)).await
}

async fn take_back(
    app: &App,
    caller: &Caller<ModelsManage>,
    model: &str,
    subject: &GrantSubject,
) -> Result<HttpResponse> {
    app.declared_access(&caller.principal, model).await?;
    app.auth.revoke_grant(&caller.principal, model, subject, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}
