//! The memory of a session is cleared before it is given out.
//!
//! Some of the runtime's operators leave parts of their outputs as they found them (`Concat` and products that are given
//! something without elements), and would so answer with what an earlier call left there, another caller's. A session
//! therefore has an allocator of ours, which takes from an arena of the session's own and clears what it took
//! ([decision 40](../../../../docs/decisions/0040-cleared-memory.md)).
#![expect(unsafe_code, reason = "the binding has no functions for allocators of the environment")]

use std::{
    ffi::c_void,
    mem::transmute,
    sync::atomic::{AtomicBool, Ordering},
};

use ort::{
    AsPointer,
    environment::Environment,
    memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType},
    sys::{OrtAllocator, OrtMemoryInfo},
};
use parking_lot::{Mutex, MutexGuard};

use super::{arena::Arena, status::checked};

/// The runtime's functions throw where there is no memory. The exception goes on through ours.
type Allocate = unsafe extern "C-unwind" fn(*mut OrtAllocator, usize) -> *mut c_void;
type Reserve = unsafe extern "C-unwind" fn(*const OrtAllocator, usize) -> *mut c_void;
type Free = unsafe extern "C-unwind" fn(*mut OrtAllocator, *mut c_void);

/// The memory of a session, which it outlives. One place, since the runtime keeps its address.
pub(super) struct ClearedMemory(Box<Allocator>);

#[repr(C)]
struct Allocator {
    /// First, since the runtime passes its address to the functions in it.
    functions: OrtAllocator,
    place: MemoryInfo<'static>,
    arena: Arena,
    allocate: Allocate,
    reserve: Reserve,
    free: Free,
    /// Whether the session was made; what it takes before stays as long as it does.
    runs: AtomicBool,
}

// SAFETY: arenas of the runtime lock themselves, and everything else but an atomic stays as it is.
unsafe impl Send for ClearedMemory {}
// SAFETY: as above.
unsafe impl Sync for ClearedMemory {}

impl ClearedMemory {
    /// At most this many bytes; none: all that there is.
    pub(super) fn new(environment: &Environment, most: Option<u64>) -> ort::Result<Self> {
        let arena = Arena::new(environment, most)?;
        // SAFETY: the arena's handle lives as long as the arena.
        let of_arena = unsafe { arena.pointer().as_ref() };
        let functions = of_arena.and_then(|arena| Some((arena.Alloc?, arena.Reserve?, arena.Free?)));
        let (allocate, reserve, free) =
            functions.ok_or_else(|| ort::Error::new("an arena without functions"))?;
        // SAFETY: they are C++ functions, which may throw: the binding's types leave that out.
        let (allocate, reserve, free) = unsafe {
            (
                transmute::<unsafe extern "system" fn(_, _) -> _, Allocate>(allocate),
                transmute::<unsafe extern "system" fn(_, _) -> _, Reserve>(reserve),
                transmute::<unsafe extern "system" fn(_, _), Free>(free),
            )
        };
        // SAFETY: a description without functions, of the version that the binding was made for.
        let mut functions = unsafe { OrtAllocator::default() };
        // SAFETY: the runtime calls them as the functions of its own, which may throw as well.
        unsafe {
            functions.Alloc = Some(transmute::<Allocate, unsafe extern "system" fn(_, _) -> _>(give));
            functions.Reserve =
                Some(transmute::<Reserve, unsafe extern "system" fn(_, _) -> _>(give_for_good));
            functions.Free = Some(transmute::<Free, unsafe extern "system" fn(_, _)>(take_back));
        }
        functions.Info = Some(info);
        let place = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default)?;
        let runs = AtomicBool::new(false);
        Ok(Self(Box::new(Allocator { functions, place, arena, allocate, reserve, free, runs })))
    }

    /// Sessions that are made with the environment's allocators get this one while what is returned lives.
    pub(super) fn register<'a>(&'a self, environment: &'a Environment) -> ort::Result<Registration<'a>> {
        let place = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default)?;
        Registration::new(environment, place, |_| {
            let allocator = (&raw const *self.0).cast::<OrtAllocator>().cast_mut();
            // SAFETY: the owner of the session keeps it as long as that. Nothing is changed through the pointer.
            unsafe { checked((ort::api().RegisterAllocator)(environment.ptr().cast_mut(), allocator)) }
        })
    }

    /// The session was made: what it takes from now on, runs take.
    pub(super) fn session_is_made(&self) {
        self.0.runs.store(true, Ordering::Relaxed);
    }
}

/// Memory for an output or an intermediate result.
unsafe extern "C-unwind" fn give(this: *mut OrtAllocator, size: usize) -> *mut c_void {
    // SAFETY: the runtime passes what was registered, which is the first member of an allocator.
    let allocator = unsafe { &*this.cast::<Allocator>() };
    if !allocator.runs.load(Ordering::Relaxed) {
        // SAFETY: as above.
        return unsafe { give_for_good(this, size) };
    }
    // SAFETY: the arena is alive, and gives memory of this size or none.
    unsafe { clear((allocator.allocate)(allocator.arena.pointer(), size), size) }
}

/// Memory for as long as the session lives.
unsafe extern "C-unwind" fn give_for_good(this: *const OrtAllocator, size: usize) -> *mut c_void {
    // SAFETY: as above.
    let allocator = unsafe { &*this.cast::<Allocator>() };
    // SAFETY: as above.
    unsafe { clear((allocator.reserve)(allocator.arena.pointer(), size), size) }
}

unsafe extern "C-unwind" fn take_back(this: *mut OrtAllocator, block: *mut c_void) {
    // SAFETY: as above; the block came from this arena.
    unsafe {
        let allocator = &*this.cast::<Allocator>();
        (allocator.free)(allocator.arena.pointer(), block);
    }
}

unsafe extern "system" fn info(this: *const OrtAllocator) -> *const OrtMemoryInfo {
    // SAFETY: as above.
    unsafe { &*this.cast::<Allocator>() }.place.ptr()
}

/// # Safety
///
/// The block is of this size, or null.
unsafe fn clear(block: *mut c_void, size: usize) -> *mut c_void {
    if !block.is_null() {
        // SAFETY: as the caller says.
        unsafe { block.write_bytes(0, size) };
    }
    block
}

/// The environment has one allocator of the processor's memory at a time.
static TURN: Mutex<()> = Mutex::new(());

/// An allocator that sessions get which are made with the environment's allocators while this lives.
pub(super) struct Registration<'a> {
    environment: &'a Environment,
    place: MemoryInfo<'static>,
    _turn: MutexGuard<'static, ()>,
}

impl<'a> Registration<'a> {
    /// Waits for its turn, then has `register` register one for this place.
    pub(super) fn new(
        environment: &'a Environment,
        place: MemoryInfo<'static>,
        register: impl FnOnce(&MemoryInfo<'_>) -> ort::Result<()>,
    ) -> ort::Result<Self> {
        let turn = TURN.lock();
        register(&place)?;
        Ok(Self { environment, place, _turn: turn })
    }

    pub(super) fn place(&self) -> &MemoryInfo<'static> {
        &self.place
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        // SAFETY: both live until the call returns; sessions share the allocator and go on with it. The runtime changes
        // its environment under a lock of its own.
        let taken_back = unsafe {
            checked((ort::api().UnregisterAllocator)(self.environment.ptr().cast_mut(), self.place.ptr()))
        };
        if let Err(error) = taken_back {
            tracing::error!(%error, "an allocator could not be taken back from the environment");
        }
    }
}
