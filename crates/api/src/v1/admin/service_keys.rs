//! The API keys of a service account, managed by administrators.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, Responder, web};
use auth::KeyOwner;

use crate::app::App;
use crate::error::Result;
use crate::extract::{Id, Json, KeyId, PageParameters, Parameters};
use crate::guard::permission::{KeysManage, KeysRead};
use crate::guard::{Caller, Person, StepUp};
use crate::v1::api_keys::{IssuedKeyView, KeyChanges, KeyView, NewKey, RotateParameters};
use crate::v1::lists::List;

/// Live keys of a service account, newest first.
#[utoipa::path(get, path = "/api/v1/admin/service-accounts/{id}/api-keys", tag = "admin",
    params(("id" = Uuid, Path), PageParameters),
    responses((status = 200, body = List<KeyView>), (status = 404, description = "No such service account")))]
pub async fn list(
    caller: Caller<KeysRead>,
    app: web::Data<App>,
    id: Id,
    page: Parameters<PageParameters>,
) -> Result<web::Json<List<KeyView>>> {
    let keys = app.auth.keys(&caller.principal, KeyOwner::ServiceAccount(id.0), &page.0.request()?).await?;
    Ok(web::Json(List::of(keys)))
}

/// Make a key of a service account, with scopes that both it and oneself have.
#[utoipa::path(post, path = "/api/v1/admin/service-accounts/{id}/api-keys", tag = "admin",
    params(("id" = Uuid, Path)), request_body = NewKey,
    responses((status = 201, body = IssuedKeyView), (status = 404, description = "No such service account"),
              (status = 409, description = "As many keys as may be")))]
pub async fn create(
    caller: Caller<StepUp<KeysManage>>,
    app: web::Data<App>,
    id: Id,
    body: Json<NewKey>,
) -> Result<impl Responder> {
    let whose = KeyOwner::ServiceAccount(id.0);
    let issued = app.auth.create_key(&caller.principal, whose, body.0.into(), &caller.origin).await?;
    Ok((web::Json(IssuedKeyView::from(issued)), StatusCode::CREATED))
}

/// Change a key of a service account; it holds from the next request.
#[utoipa::path(put, path = "/api/v1/admin/service-accounts/{id}/api-keys/{key_id}", tag = "admin",
    params(("id" = Uuid, Path), ("key_id" = Uuid, Path)), request_body = KeyChanges,
    responses((status = 200, body = KeyView), (status = 404, description = "No live key of its")))]
pub async fn change(
    caller: Caller<StepUp<KeysManage>>,
    app: web::Data<App>,
    id: Id,
    key: KeyId,
    body: Json<KeyChanges>,
) -> Result<web::Json<KeyView>> {
    let whose = KeyOwner::ServiceAccount(id.0);
    let changed = app.auth.change_key(&caller.principal, whose, key.0, body.0.into(), &caller.origin).await?;
    Ok(web::Json(changed.into()))
}

/// Give a key of a service account another secret, as one rotates one's own.
#[utoipa::path(post, path = "/api/v1/admin/service-accounts/{id}/api-keys/{key_id}/rotate", tag = "admin",
    params(("id" = Uuid, Path), ("key_id" = Uuid, Path), RotateParameters),
    responses((status = 200, body = IssuedKeyView), (status = 404, description = "No live key of its")))]
pub async fn rotate(
    caller: Caller<StepUp<KeysManage>>,
    app: web::Data<App>,
    id: Id,
    key: KeyId,
    parameters: Parameters<RotateParameters>,
) -> Result<web::Json<IssuedKeyView>> {
    let (whose, overlap) = (KeyOwner::ServiceAccount(id.0), parameters.0.overlap());
    let issued = app.auth.rotate_key(&caller.principal, whose, key.0, overlap, &caller.origin).await?;
    Ok(web::Json(issued.into()))
}

/// Revoke a key of a service account; it is refused from the next request.
#[utoipa::path(delete, path = "/api/v1/admin/service-accounts/{id}/api-keys/{key_id}", tag = "admin",
    params(("id" = Uuid, Path), ("key_id" = Uuid, Path)),
    responses((status = 204, description = "Revoked"), (status = 404, description = "No live key of its")))]
pub async fn revoke(
    caller: Caller<Person<KeysManage>>,
    app: web::Data<App>,
    id: Id,
    key: KeyId,
) -> Result<HttpResponse> {
    let whose = KeyOwner::ServiceAccount(id.0);
    app.auth.revoke_key(&caller.principal, whose, key.0, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}
