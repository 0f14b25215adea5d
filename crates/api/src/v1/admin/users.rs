//! People's accounts, for those who administer them.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use crate::app::App;
use crate::error::{ApiError, Result};
use crate::extract::{Id, Json, PageLimit, Parameters, page};
use crate::guard::permission::{UsersManage, UsersRead};
use crate::guard::{Caller, StepUp};
use crate::v1::api_keys::{KeyLimits, check_limits, present};
use crate::v1::lists::List;
use crate::v1::users::{UserView, check_name};

/// Longest text to search for, in characters. Databases have bounds of their own for patterns.
const MAX_SEARCH: usize = 200;

/// Which accounts.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UserSearch {
    /// Part of an address or a name, at most 200 characters. A whole address finds that account alone.
    #[param(max_length = 200)]
    search: Option<String>,
    /// Most items, 1 to 100; 50 if none is given.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<PageLimit>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// What to change about an account; what is missing stays.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct UserChanges {
    /// The name of a role.
    #[validate(length(max = 64, message = "use at most 64 characters"))]
    role: Option<String>,
    /// Whether the account may be used; false ends its sessions and refuses its keys at once.
    active: Option<bool>,
    /// 2 to 50 letters and spaces.
    #[validate(custom(function = check_name))]
    #[schema(min_length = 2, max_length = 50)]
    name: Option<String>,
    /// Its rate limits in place of its role's or everyone's; null removes them. It needs `limits:manage`, too.
    #[validate(custom(function = check_limits))]
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<KeyLimits>)]
    limits: Option<Option<KeyLimits>>,
}

/// People's accounts, newest first. A page of a search may be shorter than its limit and still not be the last:
/// `next_cursor` is null on the last.
#[utoipa::path(get, path = "/api/v1/admin/users", tag = "admin", params(UserSearch),
    responses((status = 200, body = List<UserView>)))]
pub async fn list(
    _: Caller<UsersRead>,
    app: web::Data<App>,
    search: Parameters<UserSearch>,
) -> Result<web::Json<List<UserView>>> {
    let UserSearch { search, limit, cursor } = search.0;
    if search.as_ref().is_some_and(|search| search.chars().count() > MAX_SEARCH) {
        return Err(ApiError::field("search", format!("use at most {MAX_SEARCH} characters")));
    }
    Ok(web::Json(List::of(app.auth.users(search.as_deref(), &page(limit, cursor.as_deref())?).await?)))
}

/// One account.
#[utoipa::path(get, path = "/api/v1/admin/users/{id}", tag = "admin", params(("id" = Uuid, Path)),
    responses((status = 200, body = UserView), (status = 404, description = "No such account")))]
pub async fn show(_: Caller<UsersRead>, app: web::Data<App>, id: Id) -> Result<web::Json<UserView>> {
    Ok(web::Json(app.auth.user(id.0).await?.into()))
}

/// Change an account; it holds from the next request.
#[utoipa::path(put, path = "/api/v1/admin/users/{id}", tag = "admin", params(("id" = Uuid, Path)),
    request_body = UserChanges,
    responses((status = 200, body = UserView), (status = 404, description = "No such account"),
              (status = 409, description = "The last active administrator")))]
pub async fn change(
    caller: Caller<UsersManage>,
    app: web::Data<App>,
    id: Id,
    body: Json<UserChanges>,
) -> Result<web::Json<UserView>> {
    let UserChanges { role, active, name, limits } = body.0;
    let limits = limits.map(|limits| limits.map(Into::into));
    let change = auth::UserChange { role, active, name, limits };
    Ok(web::Json(app.auth.change_user(&caller.principal, id.0, change, &caller.origin).await?.into()))
}

/// Delete an account with all that is its own; usage and the audit trail keep its id.
#[utoipa::path(delete, path = "/api/v1/admin/users/{id}", tag = "admin", params(("id" = Uuid, Path)),
    responses((status = 204, description = "Deleted"), (status = 404, description = "No such account"),
              (status = 409, description = "The last active administrator")))]
pub async fn delete(caller: Caller<UsersManage>, app: web::Data<App>, id: Id) -> Result<HttpResponse> {
    app.auth.delete_user(&caller.principal, id.0, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// End every session of an account.
#[utoipa::path(delete, path = "/api/v1/admin/users/{id}/sessions", tag = "admin", params(("id" = Uuid, Path)),
    responses((status = 204, description = "Ended"), (status = 404, description = "No such account")))]
pub async fn end_sessions(caller: Caller<UsersManage>, app: web::Data<App>, id: Id) -> Result<HttpResponse> {
    app.auth.end_sessions_of(&caller.principal, id.0, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Let an account be logged in to at once, however often a wrong password was tried.
#[utoipa::path(post, path = "/api/v1/admin/users/{id}/unlock", tag = "admin", params(("id" = Uuid, Path)),
    responses((status = 204, description = "Unlocked"), (status = 404, description = "No such account")))]
pub async fn unlock(caller: Caller<UsersManage>, app: web::Data<App>, id: Id) -> Result<HttpResponse> {
    app.auth.unlock_user(&caller.principal, id.0, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Remove the second factor of a person who lost it. Their sessions end, and they need a new one before anything else.
/// Make sure first that it is them: until then their password alone logs in.
#[utoipa::path(delete, path = "/api/v1/admin/users/{id}/mfa", tag = "admin", params(("id" = Uuid, Path)),
    responses((status = 204, description = "Taken"), (status = 404, description = "No such account")))]
pub async fn reset_second_factors(
    caller: Caller<StepUp<UsersManage>>,
    app: web::Data<App>,
    id: Id,
) -> Result<HttpResponse> {
    app.auth.reset_second_factors(&caller.principal, id.0, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}
