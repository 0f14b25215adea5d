//! One's own profile.

use actix_web::web;
use serde::Deserialize;
use utoipa::ToSchema;
use validator::Validate;

use super::users::{UserView, check_name};
use crate::app::App;
use crate::error::Result;
use crate::extract::Json;
use crate::guard::{Authenticated, Caller, Person};

/// Changes of one's own profile.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Rename {
    /// 2 to 50 letters and spaces.
    #[validate(custom(function = check_name))]
    #[schema(min_length = 2, max_length = 50)]
    name: String,
}

/// One's own profile.
#[utoipa::path(get, path = "/api/v1/me", tag = "me", responses((status = 200, body = UserView)))]
pub async fn profile(caller: Caller<Authenticated>, app: web::Data<App>) -> Result<web::Json<UserView>> {
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
