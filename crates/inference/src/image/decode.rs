//! Bytes to pixels. The format is told from the content, never from a name, and the size is checked in the
//! header before a pixel is decoded.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, error::LimitErrorKind};

use super::jpeg::{self, Extent};
use super::{Pixels, orientation, webp};
use crate::{error::Error, manifest::Color, settings::Settings};

/// What is accepted, told from the first bytes.
const FORMATS: [ImageFormat; 5] =
    [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Gif, ImageFormat::Bmp, ImageFormat::WebP];

/// Bytes per pixel of the largest representation, RGBA in 16 bits.
const MAX_PIXEL_BYTES: u64 = 8;

/// How often the decoder of PNG may hold what a file says beside its pixels: as it grows, and as it is kept.
const MAX_METADATA_COPIES: u64 = 4;

/// What a decoder may allocate beside the pixels themselves.
const DECODER_MARGIN: u64 = 16 << 20;

/// What a picture may measure.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) bytes: usize,
    pub(crate) pixels: u64,
    pub(crate) side: u32,
}

impl From<&Settings> for Limits {
    fn from(settings: &Settings) -> Self {
        Self {
            bytes: settings.max_image_bytes,
            pixels: settings.max_image_pixels,
            side: settings.max_image_side,
        }
    }
}

impl Limits {
    pub(crate) fn check_bytes(&self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() > self.bytes {
            return Err(Error::ImageTooLarge(format!(
                "the image is {} bytes large; at most {} are accepted",
                bytes.len(),
                self.bytes
            )));
        }
        Ok(())
    }

    /// For sides so large that a decoder gives up before it tells them.
    fn exceeded(&self) -> Error {
        let Self { pixels, side, .. } = self;
        Error::ImageTooLarge(format!(
            "the image is too large: each side may be at most {side} pixels, and there may be at most {pixels} in all"
        ))
    }

    fn check_size(&self, (width, height): (u32, u32)) -> Result<(), Error> {
        if width == 0 || height == 0 {
            return Err(Error::InvalidImage("the image has no pixels".to_owned()));
        }
        if width > self.side || height > self.side {
            return Err(Error::ImageTooLarge(format!(
                "the image measures {width}x{height} pixels; each side may be at most {}",
                self.side
            )));
        }
        if u64::from(width) * u64::from(height) > self.pixels {
            return Err(Error::ImageTooLarge(format!(
                "the image measures {width}x{height} pixels; at most {} in all are accepted",
                self.pixels
            )));
        }
        Ok(())
    }
}

/// Reads a picture's header and checks what it says; no pixel is decoded.
pub(super) fn open<'a>(bytes: &'a [u8], limits: &Limits) -> Result<impl ImageDecoder + 'a, Error> {
    if bytes.is_empty() {
        return Err(Error::InvalidImage("the image is empty".to_owned()));
    }
    limits.check_bytes(bytes)?;
    let format =
        image::guess_format(bytes).ok().filter(|format| FORMATS.contains(format)).ok_or_else(|| {
            Error::InvalidImage("not an image in a supported format: JPEG, PNG, GIF, BMP or WebP".to_owned())
        })?;
    match format {
        ImageFormat::Jpeg => match jpeg::extent(bytes) {
            Extent::Whole => {}
            Extent::Cut => return Err(damaged()),
            Extent::Unknown => return Err(unsupported()),
        },
        ImageFormat::WebP if !webp::is_whole(bytes) => return Err(damaged()),
        _ => {}
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(allocation_limit(format, bytes.len(), limits));
    let decoder = reader.into_decoder().map_err(|error| match refusal(&error) {
        Error::ImageTooLarge(_) => limits.exceeded(),
        other => other,
    })?;
    limits.check_size(decoder.dimensions())?;
    Ok(decoder)
}

/// What a picture is, as its content says, where its header keeps the limits.
pub(crate) fn media_type(bytes: &[u8], limits: &Limits) -> Result<&'static str, Error> {
    open(bytes, limits)?;
    let format = image::guess_format(bytes).map_err(|error| refusal(&error))?;
    Ok(format.to_mime_type())
}

