//! One's own API keys. Keys manage no keys: these routes need an access token.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, Responder, web};
use auth::{Allowance, KeyOwner};
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;
use serde::{Deserialize, Deserializer, Serialize};
use storage::ApiKey;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use validator::Validate;

use super::lists::List;
use super::rules::{Checked, is_line, require};
use crate::app::App;
use crate::error::Result;
use crate::extract::{Id, Json, PageParameters, Parameters, WholeNumber};
use crate::guard::{Caller, Person, StepUp};

/// Longest lists in a key.
const MAX_ENTRIES: u64 = 100;
/// The highest limit of a key's own.
const MAX_REQUESTS: u32 = 1_000_000;

/// Rate limits of a key or an account. A key's count besides its account's and never widen them.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyLimits {
    #[schema(minimum = 1, maximum = 1_000_000)]
    requests_per_minute: Option<u32>,
    #[schema(minimum = 1, maximum = 1_000_000)]
    requests_per_hour: Option<u32>,
}

impl From<storage::KeyLimits> for KeyLimits {
    fn from(limits: storage::KeyLimits) -> Self {
        let storage::KeyLimits { requests_per_minute, requests_per_hour } = limits;
        Self { requests_per_minute, requests_per_hour }
    }
}

impl From<KeyLimits> for Allowance {
    fn from(limits: KeyLimits) -> Self {
        Self { per_minute: limits.requests_per_minute, per_hour: limits.requests_per_hour }
    }
}

impl From<KeyLimits> for storage::KeyLimits {
    fn from(limits: KeyLimits) -> Self {
        let KeyLimits { requests_per_minute, requests_per_hour } = limits;
        Self { requests_per_minute, requests_per_hour }
    }
}

/// A key to make.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// What it is for, 1 to 100 characters.
    #[validate(custom(function = check_key_name))]
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// Names of permissions, a subset of one's own.
    #[validate(length(max = MAX_ENTRIES, message = "use at most 100"))]
    #[schema(example = json!(["models:infer"]))]
    scopes: Vec<String>,
    /// The only models that it may use; null: all that one may use oneself.
    #[validate(
        length(max = MAX_ENTRIES, message = "use at most 100"),
        custom(function = check_model_names)
    )]
    models: Option<Vec<String>>,
    /// When it ends, at most a hundred years from now; 90 days from now if none is given.
    expires_at: Option<DateTime<Utc>>,
    /// The only addresses or CIDR blocks that it may be used from; null: any.
    #[validate(length(max = MAX_ENTRIES, message = "use at most 100"))]
    allowed_ips: Option<Vec<String>>,
    /// Its rate limits besides its account's; null: none.
    #[validate(custom(function = check_limits))]
    limits: Option<KeyLimits>,
    /// Whether it signs its requests and is never sent itself (docs/API.md); that stays.
    #[serde(default)]
    require_signature: bool,
}

/// What to change about a key; what is missing stays, null lifts a restriction.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct KeyChanges {
    #[validate(custom(function = check_key_name))]
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    #[validate(length(max = MAX_ENTRIES, message = "use at most 100"))]
    scopes: Option<Vec<String>>,
    #[validate(
        length(max = MAX_ENTRIES, message = "use at most 100"),
        custom(function = check_model_names)
    )]
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    models: Option<Option<Vec<String>>>,
    #[validate(length(max = MAX_ENTRIES, message = "use at most 100"))]
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    allowed_ips: Option<Option<Vec<String>>>,
    #[validate(custom(function = check_limits))]
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<KeyLimits>)]
    limits: Option<Option<KeyLimits>>,
}

/// How to rotate a key.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RotateParameters {
    /// Seconds that the old secret works on, at most a week; a day if none is given.
    #[param(value_type = Option<u32>, minimum = 0, maximum = 604_800)]
    overlap_seconds: Option<WholeNumber<0, { auth::MAX_OVERLAP_SECONDS }>>,
}

/// The default overlap of a rotation, in seconds.
const DEFAULT_OVERLAP: u32 = 86_400;

/// A key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub struct KeyView {
    id: Uuid,
    name: String,
    /// The third part of the key's text, to recognise it by.
    public_id: String,
    scopes: Vec<String>,
    models: Option<Vec<String>>,
    allowed_ips: Option<Vec<String>>,
    limits: Option<KeyLimits>,
    /// Whether it signs its requests and is never sent itself.
    require_signature: bool,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    /// To within seconds: it is written in batches.
    last_used_at: Option<DateTime<Utc>>,
    /// The network it was last used from, shortened.
    last_used_address: Option<String>,
}

/// A new key with its text, which is shown this once.
#[derive(Serialize, ToSchema)]
pub struct IssuedKeyView {
    #[serde(flatten)]
    details: KeyView,
    /// `mg_…`, to be kept by its owner.
    key: String,
}

impl From<NewKey> for auth::KeyRequest {
    fn from(key: NewKey) -> Self {
        let NewKey { name, scopes, models, expires_at, allowed_ips, limits, require_signature } = key;
        let limits = limits.map(Into::into);
        Self { name, scopes, models, allowed_ips, limits, require_signature, expires_at }
    }
}

impl From<KeyChanges> for auth::KeyChange {
    fn from(changes: KeyChanges) -> Self {
        let KeyChanges { name, scopes, models, allowed_ips, limits } = changes;
        Self { name, scopes, models, allowed_ips, limits: limits.map(|limits| limits.map(Into::into)) }
    }
}

