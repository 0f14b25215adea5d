//! One's own second factor: an authenticator app and recovery codes.

use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use data_encoding::BASE64;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use crate::app::App;
use crate::error::{ApiError, Result};
use crate::extract::Json;
use crate::guard::{Caller, Person, StepUp};
use crate::qr;

/// The state of one's second factors.
#[derive(Debug, Serialize, ToSchema)]
pub struct SecondFactorState {
    /// Whether a login asks for a code.
    enrolled: bool,
    /// When the authenticator was confirmed.
    confirmed_at: Option<DateTime<Utc>>,
    recovery_codes_left: i64,
    /// Whether nothing else may be done before there is a second factor.
    must_enrol: bool,
}

impl From<auth::SecondFactorState> for SecondFactorState {
    fn from(state: auth::SecondFactorState) -> Self {
        Self {
            enrolled: state.confirmed_at.is_some(),
            confirmed_at: state.confirmed_at,
            recovery_codes_left: state.recovery_codes_left,
            must_enrol: state.must_enrol,
        }
    }
}

/// A pending authenticator, shown once: three forms of one secret.
#[derive(Serialize, ToSchema)]
pub struct TotpEnrolment {
    /// Base32, to type.
    secret: String,
    /// To open in an app.
    otpauth_uri: String,
    /// The same as a picture, to scan.
    #[schema(content_encoding = "base64", content_media_type = "image/png")]
    qr_code_png_base64: String,
}

/// Six digits of the authenticator, or a recovery code where that is allowed.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Code {
    #[schema(value_type = String, example = "287082")]
    code: SecretString,
}

/// Each good once in the place of a code of the authenticator; shown once.
#[derive(Serialize, ToSchema)]
pub struct RecoveryCodes {
    recovery_codes: Vec<String>,
}

impl From<Vec<SecretString>> for RecoveryCodes {
    fn from(codes: Vec<SecretString>) -> Self {
        Self { recovery_codes: codes.iter().map(|code| code.expose_secret().to_owned()).collect() }
    }
}

/// The state of one's second factors.
#[utoipa::path(get, path = "/api/v1/me/mfa", tag = "me", responses((status = 200, body = SecondFactorState)))]
pub async fn show(caller: Caller<Person>, app: web::Data<App>) -> Result<web::Json<SecondFactorState>> {
    Ok(web::Json(app.auth.second_factor_state(&caller.principal).await?.into()))
}

/// Begin with an authenticator app. It counts once `/me/mfa/totp/confirm` gets a code of it, within ten minutes.
#[utoipa::path(post, path = "/api/v1/me/mfa/totp", tag = "me",
    responses((status = 200, body = TotpEnrolment), (status = 409, description = "There is one; remove it first")))]
pub async fn enrol(caller: Caller<StepUp>, app: web::Data<App>) -> Result<web::Json<TotpEnrolment>> {
    let enrolment = app.auth.enrol_totp(&caller.principal).await?;
    let uri = enrolment.uri.expose_secret().to_owned();
    let picture = web::block({
        let uri = uri.clone();
        move || qr::png(&uri)
    });
    let picture = picture.await.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
    Ok(web::Json(TotpEnrolment {
        secret: enrolment.secret.expose_secret().to_owned(),
        otpauth_uri: uri,
        qr_code_png_base64: BASE64.encode(&picture),
    }))
}

/// Confirm the authenticator with a code of it. One's other sessions end.
#[utoipa::path(post, path = "/api/v1/me/mfa/totp/confirm", tag = "me", request_body = Code,
    responses((status = 200, body = RecoveryCodes), (status = 401, description = "The code is wrong"),
              (status = 404, description = "No authenticator waits to be confirmed")))]
pub async fn confirm(
    caller: Caller<Person>,
    app: web::Data<App>,
    body: Json<Code>,
) -> Result<web::Json<RecoveryCodes>> {
    Ok(web::Json(app.auth.confirm_totp(&caller.principal, &body.0.code, &caller.origin).await?.into()))
}

/// Remove the authenticator and the recovery codes, with one of their codes. One's other sessions end.
#[utoipa::path(delete, path = "/api/v1/me/mfa/totp", tag = "me", request_body = Code,
    responses((status = 204, description = "Removed"), (status = 401, description = "The code is wrong"),
              (status = 404, description = "There is none")))]
pub async fn remove(caller: Caller<StepUp>, app: web::Data<App>, body: Json<Code>) -> Result<HttpResponse> {
    app.auth.remove_totp(&caller.principal, &body.0.code, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Get new recovery codes, with a code of the authenticator or an old one of these; all old ones are void.
#[utoipa::path(post, path = "/api/v1/me/mfa/recovery-codes", tag = "me", request_body = Code,
    responses((status = 200, body = RecoveryCodes), (status = 401, description = "The code is wrong"),
              (status = 404, description = "There is no authenticator")))]
pub async fn renew_recovery_codes(
    caller: Caller<StepUp>,
    app: web::Data<App>,
    body: Json<Code>,
) -> Result<web::Json<RecoveryCodes>> {
    let codes = app.auth.renew_recovery_codes(&caller.principal, &body.0.code, &caller.origin).await?;
    Ok(web::Json(codes.into()))
}
