//! The sessions of one version of a model: threads that are fed from one bounded queue, and how they start and end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    batching::Batching,
    current::INTERRUPTED,
    job::Job,
    queue::Queue,
    short_runs::ShortRuns,
    ticket::Ticket,
    watch::TICK,
    worker::{Session, Shared},
};
use crate::{engine::Engine, error::Error, statistics::Recorder};

/// The sessions of one version of a model.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Mutex<Vec<JoinHandle<()>>>,
    watch: thread::Thread,
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
        let sessions = engines.len();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            recorder,
            queue,
            batching,
            short_runs,
            sessions: engines.into_iter().map(Session::new).collect(),
            working: AtomicUsize::new(sessions),
            watch_sleeps: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        });
        let watched = Arc::clone(&shared);
        let watch = thread::Builder::new().name(format!("watch {name}")).spawn(move || watched.watch())?;
        let mut pool = Self { shared, workers: Mutex::new(Vec::new()), watch: watch.thread().clone() };
        for number in 0..sessions {
            let shared = Arc::clone(&pool.shared);
            let work = move || shared.work(&shared.sessions[number]);
            let worker = thread::Builder::new().name(format!("model {name} {number}")).spawn(work)?;
            pool.workers.get_mut().push(worker);
        }
        Ok(pool)
    }

    /// Runs a short job that is alone at once, queues any other, or refuses it.
    ///
    /// Calls that arrived at a thread together are all queued before a worker is woken: on the same core it would take
    /// the thread's place for each of them.
    pub(crate) async fn submit(&self, ticket: Ticket, job: Job) -> Result<(), Error> {
        match self.shared.short_runs.look(&job.call.inputs) {
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
        self.shared.sessions.len()
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
        let mut workers = self.workers.lock();
        if wait(&workers, until) {
            workers.clear();
            return;
        }
        drop(self.shared.queue.remove(|_| true));
        let end = Instant::now() + INTERRUPTED;
        while !wait(&workers, (Instant::now() + TICK).min(end)) && Instant::now() < end {
            // Again and again, since a worker may just be between two runs.
            self.shared.sessions.iter().for_each(Session::interrupt);
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