/// How many pixels a picture has.
pub(super) fn count(decoder: &impl ImageDecoder) -> u64 {
    let (width, height) = decoder.dimensions();
    u64::from(width) * u64::from(height)
}

pub(super) fn longer_side(decoder: &impl ImageDecoder) -> u32 {
    let (width, height) = decoder.dimensions();
    width.max(height)
}

/// Decodes a picture (of an animation the first frame), turns it upright as its EXIF orientation says, and lays
/// it on the background where it is transparent.
pub(super) fn decode(
    mut decoder: impl ImageDecoder,
    bytes: &[u8],
    color: Color,
    background: u8,
) -> Result<Pixels, Error> {
    let orientation = orientation::read(&mut decoder, bytes).map_err(|error| refusal(&error))?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| refusal(&error))?;
    image.apply_orientation(orientation);
    Ok(flatten(image, color, background))
}

/// Decodes a picture and keeps nothing of it.
pub(super) fn check_decodes(decoder: impl ImageDecoder) -> Result<(), Error> {
    DynamicImage::from_decoder(decoder).map(drop).map_err(|error| refusal(&error))
}

/// What the decoder of a file of so many bytes may allocate. That of PNG needs nothing that grows with the pixels, and
/// what it unpacks besides (a colour profile, which nobody reads) could be a thousand times as long as the file.
fn allocation_limit(format: ImageFormat, length: usize, limits: &Limits) -> image::Limits {
    let most = match format {
        ImageFormat::Png => MAX_METADATA_COPIES.saturating_mul(length as u64),
        _ => limits.pixels.saturating_mul(MAX_PIXEL_BYTES),
    };
    let mut allocation = image::Limits::no_limits();
    allocation.max_alloc = Some(most.saturating_add(DECODER_MARGIN));
    allocation
}

/// Says what is wrong in words that do not depend on the decoder's.
fn refusal(error: &ImageError) -> Error {
    tracing::debug!(%error, "a picture was refused");
    match error {
        ImageError::Limits(limit) if !matches!(limit.kind(), LimitErrorKind::Unsupported { .. }) => {
            Error::ImageTooLarge("the image needs too much memory to decode".to_owned())
        }
        ImageError::Unsupported(_) => unsupported(),
        _ => damaged(),
    }
}

fn unsupported() -> Error {
    Error::InvalidImage("the image uses a feature of its format that is not supported".to_owned())
}

fn damaged() -> Error {
    Error::InvalidImage("the image is damaged or incomplete".to_owned())
}

fn flatten(image: DynamicImage, color: Color, background: u8) -> Pixels {
    let (width, height) = (image.width(), image.height());
    let already_gray = color == Color::Gray && matches!(image, DynamicImage::ImageLuma8(_));
    let values = if already_gray {
        image.into_luma8().into_raw()
    } else if image.color().has_alpha() {
        let blend = |value: u8, alpha: u8| {
            let (value, alpha, behind) = (u32::from(value), u32::from(alpha), u32::from(background));
            // At most 255, since the weights add up to 255.
            u8::try_from((value * alpha + behind * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX)
        };
        let pixels = image.into_rgba8().into_raw();
        let flat = pixels.as_chunks::<4>().0.iter();
        let flat = flat.map(|&[red, green, blue, alpha]| [red, green, blue].map(|value| blend(value, alpha)));
        channels(flat, color)
    } else {
        let pixels = image.into_rgb8().into_raw();
        match color {
            Color::Gray => channels(pixels.as_chunks::<3>().0.iter().copied(), color),
            Color::Rgb | Color::Bgr => pixels,
        }
    };
    Pixels { width, height, channels: color.channels(), values }
}

fn channels(pixels: impl Iterator<Item = [u8; 3]>, color: Color) -> Vec<u8> {
    match color {
        Color::Gray => pixels.map(luminance).collect(),
        Color::Rgb | Color::Bgr => pixels.flatten().collect(),
    }
}

/// Luminance by ITU-R BT.601, which is what the common training pipelines use.
fn luminance([red, green, blue]: [u8; 3]) -> u8 {
    let sum = 299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue);
    u8::try_from((sum + 500) / 1000).unwrap_or(u8::MAX)
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
