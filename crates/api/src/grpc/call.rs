//! What the interceptor found out about a call, for the method that answers it.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use auth::{AllowanceState, InFlight, Origin};
use parking_lot::{Mutex, MutexGuard};
use tonic::{Request, Status};

use super::status::refuse;
use crate::error::{ApiError, Result as ApiResult};
use crate::guard::{Access, Caller, Proof};
use crate::request_context::RequestContext;
use crate::transport::{Bodies, Reservation};

/// A call that was let through.
#[derive(Clone)]
pub struct Call {
    /// Its id, and where it comes from.
    pub context: Arc<RequestContext>,
    /// For the audit trail.
    pub origin: Origin,
    /// Who calls; none for a public method.
    pub proof: Option<Proof>,
    /// Its caller's deadline; none where they give none.
    pub deadline: Option<Instant>,
    /// What it takes of what is bounded.
    pub resources: CallResources,
}

impl Call {
    /// What the interceptor left with a request.
    pub fn of<Message>(request: &Request<Message>) -> Result<Self, Status> {
        let missing = || refuse(ApiError::internal("a method was reached past the interceptor"));
        request.extensions().get::<Self>().cloned().ok_or_else(missing)
    }

    /// The caller, where the guards asked what `A` asks for.
    pub fn caller<A: Access>(&self) -> Result<Caller<A>, Status> {
        Caller::proven(self.proof.as_ref(), self.origin.clone(), self.context.arrived).map_err(refuse)
    }
}

tokio::task_local! {
    /// What the call holds that is being answered: the generated services make their decoders themselves.
    static ANSWERED: CallResources;
}

/// The place among its account's running requests, and the room among the large bodies: given back when the last
/// clone is dropped, which is when the answer is made.
#[derive(Clone)]
pub struct CallResources {
    messages: Arc<Mutex<Messages>>,
    _place: Arc<Option<InFlight>>,
}

/// What the messages of a call take.
pub struct Messages {
    /// Room for the one that arrives or is worked on.
    pub room: Reservation,
    /// Whether the last one is done with, so that the next one's time begins.
    pub done: bool,
    /// Whether the client gave the call up while it was sending.
    pub broke_off: bool,
    /// The windows of the model that was called, which is known from the message only.
    pub windows: Vec<AllowanceState>,
}

impl CallResources {
    /// By a call that begins.
    pub fn new(place: Option<InFlight>, room: Reservation) -> Self {
        Self {
            messages: Arc::new(Mutex::new(Messages {
                room,
                done: true,
                broke_off: false,
                windows: Vec::new(),
            })),
            _place: Arc::new(place),
        }
    }

    /// Answers the call, so that [`CallResources::of_this_call`] finds this.
    pub async fn during<Answer>(self, answer: impl Future<Output = Answer>) -> Answer {
        ANSWERED.scope(self, answer).await
    }

    /// What the call holds that is being answered here; an error outside of one.
    pub fn of_this_call() -> ApiResult<Self> {
        ANSWERED.try_with(Self::clone).map_err(ApiError::internal)
    }

    /// What its messages take.
    pub fn messages(&self) -> MutexGuard<'_, Messages> {
        self.messages.lock()
    }

    /// The room that the answer takes, to be held until it is sent.
    pub fn take_room(&self, bodies: &Bodies) -> Reservation {
        std::mem::replace(&mut self.messages().room, bodies.empty_reservation(None))
    }

    /// One message of several is answered.
    pub fn next(&self) {
        let mut messages = self.messages();
        messages.room.empty();
        messages.done = true;
    }
}
