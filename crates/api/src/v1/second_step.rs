//! The second step of a login, and step-up.

use actix_web::web;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::auth::Tokens;
use crate::app::App;
use crate::error::Result;
use crate::extract::Json;
use crate::guard::{AlwaysOpen, Caller, Person};

/// A login that waits for a code.
#[derive(Serialize, ToSchema)]
pub struct Challenge {
    /// Always true.
    mfa_required: bool,
    /// For `POST /api/v1/auth/mfa`; good for one login and five tries.
    mfa_token: String,
    /// Seconds until it ends.
    expires_in: i64,
}

impl From<auth::Challenge> for Challenge {
    fn from(challenge: auth::Challenge) -> Self {
        Self {
            mfa_required: true,
            mfa_token: challenge.token.expose_secret().to_owned(),
            expires_in: challenge.expires_in,
        }
    }
}

/// The answer to a right password: a session or, with a second factor, a request for a code.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum LoginAnswer {
    /// A session.
    Tokens(Tokens),
    /// A request for a code.
    Challenge(Challenge),
}

impl From<auth::LoginStep> for LoginAnswer {
    fn from(step: auth::LoginStep) -> Self {
        match step {
            auth::LoginStep::Opened(pair) => Self::Tokens(pair.into()),
            auth::LoginStep::SecondFactor(challenge) => Self::Challenge(challenge.into()),
        }
    }
}

/// The second step of a login.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct SecondStep {
    /// From the answer of the login.
    #[schema(value_type = String)]
    mfa_token: SecretString,
    /// Six digits of the authenticator, or a recovery code.
    #[schema(value_type = String, example = "287082")]
    code: SecretString,
}

/// Proof of who one is.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct StepUp {
    #[schema(value_type = String, format = Password)]
    password: SecretString,
    /// Where there is a second factor: six digits of the authenticator, or a recovery code.
    #[schema(value_type = Option<String>, example = "287082")]
    code: Option<SecretString>,
}

/// A fresh access token, for sensitive acts.
#[derive(Serialize, ToSchema)]
pub struct FreshToken {
    /// For `Authorization: Bearer`. It belongs to the same session.
    access_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// Seconds until it ends.
    expires_in: i64,
}

impl From<auth::FreshToken> for FreshToken {
    fn from(token: auth::FreshToken) -> Self {
        Self {
            access_token: token.access_token.expose_secret().to_owned(),
            token_type: "Bearer",
            expires_in: token.expires_in,
        }
    }
}

/// Finish a login with a code.
#[utoipa::path(post, path = "/api/v1/auth/mfa", tag = "auth", request_body = SecondStep,
    responses((status = 200, body = Tokens), (status = 401, description = "The code or the login is no good")))]
pub async fn finish(
    visitor: AlwaysOpen,
    app: web::Data<App>,
    body: Json<SecondStep>,
) -> Result<web::Json<Tokens>> {
    let SecondStep { mfa_token, code } = body.0;
    Ok(web::Json(app.auth.finish_login(&mfa_token, &code, &visitor.origin).await?.into()))
}

/// Prove again who one is, for a fresh token. The one that was sent stays as it is.
#[utoipa::path(post, path = "/api/v1/auth/step-up", tag = "auth", request_body = StepUp,
    responses((status = 200, body = FreshToken), (status = 401, description = "Wrong password or code")))]
pub async fn step_up(
    caller: Caller<Person>,
    app: web::Data<App>,
    body: Json<StepUp>,
) -> Result<web::Json<FreshToken>> {
    let StepUp { password, code } = body.0;
    Ok(web::Json(app.auth.step_up(&caller.principal, password, code.as_ref(), &caller.origin).await?.into()))
}