impl RotateParameters {
    /// How long the old secret works on.
    pub fn overlap(&self) -> chrono::Duration {
        chrono::Duration::seconds(self.overlap_seconds.map_or(DEFAULT_OVERLAP, WholeNumber::get).into())
    }
}

impl From<auth::IssuedKey> for IssuedKeyView {
    fn from(issued: auth::IssuedKey) -> Self {
        Self { key: issued.text.expose_secret().to_owned(), details: issued.key.into() }
    }
}

impl From<ApiKey> for KeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            name: key.name,
            public_id: key.public_id,
            scopes: key.scopes,
            models: key.models,
            allowed_ips: key.allowed_ips,
            limits: key.limits.map(Into::into),
            require_signature: key.require_signature,
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            last_used_at: key.last_used_at,
            last_used_address: key.last_used_address,
        }
    }
}

/// One's own live keys, newest first.
#[utoipa::path(get, path = "/api/v1/api-keys", tag = "api-keys", params(PageParameters),
    responses((status = 200, body = List<KeyView>)))]
pub async fn list(
    caller: Caller<Person>,
    app: web::Data<App>,
    page: Parameters<PageParameters>,
) -> Result<web::Json<List<KeyView>>> {
    Ok(web::Json(List::of(app.auth.keys(&caller.principal, KeyOwner::Caller, &page.0.request()?).await?)))
}

/// Make a key.
#[utoipa::path(post, path = "/api/v1/api-keys", tag = "api-keys", request_body = NewKey,
    responses((status = 201, body = IssuedKeyView), (status = 409, description = "As many keys as may be")))]
pub async fn create(
    caller: Caller<StepUp>,
    app: web::Data<App>,
    body: Json<NewKey>,
) -> Result<impl Responder> {
    let issued =
        app.auth.create_key(&caller.principal, KeyOwner::Caller, body.0.into(), &caller.origin).await?;
    Ok((web::Json(IssuedKeyView::from(issued)), StatusCode::CREATED))
}

/// One of one's own keys.
#[utoipa::path(get, path = "/api/v1/api-keys/{id}", tag = "api-keys", params(("id" = Uuid, Path)),
    responses((status = 200, body = KeyView), (status = 404, description = "No key of yours")))]
pub async fn show(caller: Caller<Person>, app: web::Data<App>, id: Id) -> Result<web::Json<KeyView>> {
    Ok(web::Json(app.auth.key(&caller.principal, KeyOwner::Caller, id.0).await?.into()))
}

/// Change one of one's own keys; it holds from the next request.
#[utoipa::path(put, path = "/api/v1/api-keys/{id}", tag = "api-keys", params(("id" = Uuid, Path)),
    request_body = KeyChanges, responses((status = 200, body = KeyView), (status = 404, description = "No key of yours")))]
pub async fn change(
    caller: Caller<StepUp>,
    app: web::Data<App>,
    id: Id,
    body: Json<KeyChanges>,
) -> Result<web::Json<KeyView>> {
    let change = body.0.into();
    let key = app.auth.change_key(&caller.principal, KeyOwner::Caller, id.0, change, &caller.origin).await?;
    Ok(web::Json(key.into()))
}

/// Give one of one's own keys another secret; its id, rights and end stay. The old one works on for the overlap, though
/// never longer than the key; with an overlap of 0 it ends at once.
#[utoipa::path(post, path = "/api/v1/api-keys/{id}/rotate", tag = "api-keys",
    params(("id" = Uuid, Path), RotateParameters),
    responses((status = 200, body = IssuedKeyView), (status = 404, description = "No live key of yours")))]
pub async fn rotate(
    caller: Caller<StepUp>,
    app: web::Data<App>,
    id: Id,
    parameters: Parameters<RotateParameters>,
) -> Result<web::Json<IssuedKeyView>> {
    let overlap = parameters.0.overlap();
    let issued =
        app.auth.rotate_key(&caller.principal, KeyOwner::Caller, id.0, overlap, &caller.origin).await?;
    Ok(web::Json(issued.into()))
}

/// Revoke one of one's own keys; it is refused from the next request.
#[utoipa::path(delete, path = "/api/v1/api-keys/{id}", tag = "api-keys", params(("id" = Uuid, Path)),
    responses((status = 204, description = "Revoked"), (status = 404, description = "No live key of yours")))]
pub async fn revoke(caller: Caller<Person>, app: web::Data<App>, id: Id) -> Result<HttpResponse> {
    app.auth.revoke_key(&caller.principal, KeyOwner::Caller, id.0, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// A name that lists can show.
pub fn check_key_name(name: &str) -> Checked {
    require(is_line(name, 1..=100), "name", "use 1 to 100 characters, none of them a control character")
}

/// A name that no model can have is a mistake, however long.
fn check_model_names(names: &[String]) -> Checked {
    let message =
        "use names of models: letters, digits and ._- only, at most 128, the first a letter or digit";
    require(names.iter().all(|name| inference::is_name(name)), "models", message)
}

/// At least one number, and none that means something else.
pub fn check_limits(limits: &KeyLimits) -> Checked {
    let mut named = [limits.requests_per_minute, limits.requests_per_hour].into_iter().flatten().peekable();
    let fits = named.peek().is_some() && named.all(|limit| (1..=MAX_REQUESTS).contains(&limit));
    let message = "name requests_per_minute, requests_per_hour or both, each from 1 to 1000000";
    require(fits, "limits", message)
}

/// Tells a null from a missing member.
pub fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
