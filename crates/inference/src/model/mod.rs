//! One version of a model, ready to answer, with its cache.

mod cache;
mod empty;
mod served;

use std::{sync::Arc, time::Instant};

pub(crate) use cache::Cache;
pub(crate) use empty::NeedsElements;
pub(crate) use served::Served;

use crate::{
    error::Error,
    manifest::Manifest,
    predict::{Input, InputKind, PredictInput, PredictResponse, Predictor, Table, Texts, Workplace},
    provider::Execution,
    scheduling::{Decoder, Job, Pool, Ticket, Timing},
    statistics::{PendingCall, Recorder, Statistics},
    tensor::{NamedTensor, Tensor, TensorSpec, check_inputs, check_outputs},
};

/// A call with tensors.
#[derive(Debug)]
pub struct InferRequest {
    /// Every input of the model, in any order.
    pub inputs: Vec<NamedTensor>,
    /// The requested outputs, in the requested order; empty for all of them.
    pub outputs: Vec<String>,
    /// Who calls, how urgently, and until when an answer is of use.
    pub ticket: Ticket,
}

/// The answer to an [`InferRequest`].
#[derive(Debug)]
pub struct InferResponse {
    /// The requested outputs, in that order.
    pub outputs: Vec<NamedTensor>,
    /// Where the time went.
    pub timing: Timing,
}

/// One version of a model, ready to answer.
pub struct Model {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) served: Arc<Served>,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) inputs: Vec<TensorSpec>,
    pub(crate) outputs: Vec<TensorSpec>,
    pub(crate) predictor: Option<Predictor>,
    pub(crate) decoder: Arc<Decoder>,
    pub(crate) pool: Pool,
    /// Whether the first dimension of every input counts rows.
    pub(crate) by_rows: bool,
    pub(crate) needs_elements: NeedsElements,
    pub(crate) execution: Execution,
    pub(crate) cache: Option<Cache>,
    pub(crate) recorder: Arc<Recorder>,
}

impl Model {
    /// The model's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// This version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The versions of this model that are served now, lowest first.
    pub fn versions(&self) -> Arc<[String]> {
        self.served.read()
    }

    /// What its `model.toml` says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The inputs in the model's order.
    pub fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    /// The outputs in the model's order.
    pub fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    /// Rows of a call, which it is counted by: the most of any input whose first dimension the model leaves open, in
    /// whatever order a caller sends them; one where it leaves none open. One without elements has none, whatever its
    /// shape claims.
    pub fn rows(&self, inputs: &[NamedTensor]) -> usize {
        let of = |spec: &TensorSpec| {
            let NamedTensor { tensor, .. } = inputs.iter().find(|input| input.name == spec.name)?;
            Some(if tensor.data().is_empty() { 0 } else { tensor.rows() })
        };
        let open = self.inputs.iter().filter(|spec| spec.has_open_rows());
        open.filter_map(of).max().unwrap_or(1)
    }

    /// What [`predict`](Self::predict) takes; none where `model.toml` says nothing of it.
    pub fn input_kind(&self) -> Option<InputKind> {
        self.predictor.as_ref().and_then(Predictor::input_kind)
    }

    /// Whether [`predict`](Self::predict) answers with labelled probabilities.
    pub fn classifies(&self) -> bool {
        self.predictor.as_ref().is_some_and(Predictor::classifies)
    }

    /// Reads rows, where the model takes them.
    pub fn table(&self) -> Option<&Table> {
        match &self.predictor.as_ref()?.input {
            Some(Input::Rows(table)) => Some(table),
            Some(Input::Images(_) | Input::Texts(_)) | None => None,
        }
    }

    /// Checks texts, where the model takes them.
    pub fn texts(&self) -> Option<&Texts> {
        match &self.predictor.as_ref()?.input {
            Some(Input::Texts(texts)) => Some(texts),
            Some(Input::Images(_) | Input::Rows(_)) | None => None,
        }
    }

    /// Names for the classes of an output, in the order of their numbers; none where `model.toml` gives none for it.
    pub fn labels(&self, output: &str) -> Option<&[String]> {
        self.predictor.as_ref().and_then(|predictor| predictor.labels(output))
    }

    /// Requests that wait for a session now.
    pub fn queue_depth(&self) -> usize {
        self.pool.waiting()
    }

