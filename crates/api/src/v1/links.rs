//! One-time links: password reset, invitation, change of address.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, Responder, web};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::attempts::after_challenge;
use super::auth::require_open_registration;
use super::users::{UserView, check_email, check_name};
use crate::app::App;
use crate::error::Result;
use crate::extract::Json;
use crate::guard::{Anonymous, Caller, StepUp};
use crate::outgoing::challenge::{Attempt, Counts, MAX_TOKEN};

/// An address to mail to.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// An e-mail address of at most 120 characters.
    #[validate(custom(function = check_email))]
    #[schema(example = "ada@example.com", max_length = 120)]
    email: String,
}

/// An account whose password was forgotten.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ForgotPassword {
    /// An e-mail address of at most 120 characters.
    #[validate(custom(function = check_email))]
    #[schema(example = "ada@example.com", max_length = 120)]
    email: String,
    /// The token of a solved challenge, where one is required (`challenge_required`).
    #[validate(length(min = 1, max = MAX_TOKEN, message = "use what the challenge gave, at most 4096 characters"))]
    #[schema(min_length = 1, max_length = 4096)]
    challenge_token: Option<String>,
}

/// A new password, by link.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ResetPassword {
    /// What the link ends in.
    #[schema(value_type = String)]
    token: SecretString,
    /// 12 to 128 characters; by default with an upper and a lower case letter, a digit and a special character
    /// (PASSWORD_POLICY); not the present one.
    #[schema(value_type = String, min_length = 12, max_length = 128, format = Password)]
    new_password: SecretString,
}

/// The first password, by link.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct AcceptInvitation {
    /// What the link ends in.
    #[schema(value_type = String)]
    token: SecretString,
    /// 2 to 50 letters and spaces; needed where the invitation says none.
    #[validate(custom(function = check_name))]
    #[schema(min_length = 2, max_length = 50)]
    name: Option<String>,
    /// 12 to 128 characters; by default with an upper and a lower case letter, a digit and a special character
    /// (PASSWORD_POLICY).
    #[schema(value_type = String, min_length = 12, max_length = 128, format = Password)]
    password: SecretString,
}

/// The token of a confirmation link.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ConfirmEmail {
    /// What the link ends in.
    #[schema(value_type = String)]
    token: SecretString,
}

/// The answer where a mail may follow: the same, whether or not one does.
#[derive(Serialize, ToSchema)]
pub struct Posted {
    /// For people.
    detail: &'static str,
}

impl Posted {
    /// The answer.
    pub fn answer() -> HttpResponse {
        HttpResponse::Accepted().json(Self { detail: "If there is something to send, a mail is on its way." })
    }
}

/// Request a password reset link. The answer is the same for every address.
#[utoipa::path(post, path = "/api/v1/auth/password/forgot", tag = "auth", request_body = ForgotPassword,
    responses((status = 202, body = Posted), (status = 403, description = "A challenge is due")))]
pub async fn forgot_password(
    visitor: Anonymous,
    app: web::Data<App>,
    body: Json<ForgotPassword>,
) -> Result<HttpResponse> {
    let ForgotPassword { email, challenge_token } = body.0;
    let (token, origin) = (challenge_token.as_deref(), &visitor.origin);
    let attempt = Attempt { email: &email.clone(), token, origin, counts: Counts::Attempts };
    after_challenge(&app, attempt, app.auth.forgot_password(email)).await?;
    Ok(Posted::answer())
}

/// Choose a new password by link, once, within an hour; every session ends.
#[utoipa::path(post, path = "/api/v1/auth/password/reset", tag = "auth", request_body = ResetPassword,
    responses((status = 204, description = "Changed")))]
pub async fn reset_password(
    visitor: Anonymous,
    app: web::Data<App>,
    body: Json<ResetPassword>,
) -> Result<HttpResponse> {
    let ResetPassword { token, new_password } = body.0;
    app.auth.reset_password(&token, new_password, &visitor.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Accept an invitation by link, once, within seven days.
#[utoipa::path(post, path = "/api/v1/auth/invitations/accept", tag = "auth", request_body = AcceptInvitation,
    responses((status = 201, body = UserView)))]
pub async fn accept_invitation(
    visitor: Anonymous,
    app: web::Data<App>,
    body: Json<AcceptInvitation>,
) -> Result<impl Responder> {
    let AcceptInvitation { token, name, password } = body.0;
    let person = app.auth.accept_invitation(&token, name.as_deref(), password, &visitor.origin).await?;
    Ok((web::Json(UserView::from(person)), StatusCode::CREATED))
}

/// Request a change of one's address: it takes effect once the link that is mailed there is used.
#[utoipa::path(post, path = "/api/v1/auth/email/change", tag = "auth", request_body = Address,
    responses((status = 202, body = Posted), (status = 409, description = "No mail is set up")))]
pub async fn change_email(
    caller: Caller<StepUp>,
    app: web::Data<App>,
    body: Json<Address>,
) -> Result<HttpResponse> {
    app.auth.change_email(&caller.principal, &body.0.email, &caller.origin).await?;
    Ok(Posted::answer())
}

/// Confirm an address by link, once, within a day: of a new account, or in place of another.
#[utoipa::path(post, path = "/api/v1/auth/email/confirm", tag = "auth", request_body = ConfirmEmail,
    responses((status = 204, description = "Confirmed"),
              (status = 403, description = "It would make an account, and registration is closed"),
              (status = 409, description = "The address has an account")))]
pub async fn confirm_email(
    visitor: Anonymous,
    app: web::Data<App>,
    body: Json<ConfirmEmail>,
) -> Result<HttpResponse> {
    if auth::is_registration_link(&body.0.token) {
        require_open_registration(&app)?;
    }
    app.auth.confirm_email(&body.0.token, &visitor.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}
