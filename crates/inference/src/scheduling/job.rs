//! A call on its way through the queue and a session, and the caller who waits for it.

use std::time::Instant;

use tokio::sync::oneshot;

use super::ticket::{Ticket, Timing};
use crate::{error::Error, tensor::Tensor};

/// The outputs of one call, in the order that it requested.
pub(super) type Answer = Result<(Vec<Tensor>, Timing), Error>;

/// One checked call on its way to a session.
pub(crate) struct Job {
    pub(super) call: Call,
    pub(super) waiting: Waiting,
}

/// What is to be run.
pub(super) struct Call {
    /// In the model's order.
    pub(super) inputs: Vec<Tensor>,
    /// The indices of the requested outputs, in the requested order.
    pub(super) outputs: Vec<usize>,
    pub(super) rows: usize,
    pub(super) caller: u64,
}

/// Who waits for an answer, and until when.
pub(super) struct Waiting {
    pub(super) deadline: Instant,
    pub(super) arrived: Instant,
    /// None once it was answered.
    reply: Option<oneshot::Sender<Answer>>,
}

impl Job {
    /// A call, and where its answer will come.
    pub(crate) fn new(
        inputs: Vec<Tensor>,
        outputs: Vec<usize>,
        rows: usize,
        arrived: Instant,
        ticket: Ticket,
    ) -> (Self, oneshot::Receiver<Answer>) {
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting { deadline: ticket.deadline, arrived, reply: Some(reply) };
        let call = Call { inputs, outputs, rows, caller: ticket.caller };
        (Self { call, waiting }, answer)
    }

    /// What its inputs take, in bytes.
    pub(super) fn size(&self) -> usize {
        size(&self.call.inputs)
    }

    pub(super) fn arrived(&self) -> Instant {
        self.waiting.arrived
    }

    pub(super) fn deadline(&self) -> Instant {
        self.waiting.deadline
    }
}

impl Waiting {
    pub(super) fn answer(&mut self, answer: Answer) {
        if let Some(reply) = self.reply.take() {
            // Nobody waits any more where this fails.
            let _ = reply.send(answer);
        }
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.deadline || self.reply.as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

/// What the inputs of a call take, in bytes.
pub(super) fn size(inputs: &[Tensor]) -> usize {
    inputs.iter().map(|input| input.data().size()).sum()
}
