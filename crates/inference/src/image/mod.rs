//! From the bytes of a picture to the values of an input.

mod decode;
mod jpeg;
mod normalise;
mod orientation;
mod pixel_budget;
mod resize;
mod webp;

pub(crate) use decode::{Limits, media_type};
pub(crate) use normalise::{IMAGE_DATATYPES, write};
pub(crate) use pixel_budget::PixelBudget;

use crate::{error::Error, manifest::ImageInput};

/// Decodes, orients and resizes one picture as `input` says; [`write`] then puts it into the tensor. It waits for its
/// pixels' room, and then for nothing more: it is given up where it is not wanted any longer.
pub(crate) fn prepare(
    bytes: &[u8],
    input: &ImageInput,
    limits: &Limits,
    room: &PixelBudget,
    is_wanted: impl Fn() -> bool,
) -> Result<Pixels, Error> {
    let decoder = decode::open(bytes, limits)?;
    let count = decode::count(&decoder) + resize::most_between(decode::longer_side(&decoder), input);
    let _taken = room.take(count, &is_wanted).ok_or(Error::Deadline)?;
    let pixels = decode::decode(decoder, bytes, input.color, input.background)?;
    if is_wanted() { resize::resize(pixels, input) } else { Err(Error::Deadline) }
}

/// Decodes a picture for nothing but to see that it is whole. It waits as [`prepare`] does.
pub(crate) fn validate(
    bytes: &[u8],
    limits: &Limits,
    room: &PixelBudget,
    is_wanted: impl Fn() -> bool,
) -> Result<(), Error> {
    let decoder = decode::open(bytes, limits)?;
    let _taken = room.take(decode::count(&decoder), is_wanted).ok_or(Error::Deadline)?;
    decode::check_decodes(decoder)
}

/// Eight-bit pixels, rows top to bottom, with one grey or three RGB channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pixels {
    width: u32,
    height: u32,
    channels: usize,
    values: Vec<u8>,
}
