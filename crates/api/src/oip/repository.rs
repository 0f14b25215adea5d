//! The protocol's model repository extension: index, load, unload.

use actix_web::web;
use auth::{ModelChange, Principal};
use inference::{ModelStatus, State};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::object::Object;
use super::rest::V2Error;
use crate::app::App;
use crate::error::{ApiError, Code, Result};
use crate::extract::{InferBody, Name, unreadable};
use crate::guard::Caller;
use crate::guard::permission::{ModelsManage, ModelsRead};
use crate::model_acts;
use crate::schema_names::IndexState;

/// Longest body of a load or unload, in bytes: it holds a few parameters at most.
const MAX_BODY: usize = 64 << 10;

/// Which models to list.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct IndexRequest {
    /// True: only those that are ready; otherwise all.
    ready: Option<bool>,
}

/// One line of `POST /v2/repository/index`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct IndexEntry {
    /// Name of the model.
    pub name: String,
    /// The version; absent where the model has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Whether it can be called.
    #[schema(value_type = IndexState)]
    pub state: String,
    /// Why it is not ready; empty where it is.
    pub reason: String,
}

impl From<ModelStatus> for IndexEntry {
    fn from(status: ModelStatus) -> Self {
        let state = status.state.name().to_ascii_uppercase();
        Self { name: status.name, version: status.version, state, reason: status.reason.unwrap_or_default() }
    }
}

/// The body of a load or unload.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct RepositoryRequest {
    /// `config` and files are refused: what a model is, is in the repository only.
    #[serde(default)]
    #[schema(value_type = Object)]
    parameters: Option<Map<String, Value>>,
}

/// The answer to a load.
#[derive(Debug, Serialize, ToSchema)]
pub struct Loaded {
    /// Name of the model.
    name: String,
    /// Always true.
    load: bool,
}

/// The answer to an unload.
#[derive(Debug, Serialize, ToSchema)]
pub struct Unloaded {
    /// Name of the model.
    name: String,
    /// Always true.
    unload: bool,
}

/// The models that the caller may use. The body may be empty.
#[utoipa::path(post, path = "/v2/repository/index", tag = "v2", request_body = Option<IndexRequest>,
    responses((status = 200, body = Vec<IndexEntry>)))]
pub async fn index(
    caller: Caller<ModelsRead>,
    app: web::Data<App>,
    body: InferBody<MAX_BODY>,
) -> Result<web::Json<Vec<IndexEntry>>> {
    let request: IndexRequest = read(&body)?;
    Ok(web::Json(app.index_for(&caller.principal, request.ready.unwrap_or(false))))
}

impl App {
    /// The models that the caller may use, on request only those that are ready.
    pub fn index_for(&self, principal: &Principal, only_ready: bool) -> Vec<IndexEntry> {
        let models = self.models_for(principal).into_iter();
        models.filter(|model| !only_ready || model.state == State::Ready).map(IndexEntry::from).collect()
    }
}

/// Load a model, or load it afresh, on every replica; what answers goes on until the new one can. The body may be
/// empty.
#[utoipa::path(post, path = "/v2/repository/models/{name}/load", tag = "v2", params(("name" = String, Path)),
    request_body = Option<RepositoryRequest>,
    responses((status = 200, body = Loaded), (status = 404, body = V2Error, description = "No such model"),
              (status = 409, body = V2Error, description = "It cannot be loaded; what was served is served")))]
pub async fn load(
    caller: Caller<ModelsManage>,
    app: web::Data<App>,
    name: Name,
    body: InferBody<MAX_BODY>,
) -> Result<web::Json<Loaded>> {
    check(&body)?;
    model_acts::change(app, caller, name.0.clone(), ModelChange::Load { accept_changes: false }).await?;
    Ok(web::Json(Loaded { name: name.0, load: true }))
}

/// Unload a model on every replica; calls that it has are answered. The body may be empty.
#[utoipa::path(post, path = "/v2/repository/models/{name}/unload", tag = "v2", params(("name" = String, Path)),
    request_body = Option<RepositoryRequest>,
    responses((status = 200, body = Unloaded), (status = 404, body = V2Error, description = "No such model"),
              (status = 409, body = V2Error, description = "Somebody else changed it meanwhile")))]
pub async fn unload(
    caller: Caller<ModelsManage>,
    app: web::Data<App>,
    name: Name,
    body: InferBody<MAX_BODY>,
) -> Result<web::Json<Unloaded>> {
    check(&body)?;
    model_acts::change(app, caller, name.0.clone(), ModelChange::Unload).await?;
    Ok(web::Json(Unloaded { name: name.0, unload: true }))
}

fn read<T: Default + serde::de::DeserializeOwned>(body: &InferBody<MAX_BODY>) -> Result<T> {
    match body.0.as_ref() {
        [] => Ok(T::default()),
        bytes => {
            let read: Object<T> = serde_json::from_slice(bytes).map_err(|error| unreadable(&error))?;
            Ok(read.0)
        }
    }
}

/// Clients of the protocol may bring a configuration and whole files. Here they would let a request put what it likes
/// in the place of a model, past its checksums; models come by way of the repository only.
fn check(body: &InferBody<MAX_BODY>) -> Result<()> {
    let request: RepositoryRequest = read(body)?;
    refuse_files(request.parameters.unwrap_or_default().keys())
}

/// Refuses parameters of a load or unload that bring what is to be loaded.
pub fn refuse_files<'a>(mut parameters: impl Iterator<Item = &'a String>) -> Result<()> {
    let brought = |name: &&String| *name == "config" || name.starts_with("file:");
    match parameters.find(brought) {
        Some(_) => Err(ApiError::new(
            Code::InvalidInput,
            "A load takes no config and no files: put the model into the repository, then load it.",
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use inference::{Access, State};
    use serde_json::json;

    use super::*;

    #[test]
    fn an_index_line_leaves_out_a_version_that_is_not_there() {
        let status = ModelStatus {
            name: "m".to_owned(),
            version: String::new(),
            state: State::Unavailable,
            reason: Some("there is no version".to_owned()),
            required: false,
            access: Access::Everyone,
            sha256: None,
            active: false,
            setback: None,
        };
        let line = serde_json::to_value(IndexEntry::from(status)).unwrap();
        assert_eq!(line, json!({"name": "m", "state": "UNAVAILABLE", "reason": "there is no version"}));
    }
}
