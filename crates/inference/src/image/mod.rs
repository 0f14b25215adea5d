//! From the bytes of a picture to the values of an input.

mod decode;
mod jpeg;
mod normalise;
mod resize;
mod room;

pub(crate) use decode::Limits;
pub(crate) use normalise::IMAGE_DATATYPES;
pub(crate) use room::Room;

use crate::{
    error::Error,
    manifest::ImageInput,
    tensor::{DataType, TensorData},
};

/// Decodes, orients, resizes and normalises one picture as `input` says; the result has no batch dimension. It waits for
/// its pixels' room, and then for nothing more: it is given up where it is not wanted any longer.
pub(crate) fn prepare(
    bytes: &[u8],
    input: &ImageInput,
    datatype: DataType,
    limits: &Limits,
    room: &Room,
    is_wanted: impl Fn() -> bool,
) -> Result<TensorData, Error> {
    let decoder = decode::open(bytes, limits)?;
    let _taken = room.take(decode::count(&decoder));
    if !is_wanted() {
        return Err(Error::Deadline);
    }
    let pixels = decode::decode(decoder, input.color, input.background)?;
    let pixels = resize::resize(pixels, input)?;
    normalise::normalise(&pixels, input, datatype)
}

/// Eight-bit pixels, rows top to bottom, with one grey or three RGB channels.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pixels {
    width: u32,
    height: u32,
    channels: usize,
    values: Vec<u8>,
}
