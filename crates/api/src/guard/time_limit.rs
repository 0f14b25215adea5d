//! How long a request may take, whatever it waits for: no store and no model makes one hang.

use std::time::{Duration, Instant};

use auth::LimitClass;
use chrono::TimeDelta;
use futures_util::FutureExt;

use crate::app::App;
use crate::error::{ApiError, Code, Result};
use crate::transport::connections::LONGEST_REQUEST;

/// How long an export may be on its way: one whose reader is too slow breaks off then.
pub const EXPORT_TIME: TimeDelta = TimeDelta::hours(1);

/// How long a handler may take until its answer begins. What an answer streams from then on has bounds
/// of its own, such as [`EXPORT_TIME`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeLimit {
    /// `REQUEST_TIMEOUT_SECONDS` from the request's arrival, what its guards took included.
    Prompt,
    /// As long as its file may take to arrive, and `REQUEST_TIMEOUT_SECONDS` for the rest.
    Upload,
    /// As long as its body may take to arrive, and `INFER_TIMEOUT_SECONDS`. It has a finer deadline of its own, which
    /// is over before.
    Inference,
    /// Models are received, tried and loaded: [`LONGEST_REQUEST`].
    Long,
}

impl TimeLimit {
    /// That of a route about which nothing else is said.
    pub const fn of(class: LimitClass) -> Self {
        match class {
            LimitClass::Infer => Self::Inference,
            _ => Self::Prompt,
        }
    }

    /// Until when a request may take that arrived then and was let in now.
    pub fn until(self, app: &App, arrived: Instant) -> Instant {
        let settings = &app.settings;
        let body = settings.sizes.body_timeout();
        match self {
            Self::Prompt => arrived + settings.program.request_timeout(),
            Self::Upload => Instant::now() + body + settings.program.request_timeout(),
            Self::Inference => {
                Instant::now() + body + Duration::from_secs(settings.models.infer_timeout_seconds)
            }
            Self::Long => Instant::now() + LONGEST_REQUEST,
        }
    }
}

/// Does something for a request until its time is over. Given up, a transaction is rolled back unless its
/// `COMMIT` was sent already, so that a change may have happened or not; the answer says so. No async function: that
/// would hold the work twice, as it came and as it runs.
pub fn in_time<T>(
    until: Instant,
    changes: bool,
    work: impl Future<Output = T>,
) -> impl Future<Output = Result<T>> {
    tokio::time::timeout_at(until.into(), work).map(move |done| done.map_err(|_| late(changes)))
}

fn late(changes: bool) -> ApiError {
    let detail = if changes {
        "This took too long and was given up. Whether anything was changed is not known: look before you send it again."
    } else {
        "This took too long and was given up; try again shortly."
    };
    ApiError::new(Code::DeadlineExceeded, detail)
}
