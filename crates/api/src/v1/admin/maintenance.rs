//! The operating mode.

use actix_web::web;
use auth::{OperatingMode, Operation, OperationChange};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use crate::app::App;
use crate::error::Result;
use crate::extract::Json;
use crate::guard::Caller;
use crate::guard::permission::SystemManage;
use crate::v1::rules::{Checked, is_line, require};

/// Longest message to callers who are refused, in characters.
pub const MAX_MESSAGE: usize = 500;
/// The longest `Retry-After`, in seconds: a day.
pub const MAX_RETRY_AFTER: u32 = 86_400;

/// The operating mode.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Open to everyone.
    Off,
    /// Open to everyone, while readiness is 503.
    Draining,
    /// Open to callers with system:manage only.
    Maintenance,
    /// Every session ended, every API key refused; people with system:manage may log in.
    EmergencyStop,
}

impl From<OperatingMode> for Mode {
    fn from(mode: OperatingMode) -> Self {
        match mode {
            OperatingMode::Off => Self::Off,
            OperatingMode::Draining => Self::Draining,
            OperatingMode::Maintenance => Self::Maintenance,
            OperatingMode::EmergencyStop => Self::EmergencyStop,
        }
    }
}

impl From<Mode> for OperatingMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Off => Self::Off,
            Mode::Draining => Self::Draining,
            Mode::Maintenance => Self::Maintenance,
            Mode::EmergencyStop => Self::EmergencyStop,
        }
    }
}

/// Whether the service is open.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Operation)]
pub struct OperationView {
    mode: Mode,
    /// The message to refused callers.
    message: Option<String>,
    /// Their `Retry-After`, in seconds.
    retry_after: u32,
    /// When the mode was set; null: it never was.
    since: Option<DateTime<Utc>>,
}

impl From<Operation> for OperationView {
    fn from(operation: Operation) -> Self {
        let Operation { mode, message, retry_after, since, .. } = operation;
        Self { mode: mode.into(), message, retry_after, since }
    }
}

/// A mode to set; what is missing is the default.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct ModeChange {
    mode: Mode,
    /// The message to refused callers: 1 to 500 characters on one line.
    #[validate(custom(function = check_message))]
    #[schema(min_length = 1, max_length = 500)]
    message: Option<String>,
    /// Their `Retry-After`, in seconds; 60 if none is given.
    #[validate(range(min = 1, max = MAX_RETRY_AFTER, message = "use 1 to 86400 seconds"))]
    #[schema(minimum = 1, maximum = 86400)]
    retry_after: Option<u32>,
}

/// Whether the service is open, as this replica knows it.
#[utoipa::path(get, path = "/api/v1/admin/maintenance", tag = "admin", responses((status = 200, body = OperationView)))]
pub async fn show(_: Caller<SystemManage>, app: web::Data<App>) -> web::Json<OperationView> {
    web::Json(app.auth.operation().into())
}

/// Open or close the service: here from the next request on, on other replicas within two seconds. `emergency_stop`
/// ends every session, one's own too, and refuses every API key until the mode is another one.
#[utoipa::path(put, path = "/api/v1/admin/maintenance", tag = "admin", request_body = ModeChange,
    responses((status = 200, body = OperationView)))]
pub async fn change(
    caller: Caller<SystemManage>,
    app: web::Data<App>,
    body: Json<ModeChange>,
) -> Result<web::Json<OperationView>> {
    let ModeChange { mode, message, retry_after } = body.0;
    let change = OperationChange { mode: mode.into(), message, retry_after };
    Ok(web::Json(app.auth.set_operation(Some(&caller.principal), change, &caller.origin).await?.into()))
}

/// One line that fits into an answer.
pub fn check_message(message: &str) -> Checked {
    require(is_line(message, 1..=MAX_MESSAGE), "message", "use 1 to 500 characters on one line")
}
