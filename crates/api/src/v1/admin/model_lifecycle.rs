//! Which models and versions are served.

use actix_web::{HttpResponse, web};
use auth::ModelChange;
use inference::ModelStatus;
use serde::{Deserialize, Serialize};
use storage::DesiredModel;
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use crate::app::{App, declared};
use crate::error::Result;
use crate::extract::{Json, Name, Parameters};
use crate::guard::Caller;
use crate::guard::permission::ModelsManage;
use crate::model_acts;
use crate::schema_names::{ModelAccess, ModelState};
use crate::v1::lists::List;

/// A model, as this replica serves it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ManagedModel {
    name: String,
    /// The access that its model.toml sets; `/access` returns an administrator's setting.
    #[schema(value_type = ModelAccess)]
    access: &'static str,
    /// Whether the server counts as not ready without it.
    required: bool,
    /// Whether an administrator had it unloaded.
    unloaded: bool,
    /// The version that an administrator activated; null: model.toml decides.
    active_version: Option<String>,
    /// The version that a roll back activates.
    previous_version: Option<String>,
    /// Versions that were added and are served once they are activated.
    waiting_versions: Vec<String>,
    /// Why this replica stays as it is although the desired state is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    setback: Option<String>,
    versions: Vec<ManagedVersion>,
}

/// A version of a model, as this replica serves it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ManagedVersion {
    version: String,
    #[schema(value_type = ModelState)]
    state: &'static str,
    /// Why it is unavailable.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Whether it answers calls that name no version.
    active: bool,
    /// SHA-256 of the model file.
    sha256: Option<String>,
}

/// Which version is to answer calls that name none.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Activation {
    /// Null: what model.toml says of all versions that are there.
    #[serde(deserialize_with = "Option::deserialize")]
    #[validate(length(min = 1, max = 128, message = "use 1 to 128 characters"))]
    #[schema(min_length = 1, max_length = 128, required)]
    version: Option<String>,
}

/// How to load.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LoadParameters {
    /// Whether files may be others than those that were first served under their versions; from then on they count as
    /// those.
    accept_changes: Option<bool>,
}

impl From<ModelStatus> for ManagedVersion {
    fn from(status: ModelStatus) -> Self {
        Self {
            version: status.version,
            state: status.state.name(),
            reason: status.reason,
            active: status.active,
            sha256: status.sha256,
        }
    }
}

impl ManagedModel {
    fn of(status: &ModelStatus, desired: Option<&DesiredModel>) -> Self {
        Self {
            name: status.name.clone(),
            access: declared(status.access).name(),
            required: status.required,
            unloaded: desired.is_some_and(|desired| desired.unloaded),
            active_version: desired.and_then(|desired| desired.active_version.clone()),
            previous_version: desired.and_then(|desired| desired.previous_version.clone()),
            waiting_versions: desired
                .map(|desired| desired.waiting.iter().cloned().collect())
                .unwrap_or_default(),
            setback: status.setback.clone(),
            versions: Vec::new(),
        }
    }
}

/// Every model, with what is served of it and why something is not.
#[utoipa::path(get, path = "/api/v1/admin/models", tag = "admin", responses((status = 200, body = List<ManagedModel>)))]
pub async fn list(
    caller: Caller<ModelsManage>,
    app: web::Data<App>,
) -> Result<web::Json<List<ManagedModel>>> {
    let desired = app.auth.desired_models().await?;
    let mut items: Vec<ManagedModel> = Vec::new();
    let models = app.registry.models().into_iter().filter(|status| caller.principal.reaches(&status.name));
    for status in models {
        if items.last().is_none_or(|last| last.name != status.name) {
            let desired = desired.iter().find(|desired| desired.name == status.name);
            items.push(ManagedModel::of(&status, desired));
        }
        if let (Some(last), false) = (items.last_mut(), status.version.is_empty() && status.reason.is_none())
        {
            last.versions.push(status.into());
        }
    }
    Ok(web::Json(List { items, next_cursor: None }))
}

/// Load a model, or load it afresh, on every replica; what answers goes on until the new one can.
#[utoipa::path(post, path = "/api/v1/admin/models/{name}/load", tag = "admin",
    params(("name" = String, Path), LoadParameters),
    responses((status = 204, description = "Loaded"), (status = 404, description = "No such model"),
              (status = 409, description = "It cannot be loaded; what was served is served")))]
pub async fn load(
    caller: Caller<ModelsManage>,
    app: web::Data<App>,
    name: Name,
    parameters: Parameters<LoadParameters>,
) -> Result<HttpResponse> {
    let accept_changes = parameters.0.accept_changes.unwrap_or(false);
    changed(app, caller, name, ModelChange::Load { accept_changes }).await
}

/// Unload a model on every replica; calls that it has are answered.
#[utoipa::path(post, path = "/api/v1/admin/models/{name}/unload", tag = "admin", params(("name" = String, Path)),
    responses((status = 204, description = "Unloaded"), (status = 404, description = "No such model"),
              (status = 409, description = "Somebody else changed it meanwhile")))]
pub async fn unload(caller: Caller<ModelsManage>, app: web::Data<App>, name: Name) -> Result<HttpResponse> {
    changed(app, caller, name, ModelChange::Unload).await
}

/// Let a version answer calls that name none; it is loaded first, and no call fails.
#[utoipa::path(post, path = "/api/v1/admin/models/{name}/activate", tag = "admin", params(("name" = String, Path)),
    request_body = Activation,
    responses((status = 204, description = "Activated"), (status = 404, description = "No such model"),
              (status = 409, description = "It cannot be loaded; what was served is served")))]
pub async fn activate(
    caller: Caller<ModelsManage>,
    app: web::Data<App>,
    name: Name,
    body: Json<Activation>,
) -> Result<HttpResponse> {
    changed(app, caller, name, ModelChange::Activate(body.0.version)).await
}

/// Activate the version that was active before.
#[utoipa::path(post, path = "/api/v1/admin/models/{name}/rollback", tag = "admin", params(("name" = String, Path)),
    responses((status = 204, description = "Rolled back"), (status = 404, description = "No such model"),
              (status = 409, description = "There is nothing to go back to, or it cannot be loaded")))]
pub async fn roll_back(
    caller: Caller<ModelsManage>,
    app: web::Data<App>,
    name: Name,
) -> Result<HttpResponse> {
    changed(app, caller, name, ModelChange::RollBack).await
}

async fn changed(
    app: web::Data<App>,
    caller: Caller<ModelsManage>,
    name: Name,
    change: ModelChange,
) -> Result<HttpResponse> {
    model_acts::change(app, caller, name.0, change).await?;
    Ok(HttpResponse::NoContent().finish())
}
