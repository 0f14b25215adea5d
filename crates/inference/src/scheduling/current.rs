//! The current run of a session, as the watch sees it: who waits for it, and whether it should be interrupted.

use std::time::{Duration, Instant};

use super::job::Waiting;

/// How long an interrupted run may take to notice it.
pub(super) const INTERRUPTED: Duration = Duration::from_secs(2);

/// The run that a session is busy with.
#[derive(Default)]
pub(super) struct Current {
    /// Those who wait for the run; none between runs.
    pub(crate) waiting: Vec<Waiting>,
    /// When it was interrupted first.
    interrupted: Option<Instant>,
    is_overdue: bool,
}

impl Current {
    /// A run that begins.
    pub(super) fn of(waiting: Vec<Waiting>) -> Self {
        Self { waiting, ..Self::default() }
    }

    /// Whether nobody waits for the run any more.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        !self.waiting.is_empty() && self.waiting.iter().all(|waiting| waiting.is_over(now))
    }

    /// Notes that the run was interrupted; true once, when it has gone on for too long since.
    pub(super) fn became_overdue(&mut self, now: Instant) -> bool {
        let since = *self.interrupted.get_or_insert(now);
        let became = !self.is_overdue && now.saturating_duration_since(since) >= INTERRUPTED;
        self.is_overdue |= became;
        became
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduling::{job::Job, ticket::Ticket};

    #[test]
    fn a_run_that_heeds_no_interruption_is_told_once() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let ticket = Ticket { caller: 1, priority: 3, deadline: start + second };
        let (job, _answer) = Job::new(Vec::new(), Vec::new(), 1, start, ticket);
        let mut current = Current::of(vec![job.waiting]);
        assert!(!current.is_over(start) && !Current::default().is_over(start + second));
        let interrupted = start + second;
        assert!(current.is_over(interrupted));
        let reported = [0, 1, 2, 3].map(|seconds| current.became_overdue(interrupted + second * seconds));
        assert_eq!(reported, [false, false, true, false]);
    }
}
