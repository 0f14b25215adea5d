//! What a worker needs from the runtime of a model: a small interface, so that another runtime fits behind it.

use std::{sync::Arc, time::Duration};

use crate::{
    error::Error,
    tensor::{Tensor, TensorSpec},
};

/// A loaded model, run by one thread.
pub(crate) trait Engine: Send {
    /// The inputs in the model's order.
    fn inputs(&self) -> &[TensorSpec];

    /// The outputs in the model's order.
    fn outputs(&self) -> &[TensorSpec];

    /// Runs the model once for all `calls`: each the inputs, in the model's order, of a call that was checked before.
    /// Of several calls each input is put under the one before, along the first dimension, and the outputs are cut
    /// apart the same way. `output_places` selects outputs by index; each call gets them in that order.
    fn run(&mut self, calls: &[&[Tensor]], output_places: &[usize]) -> Result<RunOutput, Failure>;

    /// The handle by which another thread stops a run.
    fn interrupt(&self) -> Arc<dyn Interrupt>;
}

/// The result of a run.
pub(crate) struct RunOutput {
    /// For each call its outputs.
    pub(crate) outputs: Vec<Vec<Tensor>>,
    /// Where the time went.
    pub(crate) stages: Stages,
}

/// Where the time of a run went.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stages {
    pub(crate) input: Duration,
    pub(crate) infer: Duration,
    pub(crate) output: Duration,
}

impl Stages {
    pub(crate) fn total(self) -> Duration {
        self.input + self.infer + self.output
    }
}

/// Why a run has no result.
#[derive(Debug, PartialEq)]
pub(crate) enum Failure {
    /// It failed.
    Failed(Error),
    /// The output of this name has other rows than the calls together, so calls cannot run together.
    NotByRows(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Stops a run from outside.
pub(crate) trait Interrupt: Send + Sync {
    /// Makes the current run fail as soon as the runtime looks, which it does between operators.
    fn raise(&self);

    /// Lets the next run proceed.
    fn clear(&self);
}
