//! The worker threads of a model: one session each, fed from one bounded queue, with a watch thread that interrupts
//! runs nobody waits for any more.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::ticket::{Ticket, Timing};
use super::{
    batching::Batching,
    current::{Current, INTERRUPTED},
    job::{Job, Waiting},
    queue::Queue,
    short_runs::ShortRuns,
};
use crate::{
    engine::{Engine, Failure, Interrupt, RunOutput},
    error::Error,
    memory,
    statistics::Recorder,
    tensor::Tensor,
};

/// How often the watch looks, which is how late a deadline may be noticed.
const TICK: Duration = Duration::from_millis(20);
/// How long the watch keeps looking after the last request before it sleeps.
const IDLE_TICKS: u32 = 50;

/// The sessions of one version of a model.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Mutex<Vec<JoinHandle<()>>>,
    watch: thread::Thread,
}

struct Shared {
    name: String,
    recorder: Arc<Recorder>,
    queue: Queue<Job>,
    batching: Batching,
    short_runs: ShortRuns,
    /// What each worker does now, and how to stop it.
    runs: Vec<Run>,
    /// Workers that have not ended.
    working: AtomicUsize,
    watch_sleeps: AtomicBool,
    closed: AtomicBool,
}

struct Run {
    /// Held by whoever runs; none once the worker has ended.
    engine: Mutex<Option<Box<dyn Engine>>>,
    interrupt: Arc<dyn Interrupt>,
    current: Mutex<Current>,
}

impl Pool {
    /// Starts a thread per engine, and the watch.
    pub(crate) fn start(
        name: &str,
        engines: Vec<Box<dyn Engine>>,
        queue: Queue<Job>,
        batching: Batching,
        short_runs: ShortRuns,
        recorder: Arc<Recorder>,
    ) -> std::io::Result<Self> {
        let run = |engine: Box<dyn Engine>| {
            let interrupt = engine.interrupt();
            Run { engine: Mutex::new(Some(engine)), interrupt, current: Mutex::default() }
        };
        let sessions = engines.len();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            recorder,
            queue,
            batching,
            short_runs,
            runs: engines.into_iter().map(run).collect(),
            working: AtomicUsize::new(sessions),
            watch_sleeps: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        });
        let watched = Arc::clone(&shared);
        let watch = thread::Builder::new().name(format!("watch {name}")).spawn(move || watched.watch())?;
        let mut pool = Self { shared, workers: Mutex::new(Vec::new()), watch: watch.thread().clone() };
        for number in 0..sessions {
            let shared = Arc::clone(&pool.shared);
            let work = move || shared.work(&shared.runs[number]);
            let worker = thread::Builder::new().name(format!("model {name} {number}")).spawn(work)?;
            pool.workers.get_mut().unwrap_or_else(PoisonError::into_inner).push(worker);
        }
        Ok(pool)
    }

    /// Runs a short job that is alone at once, queues any other, or refuses it.
    ///
    /// Calls that arrived at a thread together are all queued before a worker is woken: on the same core it would take
    /// the thread's place for each of them.
    pub(crate) async fn submit(&self, ticket: Ticket, job: Job) -> Result<(), Error> {
        match self.shared.short_runs.look(&job.inputs) {
            Some(looking) => {
                tokio::task::yield_now().await;
                let left = if looking.stayed_alone() { self.shared.run_at_once(job) } else { Some(job) };
                left.map_or(Ok(()), |job| self.put(ticket, job))?;
            }
            None => {
                self.put(ticket, job)?;
                tokio::task::yield_now().await;
            }
        }
        self.shared.queue.wake();
        if self.shared.watch_sleeps.load(Ordering::SeqCst) {
            self.watch.unpark();
        }
        Ok(())
    }

    fn put(&self, ticket: Ticket, job: Job) -> Result<(), Error> {
        if let Some(mut displaced) = self.shared.queue.put(ticket.caller, ticket.priority, job)? {
            displaced.waiting.answer(Err(Error::Overloaded));
        }
        Ok(())
    }

    /// A caller went away: what only they waited for is ended.
    pub(crate) fn caller_left(&self) {
        self.watch.unpark();
    }

    pub(crate) fn sessions(&self) -> usize {
        self.shared.runs.len()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.shared.queue.len()
    }

    pub(crate) fn batching(&self) -> &Batching {
        &self.shared.batching
    }

    /// Takes no more jobs; those inside are still answered.
    pub(crate) fn close(&self) {
        self.shared.queue.close();
        self.shared.closed.store(true, Ordering::SeqCst);
        self.watch.unpark();
    }

    /// Waits for the workers of a closed pool until `until`; then interrupts them and waits a little longer. A
    /// worker that does not even notice that is left behind: ending a session in the middle of a run crashes.
    pub(crate) fn join(&self, until: Instant) {
        let mut workers = lock(&self.workers);
        if wait(&workers, until) {
            workers.clear();
            return;
        }
        drop(self.shared.queue.remove(|_| true));
        let end = Instant::now() + INTERRUPTED;
        while !wait(&workers, (Instant::now() + TICK).min(end)) && Instant::now() < end {
            // Again and again, since a worker may just be between two runs.
            self.shared.runs.iter().for_each(|run| run.interrupt.raise());
        }
        if !wait(&workers, end) {
            tracing::error!(model = self.shared.name, "a run could not be interrupted and is left behind");
        }
        workers.clear();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}

