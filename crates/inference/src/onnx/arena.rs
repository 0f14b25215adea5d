//! How much memory the runs of a session may take.
//!
//! The runtime gives each session an arena without a bound, and knows bounds for arenas that belong to the
//! environment only: one is registered there until a session has it, from which it can be had.
#![expect(unsafe_code, reason = "the binding has no functions for arenas of the environment")]

use std::ptr::null_mut;

use ort::{
    AsPointer,
    environment::Environment,
    memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType},
    session::Session,
    sys::{OrtAllocator, OrtArenaCfg},
};

use super::{cleared::Registration, status::checked};

/// The runtime's message when a run would exceed the arena.
pub(super) const EXCEEDED: &str = "is smaller than requested bytes";

/// A model that gives its input back, in ONNX's own format.
const IDENTITY: &[u8] = b"\x08\x08:+\n\x10\n\x01x\x12\x01y\"\x08Identity\x12\x01gZ\t\n\x01x\x12\x04\n\x02\x08\x01b\t\n\x01y\x12\x04\n\x02\x08\x01B\x02\x10\r";

/// An arena in the processor's memory, of its owner alone.
pub(super) struct Arena(*mut OrtAllocator);

impl Arena {
    /// Of at most this many bytes; none: all that there is.
    pub(super) fn new(environment: &Environment, most: Option<u64>) -> ort::Result<Self> {
        const ALL: usize = 0;
        let bound = Bound::new(most.map_or(ALL, |most| usize::try_from(most).unwrap_or(usize::MAX)))?;
        let register = |place: &MemoryInfo<'_>| {
            // SAFETY: all three live until the call returns, which copies what it needs.
            unsafe {
                checked((ort::api().CreateAndRegisterAllocator)(
                    environment.ptr().cast_mut(),
                    place.ptr(),
                    bound.0,
                ))
            }
        };
        let place = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Arena, MemoryType::Default)?;
        let registration = Registration::new(environment, place, register)?;
        let builder = Session::builder(environment)?.with_intra_threads(1)?.with_env_allocators()?;
        let session = builder.with_log_id("arena")?.commit_from_memory(IDENTITY)?;
        let mut arena = null_mut();
        // SAFETY: the session and the place for the result live until the call returns. What is given owns the arena
        // together with the session and the environment, and goes on with it when they are gone.
        unsafe {
            checked((ort::api().CreateAllocator)(session.ptr(), registration.place().ptr(), &raw mut arena))
        }?;
        Ok(Self(arena))
    }

    /// The runtime's handle of it, which lives as long as this does.
    pub(super) fn pointer(&self) -> *mut OrtAllocator {
        self.0
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the runtime made the handle, and this is its only owner.
        unsafe { (ort::api().ReleaseAllocator)(self.0) };
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
