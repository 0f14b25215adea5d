//! One line in the access log and one count for each call, also for one that its client gave up.

use std::sync::Arc;
use std::time::Instant;

use actix_web::web;
use tonic::Code as GrpcCode;
use uuid::Uuid;

use super::status::grpc_code;
use crate::app::App;
use crate::detection::count;
use crate::error::Code;
use crate::request_context::RequestContext;
use crate::telemetry::access_log::{self, Entry};
use crate::telemetry::series;

/// The status of a call that was given up by its client; HTTP has none, and logs agree on this one.
const GIVEN_UP: u16 = 499;

/// Written when it is dropped.
pub struct Record {
    app: web::Data<App>,
    context: Arc<RequestContext>,
    /// As the table has it: a metric must not grow with what clients make up.
    endpoint: &'static str,
    account: Option<Uuid>,
    deadline: Option<Instant>,
    outcome: Option<Result<(), Code>>,
    given_up: bool,
}

impl Record {
    /// Of a call that just arrived.
    pub fn new(
        app: web::Data<App>,
        context: Arc<RequestContext>,
        endpoint: Option<&'static str>,
        deadline: Option<Instant>,
    ) -> Self {
        Self {
            app,
            context,
            endpoint: endpoint.unwrap_or("unknown"),
            account: None,
            deadline,
            outcome: None,
            given_up: false,
        }
    }

    /// Whose call it is.
    pub fn belongs_to(&mut self, account: Option<Uuid>) {
        self.account = account;
    }

    /// How it went, unless nobody waits for that any more.
    pub fn ended(&mut self, outcome: Result<(), Code>) {
        if !self.given_up {
            self.outcome = Some(outcome);
        }
    }

    /// Its client gave it up.
    pub fn given_up(&mut self) {
        self.given_up = true;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let is_late = self.deadline.is_some_and(|deadline| deadline <= Instant::now());
        let (status, code) = match self.outcome {
            Some(Ok(())) => (200, GrpcCode::Ok),
            Some(Err(code)) => (code.status(), grpc_code(code)),
            None if is_late => (504, GrpcCode::DeadlineExceeded),
            None => (GIVEN_UP, GrpcCode::Cancelled),
        };
        series::count_answer(self.endpoint, "gRPC", status);
        let took = self.context.arrived.elapsed();
        count(&self.app, self.context.address, self.endpoint, took, &self.context.id);
        access_log::write(&Entry {
            at: self.app.auth.now(),
            request_id: &self.context.id,
            method: "gRPC",
            path: self.endpoint,
            status,
            grpc_status: Some(&format!("{code:?}")),
            took,
            client: self.context.address,
            account: self.account,
        });
    }
}
