//! From the bytes of a picture to the values of an input.

mod decode;
mod jpeg;
mod normalise;
mod resize;

pub(crate) use decode::Limits;
pub(crate) use normalise::IMAGE_DATATYPES;

use crate::{
    error::Error,
    manifest::ImageInput,
    tensor::{DataType, TensorData},
};

/// Decodes, orients, resizes and normalises one picture as `input` says; the result has no batch dimension.
pub(crate) fn prepare(
    bytes: &[u8],
    input: &ImageInput,
    datatype: DataType,
    limits: &Limits,
) -> Result<TensorData, Error> {
    let pixels = decode::decode(bytes, input.color, input.background, limits)?;
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
