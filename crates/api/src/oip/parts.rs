//! A body of several pieces that lie where they are until they are sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec;

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;

/// The pieces that are left.
pub struct Parts {
    left: u64,
    parts: vec::IntoIter<Bytes>,
}

impl Parts {
    /// A head and what follows it.
    pub fn new(head: Vec<u8>, mut lent: Vec<Bytes>) -> Self {
        lent.insert(0, head.into());
        let left = lent.iter().map(|part| part.len() as u64).sum();
        Self { left, parts: lent.into_iter() }
    }
}

impl MessageBody for Parts {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.left)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        // An empty piece would look like the end of the body.
        let part = self.parts.find(|part| !part.is_empty());
        self.left -= part.as_ref().map_or(0, |part| part.len() as u64);
        Poll::Ready(part.map(Ok))
    }
}
