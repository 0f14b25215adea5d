//! One version of a model, ready to answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    classify::Classifier,
    decoding::Decoder,
    error::Error,
    labels::Prediction,
    manifest::Manifest,
    statistics::{Counted, Recorder, Statistics},
    tensor::{NamedTensor, TensorSpec, check_inputs, check_outputs},
    worker::{Job, Pool, rows},
};

/// Who waits, and until when.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    /// Opaque key of the caller; waiting requests of different callers take turns.
    pub caller: u64,
    /// Which calls go first: 1 (before all others) to 5; 0 is the same as 3, and more than 5 as 5.
    pub priority: u32,
    /// When an answer is of no more use; then the call gives [`Error::Deadline`] and its work is dropped.
    pub deadline: Instant,
}

/// A call with tensors.
#[derive(Debug)]
pub struct InferRequest {
    /// Every input of the model, in any order.
    pub inputs: Vec<NamedTensor>,
    /// The wanted outputs, in the wanted order; empty for all of them.
    pub outputs: Vec<String>,
    /// Who waits, and until when.
    pub ticket: Ticket,
}

/// The answer to an [`InferRequest`].
#[derive(Debug)]
pub struct InferResponse {
    /// The outputs asked for, in that order.
    pub outputs: Vec<NamedTensor>,
    /// Where the time went.
    pub timing: Timing,
}

/// The answer to [`Model::classify`].
#[derive(Debug)]
pub struct ClassifyResponse {
    /// For each picture its likeliest classes, likeliest first.
    pub results: Vec<Vec<Prediction>>,
    /// Where the time went.
    pub timing: Timing,
}

/// Where the time of a call went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timing {
    /// Decoding and resizing pictures, waiting for a thread to do it included; zero for tensors.
    pub preprocess: Duration,
    /// Waiting for a session.
    pub queue: Duration,
    /// Running the model.
    pub compute: Duration,
}

/// One version of a model, ready to answer.
pub struct Model {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) versions: Vec<String>,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) inputs: Vec<TensorSpec>,
    pub(crate) outputs: Vec<TensorSpec>,
    pub(crate) classifier: Option<Classifier>,
    pub(crate) decoder: Arc<Decoder>,
    pub(crate) pool: Pool,
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

    /// The versions that this model's repository serves, lowest first, this one included.
    pub fn versions(&self) -> &[String] {
        &self.versions
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

    /// Whether [`classify`](Self::classify) works.
    pub fn takes_images(&self) -> bool {
        self.classifier.is_some()
    }

    /// Names for the classes of an output, in the order of their numbers; none where `model.toml` gives none for it.
    pub fn labels(&self, output: &str) -> Option<&[String]> {
        self.classifier.as_ref().and_then(|classifier| classifier.labels(output))
    }

    /// Requests that wait for a session now.
    pub fn queue_depth(&self) -> usize {
        self.pool.waiting()
    }

    /// What this version did since it was loaded.
    pub fn statistics(&self) -> Statistics {
        self.recorder.read()
    }

    /// Runs the model on tensors. A call that does not fit the model is refused before it waits.
    pub async fn infer(&self, request: InferRequest) -> Result<InferResponse, Error> {
        let InferRequest { inputs, outputs, ticket } = request;
        check_inputs(&self.inputs, &inputs)?;
        check_outputs(&self.outputs, &outputs)?;
        let outputs = if outputs.is_empty() {
            self.outputs.iter().map(|spec| spec.name.clone()).collect()
        } else {
            outputs
        };
        let arrived = Instant::now();
        let counted = Counted::new(&self.recorder, arrived);
        let (reply, answer) = oneshot::channel();
        let rows = rows(&self.inputs, &inputs);
        self.pool.submit(
            ticket.caller,
            Job { inputs, outputs, rows, deadline: ticket.deadline, arrived, reply },
        )?;
        // A worker that went away without answering has been told to stop.
        let response = answer.await.unwrap_or_else(|_| Err(Error::shutting_down()))?;
        counted.succeeded();
        Ok(response)
    }

    /// Classifies pictures (JPEG, PNG, GIF, BMP or WebP) by the `[image]` and `[classification]` tables of
    /// `model.toml`; [`Error::NotAnImageModel`] where it has none. `top_k` is at least 1; more than there are
    /// classes gives all of them.
    pub async fn classify(
        &self,
        images: Vec<Bytes>,
        top_k: Option<usize>,
        ticket: Ticket,
    ) -> Result<ClassifyResponse, Error> {
        let classifier = self.classifier.as_ref().ok_or_else(|| Error::NotAnImageModel(self.name.clone()))?;
        classifier.classify(self, images, top_k, ticket).await
    }
}
