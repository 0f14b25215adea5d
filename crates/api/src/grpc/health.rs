//! `grpc.health.v1`: what `/health/ready` says over HTTP. Public, and counted by no limit.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::{Request, Response, Status};

use super::proto::health::health_check_response::ServingStatus;
use super::proto::health::{HealthCheckRequest, HealthCheckResponse, health_server};
use super::status::refuse;
use crate::app::App;
use crate::error::{ApiError, Code};

/// The services that one may ask about; the empty name is the server as a whole.
const SERVICES: [&str; 3] = ["", "inference.GRPCInferenceService", "grpc.health.v1.Health"];
/// How often those who watch are looked after.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Most who watch at a time. Anyone may, so there is a bound.
const MAX_WATCHES: usize = 64;

/// How the server is.
#[derive(Clone)]
pub struct Health {
    app: web::Data<App>,
    /// True when the last answers are given: those who watch are in nobody's way then.
    stopping: watch::Receiver<bool>,
    watches: Arc<Semaphore>,
}

impl Health {
    /// Of this server, until it stops.
    pub fn new(app: web::Data<App>, stopping: watch::Receiver<bool>) -> Self {
        Self { app, stopping, watches: Arc::new(Semaphore::new(MAX_WATCHES)) }
    }

    fn status(&self, is_known: bool) -> ServingStatus {
        match (is_known, self.app.is_ready()) {
            (false, _) => ServingStatus::ServiceUnknown,
            (true, true) => ServingStatus::Serving,
            (true, false) => ServingStatus::NotServing,
        }
    }
}

/// A client that watches the health.
struct Watch {
    health: Health,
    is_known: bool,
    reported: Option<ServingStatus>,
    _place: OwnedSemaphorePermit,
}

impl Watch {
    /// Waits for a status that was not reported yet; none when the server stops.
    async fn next(mut self) -> Option<(Result<HealthCheckResponse, Status>, Self)> {
        loop {
            let status = self.health.status(self.is_known);
            if self.reported != Some(status) {
                self.reported = Some(status);
                return Some((Ok(HealthCheckResponse { status: status.into() }), self));
            }
            let stopped = self.health.stopping.wait_for(|stopping| *stopping);
            if tokio::time::timeout(LOOK_INTERVAL, stopped).await.is_ok() {
                return None;
            }
        }
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !SERVICES.contains(&request.get_ref().service.as_str()) {
            return Err(refuse(ApiError::new(Code::NotFound, "There is no such service here.")));
        }
        Ok(Response::new(HealthCheckResponse { status: self.status(true).into() }))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let full = |_| {
            refuse(ApiError::new(
                Code::Overloaded,
                "Too many clients watch the server's health; poll it instead.",
            ))
        };
        let place = Arc::clone(&self.watches).try_acquire_owned().map_err(full)?;
        let is_known = SERVICES.contains(&request.get_ref().service.as_str());
        let watch = Watch { health: self.clone(), is_known, reported: None, _place: place };
        Ok(Response::new(Box::pin(unfold(watch, Watch::next))))
    }
}
