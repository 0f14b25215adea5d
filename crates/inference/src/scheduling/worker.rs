//! A session's thread: takes the calls that go together, runs the model once for them, and answers each.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    batching::{Batching, NOT_BY_ROWS},
    current::Current,
    job::{Call, Job, Waiting},
    queue::Queue,
    short_runs::ShortRuns,
    ticket::Timing,
};
use crate::{
    engine::{Engine, Failure, Interrupt, RunOutput},
    error::Error,
    memory,
    statistics::Recorder,
    tensor::Tensor,
};

/// What the threads of a pool share.
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) recorder: Arc<Recorder>,
    pub(super) queue: Queue<Job>,
    pub(super) batching: Batching,
    pub(super) short_runs: ShortRuns,
    pub(super) sessions: Vec<Session>,
    /// Workers that have not ended.
    pub(super) working: AtomicUsize,
    pub(super) watch_sleeps: AtomicBool,
    pub(super) closed: AtomicBool,
}

/// What a worker does now, and how to stop it.
pub(super) struct Session {
    /// Held by whoever runs; none once the worker has ended.
    engine: Mutex<Option<Box<dyn Engine>>>,
    interrupt: Arc<dyn Interrupt>,
    pub(super) current: Mutex<Current>,
}

impl Session {
    pub(super) fn new(engine: Box<dyn Engine>) -> Self {
        let interrupt = engine.interrupt();
        Self { engine: Mutex::new(Some(engine)), interrupt, current: Mutex::default() }
    }

    /// Makes its run fail as soon as the runtime looks.
    pub(super) fn interrupt(&self) {
        self.interrupt.raise();
    }
}

impl Shared {
    /// Serves what is queued until the pool is closed and its queue empty.
    pub(super) fn work(&self, session: &Session) {
        loop {
            let jobs = self.queue.take(&self.batching);
            let Some(caller) = jobs.first().map(|job| job.call.caller) else { break };
            if let Some(engine) = session.engine.lock().as_deref_mut() {
                self.serve(session, engine, jobs);
            }
            self.queue.done(caller);
        }
        drop(session.engine.lock().take());
        if self.working.fetch_sub(1, Ordering::SeqCst) == 1 {
            memory::give_back();
        }
    }

    /// Runs a job on this thread if nobody waits and a session is free; gives it back if not.
    pub(super) fn run_at_once(&self, job: Job) -> Option<Job> {
        let caller = job.call.caller;
        if !self.queue.try_bypass(caller) {
            return Some(job);
        }
        let mut job = Some(job);
        for session in &self.sessions {
            if let Some(mut held) = session.engine.try_lock()
                && let Some(engine) = held.as_deref_mut()
            {
                self.serve(session, engine, job.take().into_iter().collect());
                break;
            }
        }
        self.queue.done(caller);
        job
    }

    /// Answers jobs that go together.
    fn serve(&self, session: &Session, engine: &mut dyn Engine, jobs: Vec<Job>) {
        let started = Instant::now();
        let (mut late, jobs): (Vec<_>, Vec<_>) =
            jobs.into_iter().partition(|job| job.waiting.is_over(started));
        late.iter_mut().for_each(|job| job.waiting.answer(Err(Error::Deadline)));
        if jobs.is_empty() {
            return;
        }
        let (calls, waiting): (Vec<_>, Vec<_>) = jobs.into_iter().map(|job| (job.call, job.waiting)).unzip();
        let (waiting, result) = self.run(session, engine, &calls, waiting);
        match result.and_then(|ran| self.checked(ran, engine, &calls)) {
            Ok(ran) => {
                if let ([call], [outputs]) = (calls.as_slice(), ran.outputs.as_slice()) {
                    let of = (call.inputs.as_slice(), call.outputs.as_slice());
                    self.batching.look(&self.name, engine.outputs(), of, outputs);
                    self.short_runs.note(&call.inputs, ran.stages.total());
                }
                self.answer(waiting, ran, &calls, started);
            }
            // One call may have spoilt it for the others.
            Err(failure) if calls.len() > 1 => {
                if let Failure::NotByRows(output) = failure {
                    self.batching.refuse(&self.name, &output, NOT_BY_ROWS);
                }
                for (call, waiting) in calls.into_iter().zip(waiting) {
                    self.serve(session, engine, vec![Job { call, waiting }]);
                }
            }
            Err(failure) => self.refuse(waiting, failure),
        }
    }

    /// What came of a run; of several calls only where their rows are what they are of each alone.
    fn checked(&self, ran: RunOutput, engine: &dyn Engine, calls: &[Call]) -> Result<RunOutput, Failure> {
        if let ([call, _, ..], Some(outputs)) = (calls, ran.outputs.first()) {
            self.batching.check(engine.outputs(), call, outputs)?;
        }
        Ok(ran)
    }

    /// Runs calls that request the same outputs once, while the watch sees who waits.
    fn run(
        &self,
        session: &Session,
        engine: &mut dyn Engine,
        calls: &[Call],
        waiting: Vec<Waiting>,
    ) -> (Vec<Waiting>, Result<RunOutput, Failure>) {
        {
            // Under the lock, so that a late interruption of the run before cannot stop this one.
            let mut current = session.current.lock();
            session.interrupt.clear();
            *current = Current::of(waiting);
        }
        let outputs = calls.first().map_or(&[][..], |call| &call.outputs);
        let result = match calls {
            [call] => catch_unwind(AssertUnwindSafe(|| engine.run(&[&call.inputs], outputs))),
            _ => {
                let inputs: Vec<&[Tensor]> = calls.iter().map(|call| call.inputs.as_slice()).collect();
                catch_unwind(AssertUnwindSafe(|| engine.run(&inputs, outputs)))
            }
        };
        let waiting = mem::take(&mut *session.current.lock()).waiting;
        let result = result.unwrap_or_else(|_| {
            tracing::error!(model = self.name, "a run panicked");
            Err(Error::Runtime.into())
        });
        (waiting, result)
    }

    fn answer(&self, waiting: Vec<Waiting>, ran: RunOutput, calls: &[Call], started: Instant) {
        let rows = calls.iter().map(|call| call.rows).sum();
        self.recorder.ran(waiting.len(), rows, ran.stages);
        let compute = ran.stages.total();
        for ((mut waiting, outputs), call) in waiting.into_iter().zip(ran.outputs).zip(calls) {
            let queue = started.saturating_duration_since(waiting.arrived);
            self.recorder.queued(queue);
            let share = if calls.len() > 1 { part(compute, call.rows, rows) } else { compute };
            let timing = Timing { preprocess: Duration::ZERO, queue, compute, share };
            waiting.answer(Ok((outputs, timing)));
        }
    }

    fn refuse(&self, waiting: Vec<Waiting>, failure: Failure) {
        let now = Instant::now();
        for mut waiting in waiting {
            let error = match &failure {
                _ if now >= waiting.deadline => Error::Deadline,
                Failure::Failed(Error::Runtime) if self.closed.load(Ordering::SeqCst) => {
                    Error::shutting_down()
                }
                Failure::Failed(error) => error.clone(),
                Failure::NotByRows(_) => Error::Runtime,
            };
            waiting.answer(Err(error));
        }
    }
}

fn part(whole: Duration, rows: usize, of: usize) -> Duration {
    let nanoseconds = whole.as_nanos() * rows as u128 / of.max(1) as u128;
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}
