//! A large body, of several parts that lie where they are until they are sent, piece by piece.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec;

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use actix_web::{HttpResponse, HttpResponseBuilder};

use super::bodies::{Reservation, SMALL};

/// Most bytes that are handed over at a time: the web framework copies what it is given and keeps it until it is sent.
const PIECE: usize = 1 << 20;

/// The response with a head as its body and what follows it, which take this room.
pub fn finish(
    response: &mut HttpResponseBuilder,
    head: Vec<u8>,
    lent: Vec<Bytes>,
    room: Reservation,
) -> HttpResponse {
    match lent.is_empty() && head.len() <= SMALL {
        true => response.body(head),
        false => response.body(Parts::new(head, lent, room)),
    }
}

/// What is left of it, and the room that it takes until the last of it was handed over.
struct Parts {
    left: u64,
    begun: Bytes,
    parts: vec::IntoIter<Bytes>,
    _room: Reservation,
}

impl Parts {
    fn new(head: Vec<u8>, lent: Vec<Bytes>, room: Reservation) -> Self {
        let left = head.len() as u64 + lent.iter().map(|part| part.len() as u64).sum::<u64>();
        Self { left, begun: head.into(), parts: lent.into_iter(), _room: room }
    }
}

impl MessageBody for Parts {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.left)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        if self.begun.is_empty() {
            // An empty piece would look like the end of the body.
            self.begun = self.parts.find(|part| !part.is_empty()).unwrap_or_default();
        }
        let length = self.begun.len().min(PIECE);
        let piece = self.begun.split_to(length);
        self.left -= length as u64;
        Poll::Ready((length > 0).then_some(Ok(piece)))
    }
}
