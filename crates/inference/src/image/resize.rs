//! Pixels to the size that a model takes.

use fast_image_resize::{
    FilterType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image, ImageRef},
    pixels::PixelType,
};

use super::Pixels;
use crate::{
    error::Error,
    manifest::{Filter, ImageInput, Resize},
};

pub(super) fn resize(pixels: Pixels, input: &ImageInput) -> Result<Pixels, Error> {
    let (width, height) = (input.width, input.height);
    if (pixels.width, pixels.height) == (width, height) && input.resize != Resize::ShorterSide {
        return Ok(pixels);
    }
    let options = ResizeOptions::new().resize_alg(algorithm(input.filter)).use_alpha(false);
    match input.resize {
        Resize::Stretch => scale(&pixels, width, height, &options),
        Resize::Crop => scale(&pixels, width, height, &options.fit_into_destination(None)),
        Resize::ShorterSide => {
            let [left, top, crop_width, crop_height] = centre(&pixels, input);
            scale(&pixels, width, height, &options.crop(left, top, crop_width, crop_height))
        }
        Resize::Pad => {
            let (inner_width, inner_height) = contained(&pixels, width, height);
            let inner = scale(&pixels, inner_width, inner_height, &options)?;
            // An inverted model sees the background inverted too, like every other pixel.
            Ok(centred(&inner, width, height, input.background))
        }
    }
}

fn algorithm(filter: Filter) -> ResizeAlg {
    match filter {
        Filter::Nearest => ResizeAlg::Nearest,
        Filter::Box => ResizeAlg::Convolution(FilterType::Box),
        Filter::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
        Filter::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
        Filter::Lanczos => ResizeAlg::Convolution(FilterType::Lanczos3),
    }
}

fn scale(pixels: &Pixels, width: u32, height: u32, options: &ResizeOptions) -> Result<Pixels, Error> {
    let kind = if pixels.channels == 1 { PixelType::U8 } else { PixelType::U8x3 };
    let source = ImageRef::new(pixels.width, pixels.height, &pixels.values, kind).map_err(failed)?;
    let mut target = Image::new(width, height, kind);
    Resizer::new().resize(&source, &mut target, options).map_err(failed)?;
    Ok(Pixels { width, height, channels: pixels.channels, values: target.into_vec() })
}

fn failed(error: impl std::fmt::Display) -> Error {
    tracing::error!(%error, "a picture could not be resized");
    Error::Runtime
}

/// The part of the picture, in its own pixels, that is the centre of it once its shorter side has its length: left,
/// top, width, height. The longer side is rounded down and the centre to even numbers, as training pipelines do it.
fn centre(pixels: &Pixels, input: &ImageInput) -> [f64; 4] {
    let shorter = u64::from(input.shorter_side.unwrap_or(input.width.max(input.height)));
    let (from_width, from_height) = (u64::from(pixels.width), u64::from(pixels.height));
    let least = from_width.min(from_height);
    let axis = |from: u64, part: u32| {
        #[expect(clippy::cast_precision_loss, reason = "sides have far fewer than 52 bits")]
        let [from, whole] = [from, shorter * from / least].map(|side| side as f64);
        let before = ((whole - f64::from(part)) / 2.0).round_ties_even();
        let pixel = from / whole;
        (before * pixel, f64::from(part) * pixel)
    };
    let (left, width) = axis(from_width, input.width);
    let (top, height) = axis(from_height, input.height);
    [left, top, width.min(f64::from(pixels.width) - left), height.min(f64::from(pixels.height) - top)]
}

/// The largest size of the picture's proportions that fits in. Halves become even numbers, as training pipelines do it.
fn contained(pixels: &Pixels, width: u32, height: u32) -> (u32, u32) {
    let (from_width, from_height) = (u64::from(pixels.width), u64::from(pixels.height));
    let side = |numerator: u64, denominator: u64, limit: u32| {
        let (whole, rest) = (numerator / denominator, numerator % denominator);
        let up = 2 * rest > denominator || 2 * rest == denominator && whole % 2 == 1;
        u32::try_from(whole + u64::from(up)).unwrap_or(limit).clamp(1, limit)
    };
    if u64::from(width) * from_height <= u64::from(height) * from_width {
        (width, side(from_height * u64::from(width), from_width, height))
    } else {
        (side(from_width * u64::from(height), from_height, width), height)
    }
}

