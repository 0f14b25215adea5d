//! Answers of a connection that are not sent yet, for it to know how long its client lets them wait, and the room that
//! they take meanwhile.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tonic::Status;
use tonic::body::Body;

use crate::transport::Reservation;

/// The answers of a connection that are not sent yet, and since when.
#[derive(Clone, Default)]
pub struct Unsent(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    next: u64,
    since: BTreeMap<u64, Instant>,
}

impl Unsent {
    /// Bytes that count as unsent until their last clone is dropped, which is when they have been written.
    fn track(&self, bytes: Bytes, room: &Arc<Reservation>) -> Bytes {
        let mut waiting = self.0.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.since.insert(number, Instant::now());
        Bytes::from_owner(Tracked { bytes, number, unsent: self.clone(), _room: Arc::clone(room) })
    }

    /// A body whose bytes count like that, and take this room for as long.
    pub fn track_body(self, body: Body, room: Reservation) -> Body {
        Body::new(TrackedBody { inner: body, unsent: self, room: Arc::new(room) })
    }

    /// How long the first of them has been waiting.
    pub fn longest(&self) -> Option<Duration> {
        let waiting = self.0.lock();
        waiting.since.first_key_value().map(|(_, since)| since.elapsed())
    }
}

struct Tracked {
    bytes: Bytes,
    number: u64,
    unsent: Unsent,
    _room: Arc<Reservation>,
}

impl AsRef<[u8]> for Tracked {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.unsent.0.lock().since.remove(&self.number);
    }
}

struct TrackedBody {
    inner: Body,
    unsent: Unsent,
    room: Arc<Reservation>,
}

impl http_body::Body for TrackedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let frame = Pin::new(&mut this.inner).poll_frame(context);
        frame.map_ok(|frame| frame.map_data(|data| this.unsent.track(data, &this.room)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;
    use crate::transport::Bodies;

    #[test]
    fn an_answer_waits_until_its_last_part_is_gone() {
        let unsent = Unsent::default();
        assert!(unsent.longest().is_none());
        let bodies = Bodies::new(1);
        let room = Arc::new(bodies.reserve(None, 1 << 20).unwrap());
        let answer = unsent.track(Bytes::from_static(b"answer"), &room);
        drop(room);
        let part = answer.slice(2..);
        drop(answer);
        assert!(unsent.longest().is_some());
        assert!(bodies.reserve(None, 1 << 20).is_err(), "it still takes its room");
        drop(part);
        assert!(unsent.longest().is_none());
        assert!(bodies.reserve(None, 1 << 20).is_ok());
    }
}
