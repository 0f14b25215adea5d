//! Invitations and password resets: nobody chooses another person's password.

use actix_web::http::StatusCode;
use actix_web::{Responder, web};
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use crate::app::App;
use crate::error::Result;
use crate::extract::{Id, Json};
use crate::guard::permission::UsersManage;
use crate::guard::{Caller, StepUp};
use crate::outgoing::mail::{ACCEPT_PAGE, RESET_PAGE};
use crate::v1::users::{UserView, check_email, check_name};

/// A person to invite.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// An e-mail address of at most 120 characters.
    #[validate(custom(function = check_email))]
    #[schema(example = "ada@example.com", max_length = 120)]
    email: String,
    /// 2 to 50 letters and spaces; none: they give it when they accept.
    #[validate(custom(function = check_name))]
    #[schema(min_length = 2, max_length = 50)]
    name: Option<String>,
    /// The name of a role, which may do no more than oneself.
    #[validate(length(max = 64, message = "use at most 64 characters"))]
    role: String,
}

/// A link on its way to the person it is for.
#[derive(Serialize, ToSchema)]
#[schema(as = Link)]
pub struct LinkView {
    /// Whether it is mailed. Where no mail is set up, pass it on yourself.
    mailed: bool,
    /// When it ends; one that is mailed is made a little later.
    expires_at: DateTime<Utc>,
    /// Shown once, where no mail is set up.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// The same as an address, where PUBLIC_URL is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
}

/// An account and the invitation to it.
#[derive(Serialize, ToSchema)]
pub struct Invited {
    #[serde(flatten)]
    user: UserView,
    invitation: LinkView,
}

impl LinkView {
    fn of(delivery: auth::LinkDelivery, app: &App, page: &str) -> Self {
        let token = delivery.token.map(|token| token.expose_secret().to_owned());
        let public_url = app.settings.mail.public_url.as_ref();
        let link = token.as_ref().and_then(|token| Some(public_url?.link(page, token)));
        Self { mailed: token.is_none(), expires_at: delivery.expires_at, token, link }
    }
}

/// Make an account for somebody, who chooses the password: the invitation is mailed or, without mail, answered here.
#[utoipa::path(post, path = "/api/v1/admin/users", tag = "admin", request_body = NewUser,
    responses((status = 201, body = Invited), (status = 409, description = "The address has an account")))]
pub async fn invite(
    caller: Caller<StepUp<UsersManage>>,
    app: web::Data<App>,
    body: Json<NewUser>,
) -> Result<impl Responder> {
    let NewUser { email, name, role } = body.0;
    let invitation = auth::Invitation { email, name: name.unwrap_or_default(), role };
    let (person, delivery) = app.auth.invite(&caller.principal, invitation, &caller.origin).await?;
    let invitation = LinkView::of(delivery, &app, ACCEPT_PAGE);
    Ok((web::Json(Invited { user: person.into(), invitation }), StatusCode::CREATED))
}

/// Send somebody a link to a new password, or the invitation anew; without mail it is answered here.
#[utoipa::path(post, path = "/api/v1/admin/users/{id}/reset-password", tag = "admin", params(("id" = Uuid, Path)),
    responses((status = 200, body = LinkView), (status = 404, description = "No such account")))]
pub async fn reset_password(
    caller: Caller<StepUp<UsersManage>>,
    app: web::Data<App>,
    id: Id,
) -> Result<web::Json<LinkView>> {
    let (delivery, page) = match app.auth.send_password_link(&caller.principal, id.0, &caller.origin).await? {
        auth::PasswordLink::NewPassword(delivery) => (delivery, RESET_PAGE),
        auth::PasswordLink::Invitation(delivery) => (delivery, ACCEPT_PAGE),
    };
    Ok(web::Json(LinkView::of(delivery, &app, page)))
}
