//! How the C library keeps memory for later.

/// Blocks from this size on are the system's again as soon as they are freed, in bytes: a password's hash takes 19 MiB.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const GIVEN_BACK_FROM: std::ffi::c_int = 8 << 20;
/// Free memory that is kept for what comes next, in bytes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: std::ffi::c_int = 16 << 20;

/// Sets both bounds. Without them the library raises its own with every large block that is freed, and the memory of
/// one login stays taken for good.
pub fn bound_what_is_kept() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "glibc alone can do this, and no crate in the tree wraps it")]
        // SAFETY: the signature is glibc's; the function takes its own locks and may be called from any thread.
        unsafe extern "C" {
            safe fn mallopt(parameter: std::ffi::c_int, value: std::ffi::c_int) -> std::ffi::c_int;
        }
        /// `M_TRIM_THRESHOLD` and `M_MMAP_THRESHOLD` of malloc.h.
        const TRIM_THRESHOLD: std::ffi::c_int = -1;
        const MMAP_THRESHOLD: std::ffi::c_int = -3;
        mallopt(MMAP_THRESHOLD, GIVEN_BACK_FROM);
        mallopt(TRIM_THRESHOLD, KEPT);
    }
}
