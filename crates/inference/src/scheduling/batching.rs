//! Which calls may run together: those with rows of the same shape that request the same outputs.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::{Duration, Instant},
};

use super::{
    job::{Call, Job},
    known_rows::KnownRows,
    queue::Grouping,
};
use crate::{
    manifest,
    tensor::{Tensor, TensorSpec},
};

/// The most bytes of inputs in one batch; a call that would exceed it runs alone.
const MAX_BATCH_BYTES: usize = 64 << 20;

/// How the calls of one version run together.
pub(crate) struct Batching {
    /// Rows of a run at most; 1 where calls always run alone.
    max_rows: usize,
    /// How long the first call of a run waits for others.
    window: Duration,
    /// Whether a run showed that the model does not work by rows.
    refused: AtomicBool,
    known: KnownRows,
    /// Runs together in a row that failed, although each of their calls worked alone.
    failed: AtomicU32,
}

/// An output is not cut by rows.
pub(crate) const NOT_BY_ROWS: &str = "does not have the rows of the inputs";
/// What a caller is answered with depends on who else calls.
pub(crate) const OTHER_VALUES: &str = "has other values where calls run together";
/// Runs together fail, of calls that work alone.
pub(crate) const FAILS: &str = "cannot be computed where calls run together";
/// How many of these in a row are no chance.
const FAILURES: u32 = 4;

impl Batching {
    /// By the `[batching]` table. Where the model's specifications show that it does not work by rows, that is logged
    /// and its calls run alone.
    pub(crate) fn new(
        table: Option<&manifest::Batching>,
        name: &str,
        inputs: &[TensorSpec],
        outputs: &[TensorSpec],
    ) -> Self {
        let alone = Self {
            max_rows: 1,
            window: Duration::ZERO,
            refused: AtomicBool::new(false),
            known: KnownRows::default(),
            failed: AtomicU32::new(0),
        };
        let Some(table) = table else { return alone };
        let by_rows = |spec: &&TensorSpec| spec.has_open_rows();
        let fixed = inputs.iter().chain(outputs).find(|spec| !by_rows(spec));
        if inputs.is_empty() || fixed.is_some() {
            let reason = fixed.map_or("an input", |spec| spec.name.as_str());
            refuse(name, reason, "has no first dimension that may vary");
            return alone;
        }
        if let Some(other) = of_another_name(inputs, outputs) {
            refuse(name, &other.name, "has a first dimension of another name, or one of that name elsewhere");
            return alone;
        }
        Self { max_rows: table.max_rows, window: Duration::from_micros(table.max_delay_us), ..alone }
    }

    /// Rows of a run at most; none where calls run alone.
    pub(crate) fn max_rows(&self) -> Option<usize> {
        (self.max_rows > 1 && !self.refused.load(Ordering::Relaxed)).then_some(self.max_rows)
    }

    /// From now on calls run alone, because of this output.
    pub(crate) fn refuse(&self, name: &str, output: &str, reason: &str) {
        if !self.refused.swap(true, Ordering::Relaxed) {
            refuse(name, output, reason);
        }
    }

    /// Takes up what a call shows that ran alone: calls of its shape may run together from now on, or none. An output
    /// that does not have its rows could have those of several calls by chance, and one whose rows are now so long and
    /// now otherwise is longer for one caller by what another sends.
    pub(crate) fn look(
        &self,
        name: &str,
        specs: &[TensorSpec],
        (inputs, places): (&[Tensor], &[usize]),
        outputs: &[Tensor],
    ) {
        if self.max_rows().is_none() || !has_rows(inputs) {
            return;
        }
        let rows = inputs.first().map(Tensor::rows);
        let odd = outputs.iter().position(|output| output.shape().first().copied() != rows);
        let odd = odd.and_then(|odd| places.get(odd).copied());
        match odd.or_else(|| self.known.odd(inputs, places, outputs)).and_then(|place| specs.get(place)) {
            Some(spec) => self.refuse(name, &spec.name, NOT_BY_ROWS),
            None => self.known.note(inputs, places, outputs),
        }
    }

    /// The output of calls that ran together, if any, whose rows are not what they are of each alone.
    pub(super) fn odd(&self, call: &Call, outputs: &[Tensor]) -> Option<usize> {
        self.known.odd(&call.inputs, &call.outputs, outputs)
    }

    /// Notes whether calls that ran together could; `output` is one of them.
    pub(super) fn note_together(&self, name: &str, output: &str, worked: bool) {
        if worked {
            self.failed.store(0, Ordering::Relaxed);
        } else if self.failed.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES {
            self.refuse(name, output, FAILS);
        }
    }
}

/// A tensor whose first dimension has a name that is not the inputs', or which has that name elsewhere, too.
fn of_another_name<'a>(inputs: &'a [TensorSpec], outputs: &'a [TensorSpec]) -> Option<&'a TensorSpec> {
    let name = |spec: &'a TensorSpec| spec.symbols.first().filter(|name| !is_made_up(name));
    let rows = inputs.iter().find_map(name)?;
    inputs.iter().chain(outputs).find(|spec| {
        name(spec).is_some_and(|name| name != rows) || spec.symbols.iter().skip(1).any(|name| name == rows)
    })
}

/// Whether an exporter gave a dimension a name of its own, which says nothing of what it is: none at all, that of
/// tf2onnx, PyTorch and Paddle.
fn is_made_up(name: &str) -> bool {
    name.is_empty()
        || name.starts_with("unk__")
        || name.contains("_dim_")
        || name.starts_with("DynamicDimension")
}

fn refuse(model: &str, tensor: &str, reason: &str) {
    tracing::warn!(model, tensor, reason, "calls of this model are not batched: it does not work by rows");
}

impl Grouping<Job> for Batching {
    fn is_complete(&self, taken: &[Job]) -> bool {
        let Some(max_rows) = self.max_rows() else { return true };
        // The first of its shape shows alone whether it has rows.
        let is_new = |job: &Job| !self.known.have(&job.call.inputs, &job.call.outputs);
        taken.first().is_some_and(is_new)
            || !taken.iter().all(|job| has_rows(&job.call.inputs))
            || rows(taken) >= max_rows
    }

    fn fits(&self, taken: &[Job], candidate: &Job) -> bool {
        let Some(Job { call: first, .. }) = taken.first() else { return false };
        let call = &candidate.call;
        let room = self.max_rows().unwrap_or(1).saturating_sub(rows(taken));
        has_rows(&call.inputs)
            && call.rows <= room
            && call.outputs == first.outputs
            && call.inputs.iter().map(Tensor::row_shape).eq(first.inputs.iter().map(Tensor::row_shape))
            && taken.iter().map(Job::size).sum::<usize>().saturating_add(candidate.size()) <= MAX_BATCH_BYTES
    }

    fn wait_until(&self, taken: &[Job]) -> Option<Instant> {
        if self.window.is_zero() {
            return None;
        }
        // Whoever waits for an answer not much longer than for others would get none: half of that time is for the run.
        let patience =
            |job: &Job| job.arrived() + job.deadline().saturating_duration_since(job.arrived()) / 2;
        let first = taken.first()?.arrived() + self.window;
        taken.iter().map(patience).chain([first]).min()
    }
}

fn rows(jobs: &[Job]) -> usize {
    jobs.iter().map(|job| job.call.rows).sum()
}

/// Whether the inputs have a first dimension in common, and something in it.
fn has_rows(inputs: &[Tensor]) -> bool {
    let first = inputs.first().and_then(|input| input.shape().first().copied());
    first.is_some_and(|rows| rows > 0 && inputs.iter().all(|input| input.shape().first() == Some(&rows)))
}
