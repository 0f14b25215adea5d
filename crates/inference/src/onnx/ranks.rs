//! Whether a model declares the rank of a tensor: the binding does not distinguish a scalar from a tensor of unknown
//! rank.
#![expect(unsafe_code, reason = "the binding has no function for it")]

use std::ptr::{null, null_mut};

use ort::{
    AsPointer,
    session::Session,
    sys::{OrtTensorTypeAndShapeInfo, OrtTypeInfo},
};

use super::status::checked;

/// Inputs or outputs.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Inputs,
    Outputs,
}

/// Whether the tensor at this place of a session may have any number of dimensions.
pub(super) fn is_open(session: &Session, side: Side, place: usize) -> ort::Result<bool> {
    let api = ort::api();
    let get = match side {
        Side::Inputs => api.SessionGetInputTypeInfo,
        Side::Outputs => api.SessionGetOutputTypeInfo,
    };
    let mut kind = Kind(null_mut());
    // SAFETY: the session and the place for the result live until the call returns; an unknown place is an error.
    unsafe { checked(get(session.ptr(), place, &raw mut kind.0)) }?;
    let mut tensor: *const OrtTensorTypeAndShapeInfo = null();
    // SAFETY: the description was just given, and what it lends lives as long as it does; null where it is of no
    // tensor.
    unsafe { checked((api.CastTypeInfoToTensorInfo)(kind.0, &raw mut tensor)) }?;
    // SAFETY: as above.
    Ok(!tensor.is_null() && !unsafe { (api.TensorTypeAndShape_HasShape)(tensor) })
}

/// The runtime's description of a value.
struct Kind(*mut OrtTypeInfo);

impl Drop for Kind {
    fn drop(&mut self) {
        // SAFETY: it was made by the runtime or is null, and this is its only owner.
        unsafe { (ort::api().ReleaseTypeInfo)(self.0) };
    }
}
