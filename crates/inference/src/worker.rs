//! The threads that run a model: one session each, fed from one bounded queue, with a watch that ends what
//! nobody waits for any more.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    engine::{Engine, Interrupt},
    error::Error,
    model::{InferResponse, Timing},
    queue::Queue,
    statistics::{Recorder, Stages},
    tensor::{NamedTensor, TensorSpec},
};

/// How often the watch looks, which is how late a deadline may be noticed.
const TICK: Duration = Duration::from_millis(20);
/// How long the watch keeps looking after the last request before it sleeps.
const IDLE_TICKS: u32 = 50;
/// How long an interrupted run may take to notice it.
const INTERRUPTED: Duration = Duration::from_secs(2);

/// One checked request on its way to a session.
pub(crate) struct Job {
    pub(crate) inputs: Vec<NamedTensor>,
    pub(crate) outputs: Vec<String>,
    pub(crate) rows: usize,
    pub(crate) deadline: Instant,
    pub(crate) arrived: Instant,
    pub(crate) reply: oneshot::Sender<Result<InferResponse, Error>>,
}

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
    /// What each worker does now, and how to stop it.
    runs: Vec<Run>,
    watch_sleeps: AtomicBool,
    closed: AtomicBool,
}

struct Run {
    interrupt: Arc<dyn Interrupt>,
    deadline: Mutex<Option<Instant>>,
}

impl Pool {
    /// Starts a thread per engine, and the watch.
    pub(crate) fn start(
        name: &str,
        engines: Vec<Box<dyn Engine>>,
        capacity: usize,
        recorder: Arc<Recorder>,
    ) -> std::io::Result<Self> {
        let runs = engines
            .iter()
            .map(|engine| Run { interrupt: engine.interrupt(), deadline: Mutex::new(None) })
            .collect();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            recorder,
            queue: Queue::new(capacity),
            runs,
            watch_sleeps: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        });
        let watched = Arc::clone(&shared);
        let watch = thread::Builder::new().name(format!("watch {name}")).spawn(move || watched.watch())?;
        let mut pool = Self { shared, workers: Mutex::new(Vec::new()), watch: watch.thread().clone() };
        for (number, engine) in engines.into_iter().enumerate() {
            let shared = Arc::clone(&pool.shared);
            let work = move || shared.work(number, engine);
            let worker = thread::Builder::new().name(format!("model {name} {number}")).spawn(work)?;
            pool.workers.get_mut().unwrap_or_else(PoisonError::into_inner).push(worker);
        }
        Ok(pool)
    }

    /// Queues a job, or refuses it at once.
    pub(crate) fn submit(&self, caller: u64, job: Job) -> Result<(), Error> {
        self.shared.queue.push(caller, job)?;
        if self.shared.watch_sleeps.load(Ordering::SeqCst) {
            self.watch.unpark();
        }
        Ok(())
    }

    pub(crate) fn waiting(&self) -> usize {
        self.shared.queue.len()
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
    fn work(&self, number: usize, mut engine: Box<dyn Engine>) {
        while let Some(job) = self.queue.pop() {
            if job.reply.is_closed() {
                continue;
            }
            if Instant::now() >= job.deadline {
                let _ = job.reply.send(Err(Error::Deadline));
                continue;
            }
            let started = Instant::now();
            let result = self.run(&self.runs[number], engine.as_mut(), &job);
            let response = result.map(|(outputs, stages)| {
                let queue = started.duration_since(job.arrived);
                self.recorder.queued(queue);
                self.recorder.ran(1, job.rows, stages);
                let timing = Timing { preprocess: Duration::ZERO, queue, compute: stages.total() };
                InferResponse { outputs, timing }
            });
            // Nobody waits any more where this fails.
            let _ = job.reply.send(response);
        }
    }

    fn run(
        &self,
        run: &Run,
        engine: &mut dyn Engine,
        job: &Job,
    ) -> Result<(Vec<NamedTensor>, Stages), Error> {
        {
            // Under the lock, so that a late interruption of the run before cannot stop this one.
            let mut deadline = lock(&run.deadline);
            run.interrupt.clear();
            *deadline = Some(job.deadline);
        }
        let result = catch_unwind(AssertUnwindSafe(|| engine.run(&job.inputs, &job.outputs)));
        *lock(&run.deadline) = None;
        match result {
            Ok(Err(_)) if Instant::now() >= job.deadline => Err(Error::Deadline),
            Ok(Err(Error::Runtime)) if self.closed.load(Ordering::SeqCst) => Err(Error::shutting_down()),
            Ok(result) => result,
            Err(_) => {
                tracing::error!(model = self.name, "a run panicked");
                Err(Error::Runtime)
            }
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
            // First the flag, then one more look: whoever comes between them wakes the watch.
            self.watch_sleeps.store(true, Ordering::SeqCst);
            if self.queue.len() == 0 && !self.closed.load(Ordering::SeqCst) {
                thread::park();
            }
            self.watch_sleeps.store(false, Ordering::SeqCst);
            idle = 0;
        }
    }

    /// Ends what is late and tells whether anything waits or runs.
    fn look(&self) -> bool {
        let now = Instant::now();
        for job in self.queue.remove(|job| job.deadline <= now || job.reply.is_closed()) {
            let _ = job.reply.send(Err(Error::Deadline));
        }
        let mut busy = self.queue.len() > 0;
        for run in &self.runs {
            let deadline = lock(&run.deadline);
            busy |= deadline.is_some();
            if deadline.is_some_and(|deadline| deadline <= now) {
                run.interrupt.raise();
            }
        }
        busy
    }
}

/// How many rows a call brings: the first dimension of its inputs, where all of them have one that may vary and
/// agree; 1 where not.
pub(crate) fn rows(specs: &[TensorSpec], inputs: &[NamedTensor]) -> usize {
    let mut sizes = inputs.iter().map(|input| input.tensor.shape().first().copied());
    match sizes.next().flatten() {
        Some(first)
            if specs.iter().all(|spec| spec.shape.first() == Some(&-1))
                && sizes.all(|size| size == Some(first)) =>
        {
            first
        }
        _ => 1,
    }
}

/// None of the values behind these locks can be left half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
