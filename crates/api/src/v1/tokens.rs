//! Introspection and revocation of a credential by its holder.

use actix_web::{HttpResponse, web};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;
use validator::Validate;

use crate::app::App;
use crate::error::Result;
use crate::extract::Form;
use crate::guard::{AlwaysOpen, Authenticated, Caller};

/// A credential: an access token, a refresh token or an API key.
///
/// Other members, such as `token_type_hint`, are ignored as the specifications ask: its form shows its kind.
#[derive(Debug, Deserialize, ToSchema, Validate)]
pub struct TokenRequest {
    #[schema(value_type = String)]
    token: SecretString,
}

/// What a credential is good for. Members but `active` are there only where it is true.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Introspection {
    active: bool,
    /// `access_token`, `refresh_token` or `api_key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    /// The account.
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<Uuid>,
    /// Names of permissions, separated by spaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// When it ends, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
}

impl From<auth::CredentialStatus> for Introspection {
    fn from(status: auth::CredentialStatus) -> Self {
        let scope: Vec<&str> = status.permissions.iter().map(|permission| permission.name()).collect();
        Self {
            active: true,
            token_type: Some(status.kind),
            sub: Some(status.account),
            scope: Some(scope.join(" ")),
            exp: status.expires_at.map(|end| end.timestamp()),
        }
    }
}

/// Introspect a credential (RFC 7662).
#[utoipa::path(post, path = "/api/v1/auth/introspect", tag = "auth",
    request_body(content((TokenRequest = "application/x-www-form-urlencoded"), (TokenRequest = "application/json"))),
    responses((status = 200, body = Introspection)))]
pub async fn introspect(
    _: Caller<Authenticated>,
    app: web::Data<App>,
    held: Form<TokenRequest>,
) -> Result<web::Json<Introspection>> {
    let status = app.auth.introspect(&held.0.token).await?;
    Ok(web::Json(status.map(Into::into).unwrap_or_default()))
}

/// Revoke a credential (RFC 7009): a token with its session, a leaked API key for good. Holding it suffices; an invalid
/// credential gets the same answer.
#[utoipa::path(post, path = "/api/v1/auth/revoke", tag = "auth",
    request_body(content((TokenRequest = "application/x-www-form-urlencoded"), (TokenRequest = "application/json"))),
    responses((status = 200, description = "Ended, or was no good")))]
pub async fn revoke(
    visitor: AlwaysOpen,
    app: web::Data<App>,
    held: Form<TokenRequest>,
) -> Result<HttpResponse> {
    app.auth.revoke(&held.0.token, &visitor.origin).await?;
    Ok(HttpResponse::Ok().finish())
}
