//! Legal holds, for those who manage accounts.

use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use storage::LegalHold;
use utoipa::ToSchema;
use uuid::Uuid;
use validator::Validate;

use crate::app::App;
use crate::error::Result;
use crate::extract::{Id, Json, PageParameters, Parameters};
use crate::guard::permission::UsersManage;
use crate::guard::{Caller, StepUp};
use crate::v1::lists::List;
use crate::v1::rules::{Checked, is_line, require};

/// Longest reason, in characters.
const MAX_REASON: usize = 200;

/// Why an account is held.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// The number of a case, 1 to 200 characters. It stands in the audit trail for good: no personal data.
    #[validate(custom(function = check_reason))]
    #[schema(min_length = 1, max_length = 200)]
    reason: String,
}

fn check_reason(reason: &str) -> Checked {
    require(is_line(reason, 1..=MAX_REASON), "reason", "use 1 to 200 printable characters")
}

/// An account that is held.
#[derive(Debug, Serialize, ToSchema)]
pub struct LegalHoldView {
    /// The account.
    account_id: Uuid,
    /// Why.
    reason: String,
    /// Who placed it.
    placed_by: Uuid,
    /// Since when.
    placed_at: DateTime<Utc>,
}

impl From<LegalHold> for LegalHoldView {
    fn from(hold: LegalHold) -> Self {
        let LegalHold { account_id, reason, placed_by, placed_at } = hold;
        Self { account_id, reason, placed_by, placed_at }
    }
}

/// Accounts that are held, the newest first.
#[utoipa::path(get, path = "/api/v1/admin/legal-holds", tag = "admin", params(PageParameters),
    responses((status = 200, body = List<LegalHoldView>)))]
pub async fn list(
    _: Caller<UsersManage>,
    app: web::Data<App>,
    page: Parameters<PageParameters>,
) -> Result<web::Json<List<LegalHoldView>>> {
    Ok(web::Json(List::of(app.auth.legal_holds(&page.0.request()?).await?)))
}

/// Hold an account: it cannot be erased, and what is kept of it is not pruned, its audit trail included.
#[utoipa::path(put, path = "/api/v1/admin/legal-holds/{id}", tag = "admin", params(("id" = Uuid, Path)),
    request_body = Reason,
    responses((status = 204, description = "Held"), (status = 404, description = "No such account")))]
pub async fn place(
    caller: Caller<StepUp<UsersManage>>,
    app: web::Data<App>,
    id: Id,
    body: Json<Reason>,
) -> Result<HttpResponse> {
    app.auth.place_legal_hold(&caller.principal, id.0, body.0.reason.trim(), &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Release an account.
#[utoipa::path(delete, path = "/api/v1/admin/legal-holds/{id}", tag = "admin", params(("id" = Uuid, Path)),
    responses((status = 204, description = "Released"), (status = 404, description = "It is not held")))]
pub async fn release(
    caller: Caller<StepUp<UsersManage>>,
    app: web::Data<App>,
    id: Id,
) -> Result<HttpResponse> {
    app.auth.release_legal_hold(&caller.principal, id.0, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}
