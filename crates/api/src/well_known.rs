//! `/.well-known`: signing keys, and the contact for security reports.

use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpResponse, web};
use auth::PublicKey;
use chrono::Duration;

use crate::app::App;
use crate::error::{ApiError, Code, Result};
use crate::guard::{AlwaysOpen, Anonymous};

/// Where the signing keys are.
pub const JWKS_PATH: &str = "/.well-known/jwks.json";
/// How long a verifier may keep the keys: shorter than a new key is published before it signs.
const JWKS_CACHE: &str = "public, max-age=300";

/// The public keys that access tokens verify with (RFC 7517).
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "well-known",
    responses((status = 200, description = "A JSON Web Key Set", body = serde_json::Value)))]
pub async fn jwks(_: Anonymous, app: web::Data<App>) -> HttpResponse {
    let keys: Vec<PublicKey> = app.auth.public_keys();
    HttpResponse::Ok().insert_header((CACHE_CONTROL, JWKS_CACHE)).json(serde_json::json!({"keys": keys}))
}

/// The contact for security reports (RFC 9116); 404 while SECURITY_CONTACT is unset.
#[utoipa::path(get, path = "/.well-known/security.txt", tag = "well-known",
    responses((status = 200, description = "Contact and expiry", body = String, content_type = "text/plain"),
              (status = 404, description = "No contact is configured")))]
pub async fn security_txt(_: AlwaysOpen, app: web::Data<App>) -> Result<HttpResponse> {
    let contact = app.settings.program.security_contact.as_deref();
    let contact =
        contact.ok_or_else(|| ApiError::new(Code::NotFound, "SECURITY_CONTACT is not set here."))?;
    let expires = (app.auth.now() + Duration::days(180)).format("%Y-%m-%dT%H:%M:%SZ");
    let text = format!("Contact: {contact}\nExpires: {expires}\nPreferred-Languages: en\n");
    Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(text))
}
