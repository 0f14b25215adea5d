//! What a worker needs of whatever runs a model: so little that another runtime fits behind it.

use std::sync::Arc;

use crate::{
    error::Error,
    statistics::Stages,
    tensor::{NamedTensor, TensorSpec},
};

/// A loaded model, run by one thread.
pub(crate) trait Engine: Send {
    /// The inputs in the model's order.
    fn inputs(&self) -> &[TensorSpec];

    /// The outputs in the model's order.
    fn outputs(&self) -> &[TensorSpec];

    /// Runs the model on inputs that were checked before and gives the named outputs in that order, and where the
    /// time went.
    fn run(
        &mut self,
        inputs: &[NamedTensor],
        outputs: &[String],
    ) -> Result<(Vec<NamedTensor>, Stages), Error>;

    /// The handle by which another thread stops a run.
    fn interrupt(&self) -> Arc<dyn Interrupt>;
}

/// Stops a run from outside.
pub(crate) trait Interrupt: Send + Sync {
    /// Makes the current run fail as soon as the runtime looks, which it does between operators.
    fn raise(&self);

    /// Lets the next run proceed.
    fn clear(&self);
}
