//! Returns freed memory to the operating system.

/// Returns freed memory to the system; otherwise the C library keeps as much as the largest model ever loaded needed.
/// Takes milliseconds: call it only after loading or unloading a model, or when a server has started.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "glibc alone can do this, and no crate in the tree wraps it")]
        // SAFETY: the signature is glibc's; the function takes its own locks and may be called from any thread.
        unsafe extern "C" {
            safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        malloc_trim(0);
    }
}
