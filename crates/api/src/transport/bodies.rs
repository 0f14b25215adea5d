//! Large bodies, of requests and of model answers: the bound on their memory, in all requests together, and the threads
//! that work on them.
//!
//! Small ones are neither counted nor moved to another thread: they cost nothing here, and are taken while the room
//! for large ones is full. What bounds them is the number of connections.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use actix_web::web::{self, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::error::{ApiError, Code, Result};

/// Most bytes of a body that counts as small, and of an answer that a web worker writes itself.
pub const SMALL: usize = 64 << 10;
/// Room is given out in pieces of this many bytes.
const PIECE: usize = 1 << 10;
/// An account has at most this part of the room, beyond a single call.
const SHARE: usize = 2;

/// The room for large bodies, and the hands that work on them.
pub struct Bodies {
    room: Arc<Room>,
    hands: Arc<Semaphore>,
}

/// The room for large bodies: what is not there cannot be reserved, so that only what has arrived takes some.
struct Room {
    /// All of it, in pieces.
    pieces: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_account: HashMap<Uuid, usize>,
}

impl Bodies {
    /// Room for this many MiB, and one hand less than there are cores: one core is left to the web workers.
    pub fn new(mebibytes: u64) -> Self {
        let pieces = usize::try_from(mebibytes << 20).unwrap_or(usize::MAX) / PIECE;
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            room: Arc::new(Room { pieces, taken: Mutex::default() }),
            hands: Arc::new(Semaphore::new(cores.saturating_sub(1).max(1))),
        }
    }

    /// The beginning of a body of an account that announces a length, or 0. Refuses at once when there is no room for
    /// it now; it takes its room as it comes.
    pub fn expect(&self, account: Option<Uuid>, announced: usize) -> Result<IncomingBody> {
        self.expect_beside(account, announced, 0)
    }

    /// The same for a call that has room for `beside` bytes already.
    pub fn expect_beside(
        &self,
        account: Option<Uuid>,
        announced: usize,
        beside: usize,
    ) -> Result<IncomingBody> {
        let room = self.empty_reservation(account).beside(beside);
        room.check(announced)?;
        Ok(IncomingBody { bytes: BytesMut::with_capacity(announced.min(SMALL)), announced, room })
    }

    /// No room yet, for a body that is kept elsewhere.
    pub fn empty_reservation(&self, account: Option<Uuid>) -> Reservation {
        Reservation { room: Arc::clone(&self.room), account, taken: 0, beside: 0 }
    }

    /// Room for a body of this length. Refuses when there is none.
    pub fn reserve(&self, account: Option<Uuid>, length: usize) -> Result<Reservation> {
        let mut room = self.empty_reservation(account);
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
    announced: usize,
    room: Reservation,
}

/// The room that one body takes; dropping it gives it back.
pub struct Reservation {
    room: Arc<Room>,
    /// Whose it is; none before that is known.
    account: Option<Uuid>,
    /// In pieces.
    taken: usize,
    /// What the same call has besides, in pieces.
    beside: usize,
}

impl IncomingBody {
    /// How much has arrived.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes the room for so many bytes before they are there.
    pub fn reserve(&mut self, length: usize) -> Result<()> {
        self.room.grow_to(length)
    }

