//! What a version of a model did since it was loaded: counters that the threads of its calls share without a lock.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::engine::Stages;

/// Batches of at most this many rows are counted by their size; larger ones in the totals alone.
pub(crate) const MAX_COUNTED_ROWS: usize = 256;

/// How often something happened, and how long it took in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measure {
    /// How often.
    pub count: u64,
    /// The sum of the times.
    pub time: Duration,
}

/// What a version did since it was loaded, as the statistics extension of the Open Inference Protocol counts it.
/// Read while calls go on, the numbers may disagree by the calls that end at that moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// When the last call was answered well.
    pub last_inference: Option<Instant>,
    /// Rows that were computed: a call with a batch of eight counts eight. Answers from the cache do not count.
    pub inference_count: u64,
    /// Runs of the model: calls that ran together count once.
    pub execution_count: u64,
    /// Calls that were answered well, and the time from their arrival to the answer.
    pub success: Measure,
    /// Calls that fitted the model and got no answer: refused by the queue, late, given up by their caller, failed.
    pub fail: Measure,
    /// Waiting for a session, of calls that were answered well; those answered from the cache did not wait.
    pub queue: Measure,
    /// Handing the inputs to the runtime; for calls that ran together each counts the whole time, as below.
    pub compute_input: Measure,
    /// Running.
    pub compute_infer: Measure,
    /// Taking the outputs from the runtime.
    pub compute_output: Measure,
    /// Calls answered from the cache, and the time it took to find the answer.
    pub cache_hit: Measure,
    /// Calls whose answer was looked for in the cache in vain, and the time it took to look and to keep the answer.
    pub cache_miss: Measure,
    /// Runs that went on for too long after they were interrupted.
    pub overdue: u64,
    /// Runs by their number of rows, fewest first.
    pub batches: Vec<BatchStatistics>,
}

/// The runs of one batch size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchStatistics {
    /// Rows in each of these runs.
    pub rows: u64,
    /// Handing over the inputs, once for each run.
    pub compute_input: Measure,
    /// Running.
    pub compute_infer: Measure,
    /// Taking the outputs.
    pub compute_output: Measure,
}

#[derive(Default)]
struct Counter {
    count: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Counter {
    fn add(&self, count: u64, time: Duration) {
        self.count.fetch_add(count, Ordering::Relaxed);
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds.saturating_mul(count), Ordering::Relaxed);
    }

    fn read(&self) -> Measure {
        Measure {
            count: self.count.load(Ordering::Relaxed),
            time: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)),
        }
    }
}

#[derive(Default)]
struct StageCounters {
    input: Counter,
    infer: Counter,
    output: Counter,
}

impl StageCounters {
    fn add(&self, count: u64, stages: Stages) {
        self.input.add(count, stages.input);
        self.infer.add(count, stages.infer);
        self.output.add(count, stages.output);
    }
}

/// The counters of one version.
pub(crate) struct Recorder {
    since: Instant,
    /// Nanoseconds after `since`; zero for never.
    last_inference: AtomicU64,
    inferences: AtomicU64,
    executions: AtomicU64,
    success: Counter,
    fail: Counter,
    queue: Counter,
    compute: StageCounters,
    cache_hit: Counter,
    cache_miss: Counter,
    overdue: AtomicU64,
    /// By the number of rows, less one; made with the first run of that size.
    batches: Box<[OnceLock<Box<StageCounters>>]>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self {
            since: Instant::now(),
            last_inference: AtomicU64::new(0),
            inferences: AtomicU64::new(0),
            executions: AtomicU64::new(0),
            success: Counter::default(),
            fail: Counter::default(),
            queue: Counter::default(),
            compute: StageCounters::default(),
            cache_hit: Counter::default(),
            cache_miss: Counter::default(),
            overdue: AtomicU64::new(0),
            batches: (0..MAX_COUNTED_ROWS).map(|_| OnceLock::new()).collect(),
        }
    }

    /// A run of `rows` rows that answered `calls` calls.
    pub(crate) fn ran(&self, calls: usize, rows: usize, stages: Stages) {
        self.inferences.fetch_add(rows as u64, Ordering::Relaxed);
        self.executions.fetch_add(1, Ordering::Relaxed);
        self.compute.add(calls as u64, stages);
        if let Some(batch) = rows.checked_sub(1).and_then(|place| self.batches.get(place)) {
            batch.get_or_init(Box::default).add(1, stages);
        }
    }

    /// A call waited this long for its session.
    pub(crate) fn queued(&self, time: Duration) {
        self.queue.add(1, time);
    }

    /// A call's answer was found in the cache.
    pub(crate) fn found(&self, time: Duration) {
        self.cache_hit.add(1, time);
        self.queued(Duration::ZERO);
    }

    /// A call's answer was not found there; the time is that of looking for it and keeping it.
    pub(crate) fn missed(&self, time: Duration) {
        self.cache_miss.add(1, time);
    }

    /// A call was answered this long after it came.
    pub(crate) fn succeeded(&self, time: Duration) {
        self.success.add(1, time);
        let now = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last_inference.fetch_max(now, Ordering::Relaxed);
    }

    /// A call ended without an answer this long after it came.
    pub(crate) fn failed(&self, time: Duration) {
        self.fail.add(1, time);
    }

    /// A run goes on although it was interrupted.
    pub(crate) fn overdue(&self) {
        self.overdue.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Statistics {
        let last = self.last_inference.load(Ordering::Relaxed);
        Statistics {
            last_inference: (last > 0).then(|| self.since + Duration::from_nanos(last)),
            inference_count: self.inferences.load(Ordering::Relaxed),
            execution_count: self.executions.load(Ordering::Relaxed),
            success: self.success.read(),
            fail: self.fail.read(),
            queue: self.queue.read(),
            compute_input: self.compute.input.read(),
            compute_infer: self.compute.infer.read(),
            compute_output: self.compute.output.read(),
            cache_hit: self.cache_hit.read(),
            cache_miss: self.cache_miss.read(),
            overdue: self.overdue.load(Ordering::Relaxed),
            batches: self.batches.iter().enumerate().filter_map(batch).collect(),
        }
    }
}

fn batch((place, counters): (usize, &OnceLock<Box<StageCounters>>)) -> Option<BatchStatistics> {
    let counters = counters.get()?;
    Some(BatchStatistics {
        rows: place as u64 + 1,
        compute_input: counters.input.read(),
        compute_infer: counters.infer.read(),
        compute_output: counters.output.read(),
    })
}

/// Counts a call as failed unless it is said to have succeeded, also where its caller stops waiting.
pub(crate) struct PendingCall<'a> {
    recorder: &'a Recorder,
    arrived: Instant,
    succeeded: bool,
}

impl<'a> PendingCall<'a> {
    pub(crate) fn new(recorder: &'a Recorder, arrived: Instant) -> Self {
        Self { recorder, arrived, succeeded: false }
    }

    pub(crate) fn succeeded(mut self) {
        self.succeeded = true;
    }
}

impl Drop for PendingCall<'_> {
    fn drop(&mut self) {
        match self.succeeded {
            true => self.recorder.succeeded(self.arrived.elapsed()),
            false => self.recorder.failed(self.arrived.elapsed()),
        }
    }
}