    /// Sessions that run it, each on a thread of its own.
    pub fn instances(&self) -> usize {
        self.pool.sessions()
    }

    /// Rows of calls that run together at most; none where calls run alone.
    pub fn max_batch_rows(&self) -> Option<usize> {
        self.pool.batching().max_rows()
    }

    /// What computes it.
    pub fn execution(&self) -> &Execution {
        &self.execution
    }

    /// Whether answers are cached.
    pub fn caches(&self) -> bool {
        self.cache.is_some()
    }

    /// What this version did since it was loaded.
    pub fn statistics(&self) -> Statistics {
        self.recorder.read()
    }

    /// Runs the model on tensors. A call that does not fit the model is refused before it waits. Where the future is
    /// dropped, its call leaves the queue, and its run is stopped unless others wait for it as well.
    pub async fn infer(&self, request: InferRequest) -> Result<InferResponse, Error> {
        let InferRequest { inputs, outputs, ticket } = request;
        let inputs = check_inputs(&self.inputs, inputs)?;
        let outputs = check_outputs(&self.outputs, &outputs)?;
        self.needs_elements.check(&self.inputs, &inputs)?;
        let arrived = Instant::now();
        let counted = PendingCall::new(&self.recorder, arrived);
        let (tensors, timing) = self.answer(inputs, &outputs, arrived, ticket).await?;
        counted.succeeded();
        let name = |place: usize| self.outputs[place].name.clone();
        let named = |(place, tensor)| NamedTensor { name: name(place), tensor };
        Ok(InferResponse { outputs: outputs.into_iter().zip(tensors).map(named).collect(), timing })
    }

    /// The cached answer, or a new one.
    async fn answer(
        &self,
        inputs: Vec<Tensor>,
        outputs: &[usize],
        arrived: Instant,
        ticket: Ticket,
    ) -> Result<(Vec<Tensor>, Timing), Error> {
        let kept = self.cache.as_ref();
        let key = kept.and_then(|cache| Some((cache, cache.key(ticket.caller, &inputs, outputs)?)));
        let Some((cache, key)) = key else {
            return self.run(inputs, outputs.to_vec(), arrived, ticket).await;
        };
        if let Some(tensors) = cache.get(&key) {
            self.recorder.found(arrived.elapsed());
            return Ok((tensors, Timing::default()));
        }
        let looked = arrived.elapsed();
        let (tensors, timing) = self.run(inputs, outputs.to_vec(), arrived, ticket).await?;
        let keeping = Instant::now();
        cache.keep(key, &tensors);
        self.recorder.missed(looked + keeping.elapsed());
        Ok((tensors, timing))
    }

    async fn run(
        &self,
        inputs: Vec<Tensor>,
        outputs: Vec<usize>,
        arrived: Instant,
        ticket: Ticket,
    ) -> Result<(Vec<Tensor>, Timing), Error> {
        let rows = if self.by_rows { inputs.first().map_or(1, Tensor::rows) } else { 1 };
        // Dropped after the channel, so that whoever is told sees that nobody waits.
        let mut leaving = WaitGuard { pool: &self.pool, waits: true };
        let (job, answer) = Job::new(inputs, outputs, rows, arrived, ticket);
        self.pool.submit(ticket, job).await?;
        // A worker ends without answering only when the pool shuts down.
        let answer = answer.await.unwrap_or_else(|_| Err(Error::shutting_down()));
        leaving.waits = false;
        answer
    }

    /// Predicts from pictures, rows or texts as `model.toml` says; [`Error::WrongInput`] where the model takes
    /// something else. `top_k` is at least 1 and only for models with `[classification]`; more than there are classes
    /// gives all. What it takes beside the runs of the model it takes at `place`.
    pub async fn predict(
        self: &Arc<Self>,
        input: PredictInput,
        top_k: Option<usize>,
        ticket: Ticket,
        place: impl Workplace,
    ) -> Result<PredictResponse, Error> {
        let predictor = self.predictor.as_ref().ok_or_else(|| Error::wrong_input(self, input.kind()))?;
        predictor.predict(self, input, top_k, ticket, place).await
    }
}

/// Tells the pool where a caller stops waiting.
struct WaitGuard<'a> {
    pool: &'a Pool,
    waits: bool,
}

impl Drop for WaitGuard<'_> {
    fn drop(&mut self) {
        if self.waits {
            self.pool.caller_left();
        }
    }
}
