//! Rules about the addresses that requests come from.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, Responder, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use storage::{IpEffect, IpPlace, IpRule};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use validator::Validate;

use crate::app::App;
use crate::error::Result;
use crate::extract::{Id, Json, PageParameters, Parameters};
use crate::guard::Caller;
use crate::guard::permission::SystemManage;
use crate::schema_names;
use crate::v1::lists::List;
use crate::v1::rules::{Checked, is_line, require};

/// A rule.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IpRule)]
pub struct IpRuleView {
    id: Uuid,
    /// The network, without host bits.
    cidr: String,
    #[schema(value_type = schema_names::IpEffect)]
    effect: IpEffect,
    #[schema(value_type = schema_names::IpPlace)]
    applies_to: IpPlace,
    reason: String,
    /// Whether a detector made it.
    automatic: bool,
    created_at: DateTime<Utc>,
    /// When it ends; null: never.
    expires_at: Option<DateTime<Utc>>,
}

/// A rule to add.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct NewIpRule {
    /// An address or a CIDR block. 0.0.0.0/0 is every IPv4 address, ::/0 every IPv6 address.
    #[validate(length(max = 64, message = "use at most 64 characters"))]
    #[schema(example = "203.0.113.0/24", max_length = 64)]
    cidr: String,
    #[schema(value_type = schema_names::IpEffect)]
    effect: IpEffect,
    /// `all` if none is given.
    #[serde(default)]
    #[schema(value_type = schema_names::IpPlace)]
    applies_to: IpPlace,
    /// Why, at most 200 characters.
    #[serde(default)]
    #[validate(custom(function = check_reason))]
    #[schema(max_length = 200)]
    reason: String,
    /// When it ends; null: never.
    expires_at: Option<DateTime<Utc>>,
    /// Whether it is meant though it shuts out the address that this comes from.
    #[serde(default)]
    force: bool,
}

/// How to remove a rule.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RemovalParameters {
    /// Whether it is meant though it shuts out the address that this comes from.
    #[serde(default)]
    force: bool,
}

impl From<IpRule> for IpRuleView {
    fn from(rule: IpRule) -> Self {
        let IpRule { id, network, effect, applies_to, automatic, reason, created_at, expires_at } = rule;
        Self { id, cidr: network, effect, applies_to, reason, automatic, created_at, expires_at }
    }
}

impl From<NewIpRule> for auth::IpRuleRequest {
    fn from(rule: NewIpRule) -> Self {
        let NewIpRule { cidr, effect, applies_to, reason, expires_at, force: _ } = rule;
        Self { network: cidr, effect, applies_to, reason, expires_at }
    }
}

/// The rules that hold, newest first.
#[utoipa::path(get, path = "/api/v1/admin/ip-rules", tag = "admin", params(PageParameters),
    responses((status = 200, body = List<IpRuleView>)))]
pub async fn list(
    _: Caller<SystemManage>,
    app: web::Data<App>,
    page: Parameters<PageParameters>,
) -> Result<web::Json<List<IpRuleView>>> {
    Ok(web::Json(List::of(app.auth.ip_rules(&page.0.request()?).await?)))
}

/// Add a rule; it holds on every replica within two seconds. Of the rules that an address falls under the one with the
/// longest prefix decides. Health checks are answered whatever rules say.
#[utoipa::path(post, path = "/api/v1/admin/ip-rules", tag = "admin", request_body = NewIpRule,
    responses((status = 201, body = IpRuleView),
              (status = 409, description = "There is one about this network, or as many as may be, or it would shut you out")))]
pub async fn create(
    caller: Caller<SystemManage>,
    app: web::Data<App>,
    body: Json<NewIpRule>,
) -> Result<impl Responder> {
    let (force, wish) = (body.0.force, body.0.into());
    let rule = app.auth.add_ip_rule(Some(&caller.principal), wish, force, &caller.origin).await?;
    Ok((web::Json(IpRuleView::from(rule)), StatusCode::CREATED))
}

/// Remove a rule; that holds on every replica within two seconds.
#[utoipa::path(delete, path = "/api/v1/admin/ip-rules/{id}", tag = "admin",
    params(("id" = Uuid, Path), RemovalParameters),
    responses((status = 204, description = "Removed"), (status = 404, description = "No such rule"),
              (status = 409, description = "It would shut you out")))]
pub async fn delete(
    caller: Caller<SystemManage>,
    app: web::Data<App>,
    id: Id,
    parameters: Parameters<RemovalParameters>,
) -> Result<HttpResponse> {
    let force = parameters.0.force;
    app.auth.remove_ip_rule(Some(&caller.principal), id.0, force, &caller.origin).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// A text that a list can show in one line.
pub fn check_reason(reason: &str) -> Checked {
    let message = "use at most 200 characters, none of them a control character";
    require(is_line(reason, 0..=200), "reason", message)
}
