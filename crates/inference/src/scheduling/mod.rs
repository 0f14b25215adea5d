//! When and where a call runs: the bounded, fair queues it waits in, the callers' shares, what runs together, and the
//! threads that run models and decode pictures.

mod batching;
mod current;
mod decoding;
mod fixed_cost;
mod job;
mod known_rows;
mod pool;
mod queue;
mod share;
mod short_runs;
mod ticket;
mod watch;
mod worker;

pub(crate) use batching::{Batching, FAILS, NOT_BY_ROWS, OTHER_VALUES, UNTRIED};
pub use decoding::Decoder;
pub(crate) use fixed_cost::has_fixed_cost;
pub(crate) use job::Job;
pub(crate) use pool::Pool;
pub(crate) use queue::Queue;
pub(crate) use share::Share;
pub(crate) use short_runs::ShortRuns;
pub use ticket::{Ticket, Timing};
