//! The body of a call as it arrives: each message within its bounds on size and time, and counted among the large
//! bodies.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tonic::body::Body;

use super::call::CallResources;
use super::status::refuse;
use crate::error::{ApiError, Code, Result};

/// Length of what stands before each message: whether it is compressed, and its length in four bytes.
pub const PREFIX: usize = 5;
/// How long a stream of messages may be silent between two of them.
const SILENCE: Duration = Duration::from_secs(300);

/// The bounds of a body.
pub struct Bounds {
    /// Most bytes of a message.
    pub size: usize,
    /// How long a message may take to arrive.
    pub time: Duration,
    /// Whether there may be several.
    pub streams: bool,
}

/// A body with bounds.
pub struct BoundedBody {
    inner: Body,
    resources: CallResources,
    bounds: Bounds,
    timer: Pin<Box<Sleep>>,
    place: Position,
}

/// Where in the body the last byte stood.
enum Position {
    /// Within what stands before a message: the bytes of it that are there.
    Prefix(Vec<u8>),
    /// Within a message: its length, and the bytes that it still lacks.
    Message { length: usize, lacking: usize },
    /// After the only message.
    End,
}

impl BoundedBody {
    /// For the messages of a call that holds `resources`.
    pub fn new(inner: Body, resources: CallResources, bounds: Bounds) -> Self {
        // A stream may be opened long before its first message.
        let time = if bounds.streams { SILENCE } else { bounds.time };
        let timer = Box::pin(tokio::time::sleep(time));
        Self { inner, resources, bounds, timer, place: Position::Prefix(Vec::with_capacity(PREFIX)) }
    }

    /// What the call holds.
    pub fn resources(&self) -> &CallResources {
        &self.resources
    }

    /// Most bytes of a message, also of one that is unpacked.
    pub fn limit(&self) -> usize {
        self.bounds.size
    }

    fn look_at(&mut self, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            match &mut self.place {
                Position::Prefix(prefix) => {
                    if prefix.is_empty() && self.bounds.streams {
                        self.timer.as_mut().reset(Instant::now() + self.bounds.time);
                    }
                    let (more, rest) = data.split_at(data.len().min(PREFIX - prefix.len()));
                    prefix.extend_from_slice(more);
                    data = rest;
                    if let &[_, a, b, c, d] = prefix.as_slice() {
                        self.begin(u32::from_be_bytes([a, b, c, d]))?;
                    }
                }
                Position::Message { length, lacking } => {
                    let taken = data.len().min(*lacking);
                    *lacking -= taken;
                    self.resources.messages().room.grow_to(*length - *lacking)?;
                    data = &data[taken..];
                    if *lacking == 0 {
                        self.end();
                    }
                }
                Position::End => {
                    return Err(ApiError::new(Code::MalformedRequest, "This method takes one message."));
                }
            }
        }
        Ok(())
    }

    /// A message of this length comes, if there is room for it.
    fn begin(&mut self, length: u32) -> Result<()> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let limit = self.bounds.size;
        if length > limit {
            let detail = format!("The message is too large: the limit is {limit} bytes.");
            return Err(ApiError::new(Code::TooLarge, detail));
        }
        self.resources.messages().room.check(length)?;
        self.place = Position::Message { length, lacking: length };
        if length == 0 {
            self.end();
        }
        Ok(())
    }

    fn end(&mut self) {
        self.place = if self.bounds.streams {
            self.timer.as_mut().reset(Instant::now() + SILENCE);
            Position::Prefix(Vec::with_capacity(PREFIX))
        } else {
            Position::End
        };
    }

    /// The message before is answered: what has come of the next one takes room of its own, and has time from now on.
    fn resume(&mut self) -> Result<()> {
        let mut messages = self.resources.messages();
        if std::mem::take(&mut messages.done)
            && let Position::Message { length, lacking } = self.place
        {
            self.timer.as_mut().reset(Instant::now() + self.bounds.time);
            messages.room.grow_to(length - lacking)?;
        }
        Ok(())
    }
}

impl http_body::Body for BoundedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if let Err(error) = this.resume() {
            return Poll::Ready(Some(Err(refuse(error))));
        }
        if this.timer.as_mut().poll(context).is_ready() {
            // Asked again, it must not be polled after its end.
            this.timer.as_mut().reset(Instant::now() + this.bounds.time);
            let late = ApiError::slow_body();
            return Poll::Ready(Some(Err(refuse(late))));
        }
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(context));
        let Some(Ok(frame)) = frame else {
            this.resources.messages().broke_off |= frame.is_some();
            return Poll::Ready(frame);
        };
        let looked = frame.data_ref().map_or(Ok(()), |data| this.look_at(data));
        Poll::Ready(Some(looked.map(|()| frame).map_err(refuse)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
