//! String outputs of a model, byte for byte: the binding returns UTF-8 only, and a model need not produce that.
#![expect(unsafe_code, reason = "the binding has no function for texts that are not UTF-8")]

use ort::{AsPointer, value::DynValue};

use super::status::checked;

/// The `count` elements of a tensor of texts.
pub(super) fn read(value: &DynValue, count: usize) -> ort::Result<Vec<Vec<u8>>> {
    let api = ort::api();
    let mut length = 0;
    // SAFETY: the value and the place for the result live until the call returns; what is no text is an error.
    unsafe { checked((api.GetStringTensorDataLength)(value.ptr(), &raw mut length)) }?;
    let (mut content, mut starts) = (vec![0_u8; length], vec![0; count]);
    // SAFETY: as above; no more is written than the lengths say, and another number of elements is an error.
    unsafe {
        checked((api.GetStringTensorContent)(
            value.ptr(),
            content.as_mut_ptr().cast(),
            length,
            starts.as_mut_ptr(),
            count,
        ))
    }?;
    let ends = starts.iter().skip(1).copied().chain([length]);
    let text = |(start, end): (&usize, usize)| content.get(*start..end).unwrap_or_default().to_vec();
    Ok(starts.iter().zip(ends).map(text).collect())
}
