//! Everyone's API keys, for those who watch over them.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use storage::ApiKey;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::app::App;
use crate::error::Result;
use crate::extract::{Id, PageLimit, Parameters, page};
use crate::guard::permission::{KeysManage, KeysRead};
use crate::guard::{Caller, Person};
use crate::v1::api_keys::KeyView;
use crate::v1::lists::List;

/// Which keys.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct KeySearch {
    /// The account that they belong to; everyone's if none is given.
    account_id: Option<Uuid>,
    /// Most items, 1 to 100; 50 if none is given.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<PageLimit>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A key and whose it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct OwnedKeyView {
    /// The person or the service account that it belongs to.
    account_id: Uuid,
    #[serde(flatten)]
    details: KeyView,
}

impl From<ApiKey> for OwnedKeyView {
    fn from(key: ApiKey) -> Self {
        Self { account_id: key.account_id, details: key.into() }
    }
}

/// Live keys, newest first.
#[utoipa::path(get, path = "/api/v1/admin/api-keys", tag = "admin", params(KeySearch),
    responses((status = 200, body = List<OwnedKeyView>)))]
pub async fn list(
    _: Caller<KeysRead>,
    app: web::Data<App>,
    search: Parameters<KeySearch>,
) -> Result<web::Json<List<OwnedKeyView>>> {
    let KeySearch { account_id, limit, cursor } = search.0;
    Ok(web::Json(List::of(app.auth.all_keys(account_id, &page(limit, cursor.as_deref())?).await?)))
}

/// Revoke anyone's key; it is refused from the next request.
#[utoipa::path(delete, path = "/api/v1/admin/api-keys/{id}", tag = "admin", params(("id" = Uuid, Path)),
    responses((status = 204, description = "Revoked"), (status = 404, description = "No live key")))]
pub async fn revoke(caller: Caller<Person<KeysManage>>, app: web::Data<App>, id: Id) -> Result<HttpResponse> {
    app.auth.revoke_any_key(&caller.principal, id.0, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}
