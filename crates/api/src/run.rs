//! A run of a model: its caller's quotas are asked first, and it is charged when its answer is ready.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use inference::{Model, Timing};

use crate::app::App;
use crate::error::{ApiError, Result};
use crate::guard::Caller;
use crate::guard::permission::ModelsInfer;
use crate::metering::{Metering, User, Work};
use crate::telemetry::series;
use crate::transport::connections;

/// A run that the caller's quotas allow.
#[must_use]
pub struct Run<'a> {
    charge: Option<Charge<'a>>,
}

impl App {
    /// Asks the caller's quotas for a run of a model.
    pub async fn begin_run<'a>(
        &'a self,
        caller: &'a Caller<ModelsInfer>,
        model: &'a Model,
        work: Work,
    ) -> Result<Run<'a>> {
        caller.demand(work.demand(model), self.auth.now()).await?;
        let user = User {
            principal: &caller.principal,
            address: caller.origin.address,
            lease: caller.lease.as_deref(),
        };
        let charge =
            Charge { metering: &self.metering, user, model, work, compute: Duration::ZERO, is_due: false };
        Ok(Run { charge: Some(charge) })
    }
}

impl<'a> Run<'a> {
    /// Waits for the answer until the deadline, or until `closed` says that nobody waits for it any more, and passes it
    /// on with what it costs. A run that failed is charged to nobody. No async function: that would hold the run twice.
    pub fn answer<Answer>(
        self,
        deadline: Instant,
        closed: impl Future<Output = ()>,
        run: impl Future<Output = std::result::Result<Answer, inference::Error>>,
        timing: impl FnOnce(&Answer) -> Timing,
    ) -> impl Future<Output = Result<(Answer, Charge<'a>)>> {
        let answered = App::in_time(deadline, connections::unless_closed(closed, run));
        answered.map(move |answer| self.ended(answer, timing))
    }

    fn ended<Answer>(
        mut self,
        answer: std::result::Result<Answer, inference::Error>,
        timing: impl FnOnce(&Answer) -> Timing,
    ) -> Result<(Answer, Charge<'a>)> {
        let mut charge = self.charge.take().ok_or_else(|| ApiError::internal("a run ended twice"))?;
        let timing = answer.as_ref().map(timing);
        series::count_inference(charge.model, timing.as_ref().map_err(|error| *error));
        charge.compute = timing.map_or(Duration::ZERO, |timing| timing.share);
        Ok((answer?, charge))
    }
}

impl Drop for Run<'_> {
    /// One that is dropped while it runs is one that its client gave up, or the end of the server.
    fn drop(&mut self) {
        if let Some(charge) = &self.charge {
            series::count_inference(charge.model, Err(&inference::Error::CallerLeft));
        }
    }
}

/// What a run costs. Until it is taken, or where it never is, the call counts as a failure, which is charged to nobody:
/// so it is with an answer that is too large, cannot be written, or that nobody waits for any more.
#[must_use]
pub struct Charge<'a> {
    metering: &'a Metering,
    user: User<'a>,
    model: &'a Model,
    work: Work,
    compute: Duration,
    is_due: bool,
}

impl Charge<'_> {
    /// To be called when the answer is ready to be sent.
    pub fn take(mut self) {
        self.is_due = true;
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        let compute = self.is_due.then_some(self.compute);
        self.metering.note(&self.user, self.model, self.work, compute);
    }
}
