//! Which calls may run together: those with rows of the same shape that request the same outputs.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use super::{
    job::{Call, Job},
    known_rows::KnownRows,
    queue::Grouping,
};
use crate::{
    engine::Failure,
    error::Error,
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
    /// Whether a run showed that its calls cannot run together.
    refused: AtomicBool,
    known: KnownRows,
}

/// An output is not cut by rows.
pub(crate) const NOT_BY_ROWS: &str = "does not have the rows of the inputs";
/// What a caller is answered with depends on who else calls.
pub(crate) const OTHER_VALUES: &str = "has other values where calls run together";
/// Runs together fail, of calls that work alone.
pub(crate) const FAILS: &str = "cannot be computed where calls run together";
/// Nothing is known of what it does.
pub(crate) const UNTRIED: &str =
    "could not be tried: say shapes and values of inputs that fit under [warm_up]";
/// One of all rows decides how exactly each is computed.
const SHARED_SCALE: &str = "is computed with a scale of all rows together (DynamicQuantize…)";

impl Batching {
    /// By the `[batching]` table. Where the model's specifications show that its calls cannot run together, that is
    /// logged and they run alone.
    pub(crate) fn new(
        table: Option<&manifest::Batching>,
        name: &str,
        inputs: &[TensorSpec],
        outputs: &[TensorSpec],
        operators: &BTreeMap<(String, String), u64>,
    ) -> Self {
        let alone = Self {
            max_rows: 1,
            window: Duration::ZERO,
            refused: AtomicBool::new(false),
            known: KnownRows::default(),
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
        if operators.keys().any(|(_, operator)| operator.starts_with("DynamicQuantize")) {
            refuse(name, outputs.first().map_or("", |spec| spec.name.as_str()), SHARED_SCALE);
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
        let odd = odd.or_else(|| self.known.note(inputs, places, outputs));
        if let Some(spec) = odd.and_then(|place| specs.get(place)) {
            self.refuse(name, &spec.name, NOT_BY_ROWS);
        }
    }

    /// Whether the rows of calls that ran together, of which this is the first, are what they are of such a call alone.
    /// They are not, either, where that was forgotten, or calls are not to run together by now.
    pub(super) fn check(&self, specs: &[TensorSpec], call: &Call, outputs: &[Tensor]) -> Result<(), Failure> {
        if self.max_rows().is_none() || !self.known.have(&call.inputs, &call.outputs) {
            return Err(Failure::Failed(Error::Runtime));
        }
        let odd = self.known.odd(&call.inputs, &call.outputs, outputs).and_then(|place| specs.get(place));
        odd.map_or(Ok(()), |spec| Err(Failure::NotByRows(spec.name.clone())))
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
/// tf2onnx, PyTorch and Paddle. What is called a batch is one, however it is spelt.
fn is_made_up(name: &str) -> bool {
    let of_exporters = ["unk__", "_dim_", "_dynamic_axes_", "DynamicDimension"];
    name.is_empty()
        || of_exporters.iter().any(|part| name.contains(part))
        || name.to_ascii_lowercase().contains("batch")
}

fn refuse(model: &str, tensor: &str, reason: &str) {
    tracing::warn!(model, tensor, reason, "calls of this model run alone");
}

impl Grouping<Job> for Batching {
    fn is_complete(&self, taken: &[Job]) -> bool {
        let Some(max_rows) = self.max_rows() else { return true };
        // The first of its shape shows alone whether it has rows; of several there was one.
        let is_new = |job: &Job| !self.known.have(&job.call.inputs, &job.call.outputs);
        rows(taken) >= max_rows
            || !taken.iter().all(|job| has_rows(&job.call.inputs))
            || matches!(taken, [only] if is_new(only))
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
