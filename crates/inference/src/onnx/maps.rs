//! The keys and the values of a map, each as a tensor: the binding reads texts as UTF-8 only, and a key need not be that.
#![expect(unsafe_code, reason = "the binding has no function for keys that are not UTF-8")]

use std::ptr::{self, NonNull};

use ort::{
    AsPointer,
    memory::Allocator,
    value::{DynValue, Value},
};

use super::{status::checked, values};
use crate::{
    error::Error,
    tensor::{Tensor, TensorData},
};

/// A part of a map, as the runtime numbers them.
#[derive(Clone, Copy)]
enum Part {
    Keys = 0,
    Values = 1,
}

/// The keys of a map, in their order.
pub(super) fn keys(map: &DynValue) -> Result<TensorData, Error> {
    let keys = part(map, Part::Keys)?;
    Ok(keys.picked(&order(&keys)?))
}

/// The values of a map, in the order of their keys.
pub(super) fn values(map: &DynValue) -> Result<TensorData, Error> {
    let order = order(&part(map, Part::Keys)?)?;
    let values = part(map, Part::Values)?;
    if values.len() != order.len() {
        return Err(Error::Runtime);
    }
    Ok(values.picked(&order))
}

fn order(keys: &TensorData) -> Result<Vec<usize>, Error> {
    let mut order: Vec<usize> = (0..keys.len()).collect();
    match keys {
        TensorData::Int64(keys) => order.sort_by_key(|&place| keys[place]),
        TensorData::Bytes(keys) => order.sort_by_key(|&place| &keys[place]),
        _ => return Err(Error::Runtime),
    }
    Ok(order)
}

fn part(map: &DynValue, part: Part) -> Result<TensorData, Error> {
    let allocator = Allocator::default();
    let mut tensor = ptr::null_mut();
    // SAFETY: the map, the allocator and the place for the result live until the call returns; a value that is no map is
    // an error.
    let status =
        unsafe { (ort::api().GetValue)(map.ptr(), part as i32, allocator.ptr().cast_mut(), &raw mut tensor) };
    // SAFETY: what the runtime gives is a status of its own.
    unsafe { checked(status) }.map_err(|error| values::untransferable(&error))?;
    let tensor = NonNull::new(tensor).ok_or(Error::Runtime)?;
    // SAFETY: the runtime made this value with this allocator, and it is nobody else's.
    let tensor: DynValue = unsafe { Value::from_ptr(tensor, Some(&allocator)) };
    let copied = values::copy(&tensor, &[])?.and_then(|mut whole| whole.pop());
    copied.map(|whole: Tensor| whole.into_parts().1).ok_or(Error::Runtime)
}
