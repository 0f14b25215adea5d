//! How the C library keeps memory for later.

/// Sets its bounds. Must run before there are threads.
///
/// Without them the library raises the size from which it gives blocks back with every large block that is freed, so
/// that the memory of one login stays taken for good; and nearly each thread has a place of its own to take memory
/// from, which keeps what that thread freed and nobody else uses.
pub fn bound_what_is_kept() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::bound_what_is_kept();
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    use std::ffi::c_int;
    use std::num::NonZero;
    use std::thread;

    /// Blocks from this size on are the system's again as soon as they are freed, in bytes: a password's hash takes
    /// 19 MiB.
    const GIVEN_BACK_FROM: c_int = 8 << 20;
    /// Free memory that is kept for what comes next, in bytes.
    const KEPT: c_int = 16 << 20;
    /// Fewest arenas, the places that memory is taken from.
    const FEWEST_ARENAS: c_int = 2;

    /// `M_TRIM_THRESHOLD`, `M_MMAP_THRESHOLD` and `M_ARENA_MAX` of malloc.h.
    const TRIM_THRESHOLD: c_int = -1;
    const MMAP_THRESHOLD: c_int = -3;
    const ARENA_MAX: c_int = -8;

    #[expect(unsafe_code, reason = "glibc alone can do this, and no crate in the tree wraps it")]
    // SAFETY: the signature is glibc's; the function takes its own locks and may be called from any thread.
    unsafe extern "C" {
        safe fn mallopt(parameter: c_int, value: c_int) -> c_int;
    }

    pub fn bound_what_is_kept() {
        mallopt(MMAP_THRESHOLD, GIVEN_BACK_FROM);
        mallopt(TRIM_THRESHOLD, KEPT);
        // As many as can be taken from at the same time.
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        mallopt(ARENA_MAX, c_int::try_from(cores).unwrap_or(c_int::MAX).max(FEWEST_ARENAS));
    }
}