    /// Adds what came. Refuses when there is no room for it.
    pub fn push(&mut self, chunk: &[u8]) -> Result<()> {
        let length = self.bytes.len() + chunk.len();
        self.room.grow_to(length)?;
        if length > self.bytes.capacity() {
            // In one piece from here on: what is only announced is not taken up.
            self.bytes.reserve(self.announced.max(length) - self.bytes.len());
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    /// All of it. Its room is free again when the last clone of it is dropped, wherever that is.
    pub fn whole(self) -> Bytes {
        let bytes = self.bytes.freeze();
        match self.room.taken {
            0 => bytes,
            _ => Bytes::from_owner(SharedBody { bytes, _room: self.room }),
        }
    }
}

impl Reservation {
    /// A reservation of a call that has room for so many bytes already: what one call needs it can have, if nothing
    /// else is its account's.
    pub fn beside(mut self, bytes: usize) -> Self {
        self.set_beside(bytes);
        self
    }

    /// Notes, while it is in use, for how many bytes its call has room besides.
    pub fn set_beside(&mut self, bytes: usize) {
        self.beside = bytes.div_ceil(PIECE);
    }

    /// How many bytes it is for.
    pub fn bytes(&self) -> usize {
        self.taken * PIECE
    }

    /// Whose it is.
    pub fn account(&self) -> Option<Uuid> {
        self.account
    }

    /// Gives back all of it.
    pub fn empty(&mut self) {
        if self.taken > 0 {
            self.room.taken.lock().give_back(self.account, self.taken);
            self.taken = 0;
        }
    }

    /// Makes it large enough for this many bytes in all. Refuses when there is no room for them now, and in other
    /// words when there never is.
    pub fn grow_to(&mut self, length: usize) -> Result<()> {
        let Some(more) = self.lacking(length)? else { return Ok(()) };
        let mut taken = self.room.taken.lock();
        taken.check(&self.room, self.account, self.taken + self.beside, more)?;
        taken.all += more;
        if let Some(account) = self.account {
            *taken.by_account.entry(account).or_default() += more;
        }
        self.taken += more;
        Ok(())
    }

    /// Refuses where it could not be made that large now.
    pub fn check(&self, length: usize) -> Result<()> {
        let Some(more) = self.lacking(length)? else { return Ok(()) };
        self.room.taken.lock().check(&self.room, self.account, self.taken + self.beside, more)
    }

    /// The pieces that it lacks for this many bytes; none where it lacks none.
    fn lacking(&self, length: usize) -> Result<Option<usize>> {
        if length <= SMALL || length <= self.taken * PIECE {
            return Ok(None);
        }
        let pieces = length.div_ceil(PIECE);
        if pieces + self.beside > self.room.pieces {
            return Err(never(length));
        }
        Ok(Some(pieces - self.taken))
    }

    /// Takes what another one of the same account holds, to be given back with this; another's is given back now.
    pub fn merge(&mut self, mut other: Self) {
        if self.account == other.account {
            self.taken += std::mem::take(&mut other.taken);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.empty();
    }
}

impl Taken {
    /// Whether a call that has `own` pieces can have `more`.
    fn check(&self, room: &Room, account: Option<Uuid>, own: usize, more: usize) -> Result<()> {
        if room.pieces - self.all < more {
            return Err(full());
        }
        let held = account.and_then(|account| self.by_account.get(&account)).copied().unwrap_or(0);
        let is_only_one = held <= own;
        if account.is_some() && !is_only_one && held + more > room.pieces / SHARE {
            return Err(too_much());
        }
        Ok(())
    }

    fn give_back(&mut self, account: Option<Uuid>, pieces: usize) {
        self.all -= pieces;
        if let Some(account) = account
            && let Some(held) = self.by_account.get_mut(&account)
        {
            *held -= pieces;
            if *held == 0 {
                self.by_account.remove(&account);
            }
        }
    }
}

fn full() -> ApiError {
    ApiError::new(Code::Overloaded, "Too many large bodies are being worked on; try again shortly.")
}

fn too_much() -> ApiError {
    ApiError::new(Code::Overloaded, "Too many large bodies of yours are being worked on; try again shortly.")
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
    _room: Reservation,
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
        let mut body = bodies.expect(None, MIB / 2).unwrap();
        body.push(&[7; MIB / 2]).unwrap();
        let whole = body.whole();
        assert_eq!(whole, &[7; MIB / 2][..]);
        let part = whole.slice(1..2);
        drop(whole);
        assert_eq!(bodies.expect(None, MIB).err().unwrap().code, Code::Overloaded);
        drop(part);
        assert!(bodies.expect(None, MIB).is_ok());
    }

    #[test]
    fn a_body_counts_as_it_comes_and_small_bodies_do_not_count() {
        let bodies = Bodies::new(1);
        let _announced = bodies.expect(None, MIB).unwrap();
        let mut unannounced = bodies.expect(None, 0).unwrap();
        for _ in 0..16 {
            unannounced.push(&[0; MIB / 16]).unwrap();
        }
        assert_eq!(unannounced.push(&[0]).err().unwrap().code, Code::TooLarge, "more than there ever is");
        let mut small = bodies.expect(None, SMALL).unwrap();
        small.push(&[0; SMALL]).unwrap();
        assert_eq!(small.push(&[0]).err().unwrap().code, Code::Overloaded);
        drop(unannounced);
        small.push(&[0]).unwrap();
        assert_eq!(small.len(), SMALL + 1);
    }

    #[test]
    fn an_account_has_half_of_the_room_or_one_body() {
        let bodies = Bodies::new(1);
        let [ada, bob] = [1, 2].map(|number| Some(Uuid::from_u128(number)));
        let mut first = bodies.reserve(ada, MIB / 4).unwrap();
        let second = bodies.reserve(ada, MIB / 4).unwrap();
        assert_eq!(bodies.reserve(ada, MIB / 4).err().unwrap().code, Code::Overloaded);
        assert!(first.grow_to(MIB / 2).is_err());
        let others = bodies.reserve(bob, MIB / 2).unwrap();
        drop((second, others));
        first.grow_to(MIB).unwrap();
        assert!(bodies.reserve(bob, MIB / 4).is_err());
        first.empty();
        let tensors = bodies.reserve(ada, MIB / 4).unwrap();
        assert!(bodies.empty_reservation(ada).grow_to(MIB / 2).is_err());
        assert!(bodies.empty_reservation(ada).beside(tensors.bytes()).grow_to(MIB / 2).is_ok());
        drop(tensors);
        assert!(bodies.reserve(bob, MIB).is_ok());
        assert!(bodies.room.taken.lock().by_account.is_empty() && bodies.room.taken.lock().all == 0);
    }
}
