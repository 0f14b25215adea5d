//! What models did since they were loaded (the protocol's `statistics` extension).
//!
//! The numbers are all callers' together, for those who may use the model: how busy it is, never with whom.

use actix_web::web;
use auth::Principal;
use inference::{BatchStatistics, Measure, Model, ModelStatus, State, Statistics};
use serde::Serialize;
use utoipa::ToSchema;

use super::rest::V2Error;
use crate::app::App;
use crate::error::Result;
use crate::extract::{ModelVersion, Name};
use crate::guard::Caller;
use crate::guard::permission::ModelsRead;

/// The statistics of one or more versions.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelStatistics {
    /// One for each version.
    pub model_stats: Vec<VersionStatistics>,
}

/// What a version did since this server loaded it.
#[derive(Debug, Serialize, ToSchema)]
pub struct VersionStatistics {
    /// Name of the model.
    pub name: String,
    /// The version.
    pub version: String,
    /// When the last call was answered, in milliseconds since 1970; 0 for never.
    pub last_inference: u64,
    /// Rows that were computed; answers from a cache do not count.
    pub inference_count: u64,
    /// Runs of the model; calls that ran together count once.
    pub execution_count: u64,
    /// Calls by how they ended.
    pub inference_stats: InferenceStatistics,
    /// Always empty: no model answers with a stream.
    #[schema(value_type = Object)]
    response_stats: Nothing,
    /// By the number of rows in a run.
    pub batch_stats: Vec<BatchView>,
    /// Always empty.
    #[schema(value_type = Vec<Object>)]
    memory_usage: [(); 0],
}

/// An object without members.
#[derive(Debug, Serialize)]
struct Nothing {}

/// Calls by how they ended and where their time went.
#[derive(Debug, Serialize, ToSchema)]
pub struct InferenceStatistics {
    /// Answered well, cached answers included.
    pub success: StatisticDuration,
    /// Fitting the model, but refused by its queue, late, given up or failed.
    pub fail: StatisticDuration,
    /// Waiting.
    pub queue: StatisticDuration,
    /// Handing over inputs.
    pub compute_input: StatisticDuration,
    /// Running.
    pub compute_infer: StatisticDuration,
    /// Taking outputs.
    pub compute_output: StatisticDuration,
    /// Answered from a cache.
    pub cache_hit: StatisticDuration,
    /// Looked for in a cache in vain.
    pub cache_miss: StatisticDuration,
}

/// The runs of so many rows.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchView {
    /// Rows in each.
    pub batch_size: u64,
    /// Handing over inputs.
    pub compute_input: StatisticDuration,
    /// Running.
    pub compute_infer: StatisticDuration,
    /// Taking outputs.
    pub compute_output: StatisticDuration,
}

/// How often, and how long in all.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatisticDuration {
    /// How often.
    pub count: u64,
    /// Nanoseconds.
    pub ns: u64,
}

impl From<Measure> for StatisticDuration {
    fn from(Measure { count, time }: Measure) -> Self {
        Self { count, ns: u64::try_from(time.as_nanos()).unwrap_or(u64::MAX) }
    }
}

impl From<&BatchStatistics> for BatchView {
    fn from(batch: &BatchStatistics) -> Self {
        Self {
            batch_size: batch.rows,
            compute_input: batch.compute_input.into(),
            compute_infer: batch.compute_infer.into(),
            compute_output: batch.compute_output.into(),
        }
    }
}

impl From<&Statistics> for InferenceStatistics {
    fn from(counted: &Statistics) -> Self {
        Self {
            success: counted.success.into(),
            fail: counted.fail.into(),
            queue: counted.queue.into(),
            compute_input: counted.compute_input.into(),
            compute_infer: counted.compute_infer.into(),
            compute_output: counted.compute_output.into(),
            cache_hit: counted.cache_hit.into(),
            cache_miss: counted.cache_miss.into(),
        }
    }
}

impl App {
    /// What the models did that a caller may use: all of them, one, or one version of it.
    pub fn statistics_for(
        &self,
        principal: &Principal,
        name: Option<&str>,
        version: Option<&str>,
    ) -> Result<ModelStatistics> {
        let version = name.and(version);
        let is_wanted = |status: &ModelStatus| {
            status.state == State::Ready
                && name.is_none_or(|name| name == status.name)
                && version.is_none_or(|version| version == status.version)
        };
        let wanted = self.models_for(principal).into_iter().filter(is_wanted);
        let mut models: Vec<_> = wanted
            .filter_map(|status| self.registry.find(&status.name, Some(&status.version)).ok())
            .collect();
        if let (Some(name), true) = (name, models.is_empty()) {
            // The error says whether there is no such model or it is not served.
            models.push(self.model_for(principal, name, version)?);
        }
        Ok(ModelStatistics { model_stats: models.iter().map(|model| self.statistics(model)).collect() })
    }

    fn statistics(&self, model: &Model) -> VersionStatistics {
        let counted = model.statistics();
        let when = |last: std::time::Instant| {
            let now = self.store.clock().now().timestamp_millis();
            let ago = i64::try_from(last.elapsed().as_millis()).unwrap_or(i64::MAX);
            u64::try_from(now.saturating_sub(ago)).unwrap_or(0)
        };
        VersionStatistics {
            name: model.name().to_owned(),
            version: model.version().to_owned(),
            last_inference: counted.last_inference.map_or(0, when),
            inference_count: counted.inference_count,
            execution_count: counted.execution_count,
            inference_stats: (&counted).into(),
            response_stats: Nothing {},
            batch_stats: counted.batches.iter().map(Into::into).collect(),
            memory_usage: [],
        }
    }
}

/// What every model did that the caller may use.
#[utoipa::path(get, path = "/v2/models/stats", tag = "v2", responses((status = 200, body = ModelStatistics)))]
pub async fn all(caller: Caller<ModelsRead>, app: web::Data<App>) -> Result<web::Json<ModelStatistics>> {
    Ok(web::Json(app.statistics_for(&caller.principal, None, None)?))
}

/// What a model did, each of its versions that are served.
#[utoipa::path(get, path = "/v2/models/{name}/stats", tag = "v2", params(("name" = String, Path)),
    responses((status = 200, body = ModelStatistics), (status = 404, body = V2Error, description = "No such model")))]
pub async fn of_model(
    caller: Caller<ModelsRead>,
    app: web::Data<App>,
    name: Name,
) -> Result<web::Json<ModelStatistics>> {
    Ok(web::Json(app.statistics_for(&caller.principal, Some(&name.0), None)?))
}

/// What a version of a model did.
#[utoipa::path(get, path = "/v2/models/{name}/versions/{version}/stats", tag = "v2",
    params(("name" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = ModelStatistics), (status = 404, body = V2Error, description = "No such version")))]
pub async fn of_version(
    caller: Caller<ModelsRead>,
    app: web::Data<App>,
    name: Name,
    version: ModelVersion,
) -> Result<web::Json<ModelStatistics>> {
    Ok(web::Json(app.statistics_for(&caller.principal, Some(&name.0), Some(&version.0))?))
}
