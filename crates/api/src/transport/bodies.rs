//! Large bodies, of requests and of model answers: the bound on their memory, in all requests together, and the threads
//! that work on them.
//!
//! Small ones are neither counted nor moved to another thread: they cost nothing here, and are taken while the room
//! for large ones is full. What bounds them is the number of connections.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use actix_web::web::{self, Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{ApiError, Code, Result};

/// Most bytes of a body that counts as small, and of an answer that a web worker writes itself.
pub const SMALL: usize = 64 << 10;
/// Room is given out in pieces of this many bytes.
const PIECE: usize = 1 << 10;

/// The room for large bodies, and the hands that work on them.
pub struct Bodies {
    room: Arc<Semaphore>,
    /// Pieces of the room, taken and free.
    pieces: usize,
    hands: Arc<Semaphore>,
}

impl Bodies {
    /// Room for this many MiB, and one hand less than there are cores: one core is left to the web workers.
    pub fn new(mebibytes: u64) -> Self {
        let pieces = usize::try_from(mebibytes << 20).unwrap_or(usize::MAX) / PIECE;
        let pieces = pieces.min(Semaphore::MAX_PERMITS);
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            room: Arc::new(Semaphore::new(pieces)),
            pieces,
            hands: Arc::new(Semaphore::new(cores.saturating_sub(1).max(1))),
        }
    }

    /// The beginning of a body that announces a length, or 0. Refuses at once when there is no room for it.
    pub fn expect(&self, announced: usize) -> Result<IncomingBody> {
        let room = self.reserve(announced)?;
        Ok(IncomingBody { bytes: BytesMut::with_capacity(announced), room })
    }

    /// No room yet, for a body that is kept elsewhere.
    pub fn empty_reservation(&self) -> Reservation {
        Reservation { taken: None, all: Arc::clone(&self.room), pieces: self.pieces }
    }

    /// Room for a body of this length. Refuses when there is none.
    pub fn reserve(&self, length: usize) -> Result<Reservation> {
        let mut room = self.empty_reservation();
        room.grow_to(length)?;
        Ok(room)
    }

    /// Does work that grows with `size` bytes: small work at once, large work off the web workers, or not at all when
    /// its turn does not come before the deadline.
    pub async fn work<T: Send + 'static>(
        &self,
        size: usize,
        deadline: Instant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        if size <= SMALL {
            return Ok(work());
        }
        let done = async {
            let hand = Arc::clone(&self.hands).acquire_owned().await.map_err(ApiError::internal)?;
            // The permit goes with the work: it is not free again before that ends, even if nobody waits for it any more.
            let held = move || (work(), hand).0;
            web::block(held).await.map_err(ApiError::internal)
        };
        tokio::time::timeout_at(deadline.into(), done).await.unwrap_or(Err(inference::Error::Deadline.into()))
    }
}

/// A body as it arrives.
pub struct IncomingBody {
    bytes: BytesMut,
    room: Reservation,
}

/// The room that one body takes; dropping it gives it back.
pub struct Reservation {
    taken: Option<OwnedSemaphorePermit>,
    all: Arc<Semaphore>,
    pieces: usize,
}

impl IncomingBody {
    /// How much has arrived.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds what came. Refuses when there is no room for it.
    pub fn push(&mut self, chunk: &[u8]) -> Result<()> {
        self.room.grow_to(self.bytes.len() + chunk.len())?;
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    /// All of it. Its room is free again when the last clone of it is dropped, wherever that is.
    pub fn whole(self) -> Bytes {
        let bytes = self.bytes.freeze();
        match self.room.taken {
            Some(room) => Bytes::from_owner(SharedBody { bytes, _room: room }),
            None => bytes,
        }
    }
}

impl Reservation {
    /// Gives back all of it.
    pub fn empty(&mut self) {
        self.taken = None;
    }

    /// Makes it large enough for this many bytes in all. Refuses when there is no room for them now, and in other
    /// words when there never is.
    pub fn grow_to(&mut self, length: usize) -> Result<()> {
        let taken = self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if length <= SMALL || length <= taken * PIECE {
            return Ok(());
        }
        if length.div_ceil(PIECE) > self.pieces {
            return Err(never(length));
        }
        let more = u32::try_from(length.div_ceil(PIECE) - taken).unwrap_or(u32::MAX);
        let more = Arc::clone(&self.all).try_acquire_many_owned(more).map_err(|_| full())?;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
        Ok(())
    }

    /// Takes what another one holds, to be given back with this.
    pub fn merge(&mut self, other: Self) {
        match (&mut self.taken, other.taken) {
            (Some(taken), Some(more)) => taken.merge(more),
            (taken, more) => *taken = taken.take().or(more),
        }
    }
}

fn full() -> ApiError {
    ApiError::new(Code::Overloaded, "Too many large bodies are being worked on; try again shortly.")
}

fn never(length: usize) -> ApiError {
    let detail = format!(
        "This takes {length} bytes of memory, more than there is for all large bodies together; send less at a time, or \
         tensors as binary data."
    );
    ApiError::new(Code::TooLarge, detail)
}

/// Bytes and the room that they take.
struct SharedBody {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for SharedBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]

    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn room_is_given_back_with_the_last_of_a_body() {
        let bodies = Bodies::new(1);
        let mut body = bodies.expect(MIB / 2).unwrap();
        body.push(&[7; 10]).unwrap();
        let whole = body.whole();
        assert_eq!(whole, &[7; 10][..]);
        let part = whole.slice(1..2);
        drop(whole);
        assert_eq!(bodies.expect(MIB).err().unwrap().code, Code::Overloaded);
        drop(part);
        assert!(bodies.expect(MIB).is_ok());
    }

    #[test]
    fn what_was_not_announced_counts_as_it_comes_and_small_bodies_do_not_count() {
        let bodies = Bodies::new(1);
        let mut unannounced = bodies.expect(0).unwrap();
        for _ in 0..16 {
            unannounced.push(&[0; MIB / 16]).unwrap();
        }
        assert_eq!(unannounced.push(&[0]).err().unwrap().code, Code::TooLarge, "more than there ever is");
        let mut small = bodies.expect(SMALL).unwrap();
        small.push(&[0; SMALL]).unwrap();
        assert_eq!(small.push(&[0]).err().unwrap().code, Code::Overloaded);
        drop(unannounced);
        small.push(&[0]).unwrap();
        assert_eq!(small.len(), SMALL + 1);
    }
}
