//! The watch over a model's sessions: a thread that answers calls whose deadline has passed, and interrupts runs nobody
//! waits for any more.

use std::{
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use super::worker::{Session, Shared};
use crate::error::Error;

/// How often the watch looks, which is how late a deadline may be noticed.
pub(super) const TICK: Duration = Duration::from_millis(20);
/// How long the watch keeps looking after the last request before it sleeps.
const IDLE_TICKS: u32 = 50;

impl Shared {
    /// Looks until the pool is closed and nothing runs; sleeps where there is nothing to see.
    pub(super) fn watch(&self) {
        let mut idle = 0;
        loop {
            if self.look() {
                idle = 0;
            } else if self.closed.load(Ordering::SeqCst) {
                return;
            } else {
                idle += 1;
            }
            if idle < IDLE_TICKS {
                thread::park_timeout(TICK);
                continue;
            }
            // First the flag, then one more look: a job that arrives in between wakes the watch.
            self.watch_sleeps.store(true, Ordering::SeqCst);
            if self.queue.len() == 0 && !self.closed.load(Ordering::SeqCst) {
                thread::park();
            }
            self.watch_sleeps.store(false, Ordering::SeqCst);
            idle = 0;
        }
    }

    /// Ends calls that are late or abandoned, and returns whether anything waits or runs.
    fn look(&self) -> bool {
        let now = Instant::now();
        for mut job in self.queue.remove(|job| job.waiting.is_over(now)) {
            job.waiting.answer(Err(Error::Deadline));
        }
        let waits = self.queue.wake() > 0;
        self.sessions.iter().fold(waits, |busy, session| self.look_at(session, now) || busy)
    }

    /// The same for one session's run; the others of the run go on.
    fn look_at(&self, session: &Session, now: Instant) -> bool {
        let mut current = session.current.lock();
        let late = current.waiting.iter_mut().filter(|waiting| now >= waiting.deadline);
        late.for_each(|waiting| waiting.answer(Err(Error::Deadline)));
        if current.is_over(now) {
            session.interrupt();
            if current.became_overdue(now) {
                self.recorder.overdue();
                tracing::error!(
                    model = self.name,
                    "a run that nobody waits for goes on although it was interrupted; its session serves nobody until it ends"
                );
            }
        }
        !current.waiting.is_empty()
    }
}
