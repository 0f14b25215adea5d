//! How much memory the runs of a session may take.
//!
//! The runtime gives each session an arena without a bound, and knows bounds for arenas that belong to the
//! environment only: one is registered there for as long as a session is made, which keeps it.
#![expect(unsafe_code, reason = "the binding has no functions for arenas of the environment")]

use std::{
    ptr::null_mut,
    sync::{Mutex, MutexGuard, PoisonError},
};

use ort::{
    AsPointer,
    environment::Environment,
    memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType},
    sys::{OrtArenaCfg, OrtEnv},
};

use super::status::checked;

/// The runtime's message when a run would exceed the arena.
pub(super) const EXCEEDED: &str = "is smaller than requested bytes";

/// The environment has one arena at a time.
static TURN: Mutex<()> = Mutex::new(());

/// An arena that sessions get which are made with the environment's allocators while this lives.
pub(super) struct Arena<'a> {
    environment: &'a Environment,
    place: MemoryInfo<'static>,
    _turn: MutexGuard<'static, ()>,
}

impl<'a> Arena<'a> {
    /// Registers an arena of at most this many bytes, in the processor's memory.
    pub(super) fn register(environment: &'a Environment, most: u64) -> ort::Result<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let place = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Arena, MemoryType::Default)?;
        let bound = Bound::new(usize::try_from(most).unwrap_or(usize::MAX))?;
        // SAFETY: all three live until the call returns, which copies what it needs.
        unsafe {
            checked((ort::api().CreateAndRegisterAllocator)(pointer(environment), place.ptr(), bound.0))
        }?;
        Ok(Self { environment, place, _turn: turn })
    }
}

impl Drop for Arena<'_> {
    fn drop(&mut self) {
        // SAFETY: both live until the call returns; sessions share the arena and go on with it.
        let taken_back =
            unsafe { checked((ort::api().UnregisterAllocator)(pointer(self.environment), self.place.ptr())) };
        if let Err(error) = taken_back {
            tracing::error!(%error, "an arena could not be taken back from the environment");
        }
    }
}

/// The runtime's own description of an arena.
struct Bound(*mut OrtArenaCfg);

impl Bound {
    fn new(most: usize) -> ort::Result<Self> {
        const DEFAULT: i32 = -1;
        let mut bound = null_mut();
        // SAFETY: the place for the result lives until the call returns.
        unsafe { checked((ort::api().CreateArenaCfg)(most, DEFAULT, DEFAULT, DEFAULT, &raw mut bound)) }?;
        Ok(Self(bound))
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // SAFETY: it was made by the runtime, and this is its only owner.
        unsafe { (ort::api().ReleaseArenaCfg)(self.0) };
    }
}

/// The runtime changes its environment under a lock of its own.
fn pointer(environment: &Environment) -> *mut OrtEnv {
    environment.ptr().cast_mut()
}
