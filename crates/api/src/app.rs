//! The state that handlers share: one value, made once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actix_web::{HttpRequest, web};
use auth::{Auth, OperatingMode, Principal};
use futures_util::FutureExt;
use inference::{Access, Model, ModelStatus, Registry, State, Ticket};
use metrics_exporter_prometheus::PrometheusHandle;
use storage::{Ephemeral, ModelAccess, Store};
use tokio::sync::Semaphore;

use crate::error::{ApiError, Code, Result};
use crate::lifecycle::Lifecycle;
use crate::metering::Metering;
use crate::outgoing::{Alerter, Challenge, Mailer};
use crate::seals::KeptSeals;
use crate::settings::{Registration, Settings};
use crate::transport::Bodies;

/// What handlers share.
pub struct App {
    /// The settings in force.
    pub settings: Settings,
    /// Identity, access and limits.
    pub auth: Arc<Auth>,
    /// Durable state.
    pub store: Store,
    /// Ephemeral state.
    pub ephemeral: Ephemeral,
    /// The models.
    pub registry: Registry,
    /// How far they have reached their desired state.
    pub lifecycle: Lifecycle,
    /// The room for large bodies.
    pub bodies: Bodies,
    /// The usage ledger.
    pub metering: Metering,
    /// The metrics of this process.
    pub metrics: PrometheusHandle,
    /// Places for those who read the audit trail at length.
    pub audit_readers: Arc<Semaphore>,
    /// Where seals of the audit trail are kept.
    pub seals: KeptSeals,
    /// Sends mail, where that is set up.
    pub mailer: Option<Mailer>,
    /// Sends alerts.
    pub alerter: Alerter,
    /// Verifies challenges (CAPTCHA), where that is set up.
    pub challenge: Option<Challenge>,
    /// What the background tasks found.
    pub known_health: KnownHealth,
}

/// The state of the server and its stores, as the background tasks last saw it.
#[derive(Debug, Default)]
pub struct KnownHealth {
    /// The server is stopping.
    pub draining: AtomicBool,
    /// The database did not answer the last probe.
    pub database_lost: AtomicBool,
    /// Redis did not answer the last probe.
    pub redis_lost: AtomicBool,
}

impl App {
    /// The state of the application that a request came to.
    pub fn of(request: &HttpRequest) -> Result<web::Data<Self>> {
        request
            .app_data::<web::Data<Self>>()
            .cloned()
            .ok_or_else(|| ApiError::internal("the app has no state"))
    }

    /// Whether people may register.
    pub fn registration(&self) -> Registration {
        let default =
            if self.settings.program.is_production() { Registration::Closed } else { Registration::Open };
        self.settings.tokens.registration.unwrap_or(default)
    }

    /// The models that the caller may see.
    pub fn models_for(&self, principal: &Principal) -> Vec<ModelStatus> {
        let visible =
            |status: &ModelStatus| self.auth.may_use_model(principal, &status.name, declared(status.access));
        self.registry.models().into_iter().filter(visible).collect()
    }

    /// A model that the caller may use; any other does not exist for them.
    pub fn model_for(&self, principal: &Principal, name: &str, version: Option<&str>) -> Result<Arc<Model>> {
        self.require_model(principal, name)?;
        Ok(self.registry.find(name, version)?)
    }

    /// Refuses a model that the caller may not use, in the same words as one that is not there.
    pub fn require_model(&self, principal: &Principal, name: &str) -> Result<()> {
        let access = self.registry.access(name);
        if access.is_some_and(|access| self.auth.may_use_model(principal, name, declared(access))) {
            return Ok(());
        }
        Err(inference::Error::no_such_model(name).into())
    }

    /// Whether a model that the caller may use can be called.
    pub fn model_ready(&self, principal: &Principal, name: &str, version: Option<&str>) -> Result<bool> {
        match self.model_for(principal, name, version) {
            Ok(_) => Ok(true),
            Err(error) if error.code == Code::ModelUnavailable => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What a model's own file says of who may use it; nobody without a grant where that was not read yet, or is gone.
    pub async fn declared_access(&self, principal: &Principal, name: &str) -> Result<ModelAccess> {
        require_reach(principal, name)?;
        match self.registry.access(name) {
            Some(access) => Ok(declared(access)),
            None if self.registry.has(name) || self.auth.has_model_policy(name).await? => {
                Ok(ModelAccess::Granted)
            }
            None => Err(inference::Error::no_such_model(name).into()),
        }
    }

    /// The ticket of a request: its caller and its deadline, which counts from its arrival, its body included.
    pub fn ticket(&self, principal: &Principal, arrived: Instant) -> Ticket {
        Ticket { caller: principal.account.as_u64_pair().1, priority: 0, deadline: self.deadline(arrived) }
    }

    /// Until when an inference that arrived then is worked on.
    pub fn deadline(&self, arrived: Instant) -> Instant {
        arrived + Duration::from_secs(self.settings.models.infer_timeout_seconds)
    }

    /// Waits for the model no longer than the ticket says, whatever the model is in the middle of. No async function:
    /// that would hold the run twice, as it came and as it goes.
    pub fn in_time<Answer>(
        deadline: Instant,
        run: impl Future<Output = std::result::Result<Answer, inference::Error>>,
    ) -> impl Future<Output = std::result::Result<Answer, inference::Error>> {
        let answered = tokio::time::timeout_at(deadline.into(), run);
        answered.map(|answer| answer.unwrap_or(Err(inference::Error::Deadline)))
    }

    /// Whether there are models and all of them can be used, whatever is being loaded or unloaded beside that.
    pub fn models_loaded(&self) -> bool {
        let models = self.registry.models();
        !models.is_empty()
            && models.iter().all(|model| model.state != State::Unavailable)
            && self.registry.unanswering().next().is_none()
    }

    /// The operating mode, unless the service is open to everyone. Stopping counts as draining.
    pub fn mode(&self) -> Option<OperatingMode> {
        if self.known_health.draining.load(Ordering::Relaxed) {
            return Some(OperatingMode::Draining);
        }
        Some(self.auth.operation().mode).filter(|mode| *mode != OperatingMode::Off)
    }

    /// Whether requests may be sent here.
    pub fn is_ready(&self) -> bool {
        self.mode() != Some(OperatingMode::Draining)
            && !self.auth.is_isolated()
            && !self.registry.unanswering().any(|required| required)
    }

    /// The dependencies that are missing while the server works on.
    pub fn degraded(&self) -> Vec<&'static str> {
        let lost = |flag: &AtomicBool, name| flag.load(Ordering::Relaxed).then_some(name);
        [
            lost(&self.known_health.database_lost, "database"),
            lost(&self.known_health.redis_lost, "redis"),
            (!self.models_loaded()).then_some("models"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Refuses a model to a key that is narrowed to others, in the same words as one that is not there.
pub fn require_reach(principal: &Principal, name: &str) -> Result<()> {
    if principal.reaches(name) { Ok(()) } else { Err(inference::Error::no_such_model(name).into()) }
}

/// What a model's own file says, as administrators' settings are named.
pub fn declared(access: Access) -> ModelAccess {
    match access {
        Access::Everyone => ModelAccess::Everyone,
        Access::Granted => ModelAccess::Granted,
    }
}
