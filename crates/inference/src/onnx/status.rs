//! The results of the runtime's own functions, which the binding does not wrap.
#![expect(unsafe_code, reason = "a status is a pointer")]

use ort::{Error, sys::OrtStatusPtr};

/// The error of a call, where it failed.
///
/// # Safety
///
/// The status was just returned by a function of the runtime, and is given to nobody else.
pub(super) unsafe fn checked(status: OrtStatusPtr) -> ort::Result<()> {
    // SAFETY: as the caller says.
    unsafe { Error::result_from_status(status) }
}