fn wait(workers: &[JoinHandle<()>], until: Instant) -> bool {
    const STEP: Duration = Duration::from_millis(2);
    loop {
        if workers.iter().all(JoinHandle::is_finished) {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        thread::sleep(STEP);
    }
}

impl Shared {
    fn work(&self, run: &Run) {
        loop {
            let jobs = self.queue.take(&self.batching);
            let Some(caller) = jobs.first().map(|job| job.caller) else { break };
            if let Some(engine) = lock(&run.engine).as_deref_mut() {
                self.serve(run, engine, jobs);
            }
            self.queue.done(caller);
        }
        drop(lock(&run.engine).take());
        if self.working.fetch_sub(1, Ordering::SeqCst) == 1 {
            memory::give_back();
        }
    }

    /// Runs a job on this thread if nobody waits and a session is free; gives it back if not.
    fn run_at_once(&self, job: Job) -> Option<Job> {
        let caller = job.caller;
        if !self.queue.try_bypass(caller) {
            return Some(job);
        }
        let mut job = Some(job);
        for run in &self.runs {
            if let Ok(mut held) = run.engine.try_lock()
                && let Some(engine) = held.as_deref_mut()
            {
                self.serve(run, engine, job.take().into_iter().collect());
                break;
            }
        }
        self.queue.done(caller);
        job
    }

    /// Answers jobs that go together.
    fn serve(&self, run: &Run, engine: &mut dyn Engine, jobs: Vec<Job>) {
        let started = Instant::now();
        let (mut late, jobs): (Vec<_>, Vec<_>) =
            jobs.into_iter().partition(|job| job.waiting.is_over(started));
        late.iter_mut().for_each(|job| job.waiting.answer(Err(Error::Deadline)));
        let rows = jobs.iter().map(|job| job.rows).sum();
        let mut calls = Vec::with_capacity(jobs.len());
        let mut waiting = Vec::with_capacity(jobs.len());
        let mut output_places = Vec::new();
        for job in jobs {
            calls.push(job.inputs);
            waiting.push(job.waiting);
            output_places = job.outputs;
        }
        if calls.is_empty() {
            return;
        }
        let (waiting, result) = self.run(run, engine, &calls, &output_places, waiting);
        match result {
            Ok(ran) => {
                if let [inputs] = calls.as_slice() {
                    self.short_runs.note(inputs, ran.stages.total());
                }
                self.answer(waiting, ran, rows, started);
            }
            // One call may have spoilt it for the others.
            Err(failure) if waiting.len() > 1 => {
                if let Failure::NotByRows(output) = failure {
                    self.batching.refuse(&self.name, &output);
                }
                for (inputs, waiting) in calls.into_iter().zip(waiting) {
                    let rows = inputs.first().map_or(1, Tensor::rows);
                    self.serve_one(run, engine, (inputs, waiting, rows), &output_places);
                }
            }
            Err(failure) => self.refuse(waiting, failure),
        }
    }

    /// Answers a call whose run with others failed.
    fn serve_one(
        &self,
        run: &Run,
        engine: &mut dyn Engine,
        (inputs, mut waiting, rows): (Vec<Tensor>, Waiting, usize),
        output_places: &[usize],
    ) {
        let started = Instant::now();
        if waiting.is_over(started) {
            waiting.answer(Err(Error::Deadline));
            return;
        }
        match self.run(run, engine, &[inputs], output_places, vec![waiting]) {
            (waiting, Ok(ran)) => self.answer(waiting, ran, rows, started),
            (waiting, Err(failure)) => self.refuse(waiting, failure),
        }
    }

    /// Runs the calls once, while the watch sees who waits.
    fn run(
        &self,
        run: &Run,
        engine: &mut dyn Engine,
        calls: &[Vec<Tensor>],
        output_places: &[usize],
        waiting: Vec<Waiting>,
    ) -> (Vec<Waiting>, Result<RunOutput, Failure>) {
        {
            // Under the lock, so that a late interruption of the run before cannot stop this one.
            let mut current = lock(&run.current);
            run.interrupt.clear();
            *current = Current::of(waiting);
        }
        let result = match calls {
            [call] => catch_unwind(AssertUnwindSafe(|| engine.run(&[call], output_places))),
            _ => {
                let calls: Vec<&[Tensor]> = calls.iter().map(Vec::as_slice).collect();
                catch_unwind(AssertUnwindSafe(|| engine.run(&calls, output_places)))
            }
        };
        let waiting = mem::take(&mut *lock(&run.current)).waiting;
        let result = result.unwrap_or_else(|_| {
            tracing::error!(model = self.name, "a run panicked");
            Err(Error::Runtime.into())
        });
        (waiting, result)
    }

    fn answer(&self, waiting: Vec<Waiting>, ran: RunOutput, rows: usize, started: Instant) {
        self.recorder.ran(waiting.len(), rows, ran.stages);
        for (mut waiting, outputs) in waiting.into_iter().zip(ran.outputs) {
            let queue = started.saturating_duration_since(waiting.arrived);
            self.recorder.queued(queue);
            let timing = Timing { preprocess: Duration::ZERO, queue, compute: ran.stages.total() };
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

    fn watch(&self) {
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
        let mut busy = self.queue.wake() > 0;
        for run in &self.runs {
            let mut current = lock(&run.current);
            busy |= !current.waiting.is_empty();
            let late = current.waiting.iter_mut().filter(|waiting| now >= waiting.deadline);
            late.for_each(|waiting| waiting.answer(Err(Error::Deadline)));
            // The others of the run go on.
            if current.is_over(now) {
                run.interrupt.raise();
                if current.became_overdue(now) {
                    self.recorder.overdue();
                    tracing::error!(
                        model = self.name,
                        "a run that nobody waits for goes on although it was interrupted; its session serves nobody until it ends"
                    );
                }
            }
        }
        busy
    }
}

/// None of the values behind these locks can be left half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
