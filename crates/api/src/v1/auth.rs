//! Making an account, logging in, refreshing, logging out, changing the password.

use actix_web::{HttpResponse, web};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::attempts::after_challenge;
use super::links::Posted;
use super::second_step::LoginAnswer;
use super::users::{UserView, check_email, check_name};
use crate::app::App;
use crate::error::{ApiError, Code, Result};
use crate::extract::Json;
use crate::guard::{AlwaysOpen, Anonymous, Caller, OptionalToken, Person};
use crate::outgoing::challenge::{Attempt, Counts, MAX_TOKEN};
use crate::settings::Registration;

/// An account to make.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// An e-mail address of at most 120 characters.
    #[validate(custom(function = check_email))]
    #[schema(example = "ada@example.com", max_length = 120)]
    email: String,
    /// 12 to 128 characters; by default with an upper and a lower case letter, a digit and a special character
    /// (PASSWORD_POLICY).
    #[schema(value_type = String, min_length = 12, max_length = 128, format = Password)]
    password: SecretString,
    /// 2 to 50 letters and spaces.
    #[validate(custom(function = check_name))]
    #[schema(min_length = 2, max_length = 50)]
    name: String,
    /// The token of a solved challenge, where one is required (`challenge_required`).
    #[validate(length(min = 1, max = MAX_TOKEN, message = "use what the challenge gave, at most 4096 characters"))]
    #[schema(min_length = 1, max_length = 4096)]
    challenge_token: Option<String>,
}

/// What to log in with.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Login {
    #[validate(length(max = 320, message = "use at most 320 characters"))]
    #[schema(example = "ada@example.com")]
    email: String,
    #[schema(value_type = String, format = Password)]
    password: SecretString,
    /// The token of a solved challenge, where one is required (`challenge_required`).
    #[validate(length(min = 1, max = MAX_TOKEN, message = "use what the challenge gave, at most 4096 characters"))]
    #[schema(min_length = 1, max_length = 4096)]
    challenge_token: Option<String>,
}

/// The refresh token to spend.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    #[schema(value_type = String)]
    refresh_token: SecretString,
}

/// The present password and the new one.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    #[schema(value_type = String, format = Password)]
    current_password: SecretString,
    #[schema(value_type = String, min_length = 12, max_length = 128, format = Password)]
    new_password: SecretString,
}

/// Tokens of a session.
#[derive(Serialize, ToSchema)]
pub struct Tokens {
    /// For `Authorization: Bearer`.
    access_token: String,
    /// Good for one refresh.
    refresh_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// Seconds until the access token ends.
    expires_in: i64,
}

impl From<auth::TokenPair> for Tokens {
    fn from(pair: auth::TokenPair) -> Self {
        Self {
            access_token: pair.access_token.expose_secret().to_owned(),
            refresh_token: pair.refresh_token.expose_secret().to_owned(),
            token_type: "Bearer",
            expires_in: pair.expires_in,
        }
    }
}

/// Refuses accounts that people make themselves, where REGISTRATION is closed.
pub fn require_open_registration(app: &App) -> Result<()> {
    if app.registration() == Registration::Closed {
        return Err(ApiError::new(Code::RegistrationClosed, "Ask an administrator for an account."));
    }
    Ok(())
}

/// Make an account for oneself, with the role `user`; where REGISTRATION is open.
#[utoipa::path(post, path = "/api/v1/auth/register", tag = "auth", request_body = Register,
    responses((status = 201, body = UserView),
              (status = 202, body = Posted, description = "With e-mail verification, for free and taken addresses alike"),
              (status = 403, description = "Registration is closed, or a challenge is due"),
              (status = 409, description = "The address has an account; without e-mail verification")))]
pub async fn register(visitor: Anonymous, app: web::Data<App>, body: Json<Register>) -> Result<HttpResponse> {
    require_open_registration(&app)?;
    let Register { email, password, name, challenge_token } = body.0;
    let (token, origin) = (challenge_token.as_deref(), &visitor.origin);
    let attempt = Attempt { email: &email.clone(), token, origin, counts: Counts::Attempts };
    let request = auth::NewUserRequest { email, name, password };
    if app.settings.mail.verifies_addresses() {
        after_challenge(&app, attempt, app.auth.register(request)).await?;
        return Ok(Posted::answer());
    }
    let made = app.auth.create_user(request, auth::Role::User, origin);
    Ok(HttpResponse::Created().json(UserView::from(after_challenge(&app, attempt, made).await?)))
}

/// Open a session; with a second factor, the answer asks for a code and `/auth/mfa` opens it. A client that still has
/// an access token of the account may send it along: then it is not held up by what others try.
#[utoipa::path(post, path = "/api/v1/auth/login", tag = "auth", request_body = Login,
    responses((status = 200, body = LoginAnswer), (status = 401, description = "Wrong address or password"),
              (status = 403, description = "A challenge is due")))]
pub async fn login(
    visitor: AlwaysOpen,
    app: web::Data<App>,
    held: OptionalToken,
    body: Json<Login>,
) -> Result<web::Json<LoginAnswer>> {
    let Login { email, password, challenge_token } = body.0;
    let (token, origin) = (challenge_token.as_deref(), &visitor.origin);
    let attempt = Attempt { email: &email.clone(), token, origin, counts: Counts::Failures };
    let credentials = auth::Credentials { email, password, held: held.0 };
    Ok(web::Json(after_challenge(&app, attempt, app.auth.login(credentials, origin)).await?.into()))
}

/// Spend a refresh token for a new pair. A retry within 10 s gets the same successor; any other second use ends the
/// session.
#[utoipa::path(post, path = "/api/v1/auth/refresh", tag = "auth", request_body = Refresh,
    responses((status = 200, body = Tokens), (status = 401, description = "Not valid, spent or ended")))]
pub async fn refresh(
    visitor: AlwaysOpen,
    app: web::Data<App>,
    body: Json<Refresh>,
) -> Result<web::Json<Tokens>> {
    Ok(web::Json(app.auth.refresh(&body.0.refresh_token, &visitor.origin).await?.into()))
}

/// End this session: its access and refresh tokens are refused from now on.
#[utoipa::path(post, path = "/api/v1/auth/logout", tag = "auth", responses((status = 204, description = "Ended")))]
pub async fn logout(caller: Caller<Person>, app: web::Data<App>) -> Result<HttpResponse> {
    app.auth.logout(&caller.principal, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// End every session of one's own, this one included.
#[utoipa::path(post, path = "/api/v1/auth/logout-all", tag = "auth", responses((status = 204, description = "Ended")))]
pub async fn logout_all(caller: Caller<Person>, app: web::Data<App>) -> Result<HttpResponse> {
    app.auth.logout_all(&caller.principal, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Change one's own password; every other session ends.
#[utoipa::path(post, path = "/api/v1/auth/password", tag = "auth", request_body = ChangePassword,
    responses((status = 204, description = "Changed")))]
pub async fn change_password(
    caller: Caller<Person>,
    app: web::Data<App>,
    body: Json<ChangePassword>,
) -> Result<HttpResponse> {
    let ChangePassword { current_password, new_password } = body.0;
    app.auth.change_password(&caller.principal, current_password, new_password, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}