fn centred(inner: &Pixels, width: u32, height: u32, background: u8) -> Pixels {
    let channels = inner.channels;
    let (row, inner_row) = (width as usize * channels, inner.width as usize * channels);
    let left = ((width - inner.width) / 2) as usize * channels;
    let top = ((height - inner.height) / 2) as usize;
    let mut values = vec![background; row * height as usize];
    for (line, source) in values.chunks_mut(row).skip(top).zip(inner.values.chunks(inner_row)) {
        line[left..left + inner_row].copy_from_slice(source);
    }
    Pixels { width, height, channels, values }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;
    use crate::manifest::Manifest;

    fn input(width: u32, height: u32, more: &str) -> ImageInput {
        let text =
            format!("[image]\ninput = \"x\"\nwidth = {width}\nheight = {height}\ncolor = \"gray\"\n{more}");
        Manifest::parse(&text).unwrap().image.unwrap()
    }

    fn gray(width: u32, height: u32, values: &[u8]) -> Pixels {
        Pixels { width, height, channels: 1, values: values.to_vec() }
    }

    #[test]
    fn a_box_averages_areas() {
        let picture = gray(4, 2, &[0, 100, 50, 50, 100, 200, 50, 50]);
        let small = resize(picture, &input(2, 1, "filter = \"box\"")).unwrap();
        assert_eq!(small.values, [100, 50]);
    }

    #[test]
    fn cropping_keeps_the_centre() {
        let picture = gray(4, 1, &[10, 20, 30, 40]);
        let middle = resize(picture, &input(2, 1, "resize = \"crop\"\nfilter = \"nearest\"")).unwrap();
        assert_eq!(middle.values, [20, 30]);
    }

    #[test]
    fn the_shorter_side_gets_its_length_and_the_centre_is_cut_out() {
        let row: Vec<u8> = (0..8).map(|x| 10 * x).collect();
        let picture = gray(8, 4, &row.repeat(4));
        // 8 x 4 becomes 4 x 2, of which the middle 2 x 2 are the pixels 2 to 5.
        let cut =
            resize(picture.clone(), &input(2, 2, "resize = \"shorter-side\"\nfilter = \"box\"")).unwrap();
        assert_eq!(cut.values, [25, 45, 25, 45]);
        // 8 x 4 stays, of which the middle 2 x 2 are the pixels 3 and 4.
        let more = "resize = \"shorter-side\"\nshorter_side = 4";
        assert_eq!(resize(picture, &input(2, 2, more)).unwrap().values, [30, 40, 30, 40]);
    }

    #[test]
    fn padding_keeps_the_whole_and_fills_the_rest() {
        let picture = gray(2, 1, &[200, 100]);
        let padded = resize(picture, &input(2, 3, "resize = \"pad\"\nbackground = 7")).unwrap();
        assert_eq!(padded.values, [7, 7, 200, 100, 7, 7]);
        // 10.5 and 1.5 rows.
        for (width, rows) in [(7, 10), (1, 2)] {
            let padded = resize(gray(2, 3, &[200; 6]), &input(width, 60, "resize = \"pad\"")).unwrap();
            let filled = padded.values.iter().filter(|&&value| value > 0).count();
            assert_eq!(filled, width as usize * rows, "{width}");
        }
    }

    #[test]
    fn extreme_proportions_keep_at_least_one_pixel() {
        let picture = gray(1000, 1, &[9; 1000]);
        for way in ["pad", "crop", "stretch", "shorter-side"] {
            let small = resize(picture.clone(), &input(8, 8, &format!("resize = \"{way}\""))).unwrap();
            assert_eq!(small.values.len(), 64);
        }
    }
}
