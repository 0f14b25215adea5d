//! Identities at other issuers: listed by their owners, linked and unlinked by administrators.

use actix_web::{HttpResponse, web};
use auth::ExternalIdentity;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;
use validator::Validate;

use crate::app::App;
use crate::error::Result;
use crate::extract::{Id, IdentityId, Json};
use crate::guard::permission::{UsersManage, UsersRead};
use crate::guard::{Caller, Person, StepUp};

/// An identity at another issuer that belongs to an account here.
#[derive(Serialize, ToSchema)]
#[schema(as = Identity)]
pub struct IdentityView {
    id: Uuid,
    /// `iss` of its tokens.
    issuer: String,
    /// `sub` of its tokens.
    subject: String,
    created_at: DateTime<Utc>,
    /// When a token of it came that was newer than all before.
    last_seen_at: Option<DateTime<Utc>>,
}

impl From<ExternalIdentity> for IdentityView {
    fn from(identity: ExternalIdentity) -> Self {
        let ExternalIdentity { id, issuer, subject, created_at, last_seen_at } = identity;
        Self { id, issuer, subject, created_at, last_seen_at }
    }
}

/// All identities of one account; there are ten at most.
#[derive(Serialize, ToSchema)]
pub struct Identities {
    items: Vec<IdentityView>,
}

impl From<Vec<ExternalIdentity>> for Identities {
    fn from(identities: Vec<ExternalIdentity>) -> Self {
        Self { items: identities.into_iter().map(Into::into).collect() }
    }
}

/// The identity to link.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct NewIdentity {
    /// `iss` of its tokens: an issuer of OIDC_ISSUERS_FILE.
    #[validate(length(max = 255, message = "use at most 255 characters"))]
    issuer: String,
    /// `sub` of its tokens.
    #[validate(length(min = 1, max = 255, message = "use 1 to 255 characters"))]
    #[schema(min_length = 1, max_length = 255)]
    subject: String,
}

/// One's own identities at other issuers.
#[utoipa::path(get, path = "/api/v1/me/identities", tag = "me", responses((status = 200, body = Identities)))]
pub async fn own(caller: Caller<Person>, app: web::Data<App>) -> Result<web::Json<Identities>> {
    Ok(web::Json(app.auth.own_identities(&caller.principal).await?.into()))
}

/// A person's identities at other issuers.
#[utoipa::path(get, path = "/api/v1/admin/users/{id}/identities", tag = "admin", params(("id" = Uuid, Path)),
    responses((status = 200, body = Identities), (status = 404, description = "No such account")))]
pub async fn list(_: Caller<UsersRead>, app: web::Data<App>, id: Id) -> Result<web::Json<Identities>> {
    Ok(web::Json(app.auth.identities_of(id.0).await?.into()))
}

/// Link an identity at another issuer to an account: its tokens are this account's from now on. The owner gets a
/// notice.
#[utoipa::path(post, path = "/api/v1/admin/users/{id}/identities", tag = "admin", params(("id" = Uuid, Path)),
    request_body = NewIdentity,
    responses((status = 201, body = IdentityView), (status = 404, description = "No such account"),
              (status = 409, description = "The identity belongs to an account")))]
pub async fn link(
    caller: Caller<StepUp<UsersManage>>,
    app: web::Data<App>,
    id: Id,
    body: Json<NewIdentity>,
) -> Result<HttpResponse> {
    let NewIdentity { issuer, subject } = body.0;
    let linked = app.auth.link_identity(&caller.principal, id.0, &issuer, &subject, &caller.origin).await?;
    Ok(HttpResponse::Created().json(IdentityView::from(linked)))
}

/// Unlink an identity: none of its tokens is this account's any more.
#[utoipa::path(delete, path = "/api/v1/admin/users/{id}/identities/{identity_id}", tag = "admin",
    params(("id" = Uuid, Path), ("identity_id" = Uuid, Path)),
    responses((status = 204, description = "Unlinked"), (status = 404, description = "No such identity of it")))]
pub async fn unlink(
    caller: Caller<StepUp<UsersManage>>,
    app: web::Data<App>,
    id: Id,
    identity: IdentityId,
) -> Result<HttpResponse> {
    app.auth.unlink_identity(&caller.principal, id.0, identity.0, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}
