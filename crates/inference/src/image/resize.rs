//! Pixels to the size that a model takes.

use fast_image_resize::{
    CropBox, FilterType, IntoImageView, ResizeAlg, ResizeOptions, Resizer,
    images::{Image, ImageRef},
    pixels::PixelType,
};

use super::Pixels;
use crate::{
    error::Error,
    manifest::{Filter, ImageInput, Resize},
};

/// How many pixels of the source the widest filter reaches to each side; where it shrinks, as many times more.
const LARGEST_REACH: f64 = 3.0;

pub(super) fn resize(pixels: Pixels, input: &ImageInput) -> Result<Pixels, Error> {
    let (width, height) = (input.width, input.height);
    if (pixels.width, pixels.height) == (width, height) && input.resize != Resize::ShorterSide {
        return Ok(pixels);
    }
    match input.resize {
        Resize::Stretch => scale(&pixels, whole(&pixels), width, height, input.filter),
        Resize::Crop => {
            let part = CropBox::fit_src_into_dst_size(pixels.width, pixels.height, width, height, None);
            scale(&pixels, part, width, height, input.filter)
        }
        Resize::ShorterSide => scale(&pixels, centre(&pixels, input), width, height, input.filter),
        Resize::Pad => {
            let (inner_width, inner_height) = contained(&pixels, width, height);
            let inner = scale(&pixels, whole(&pixels), inner_width, inner_height, input.filter)?;
            // An inverted model sees the background inverted too, like every other pixel.
            Ok(centred(&inner, width, height, input.background))
        }
    }
}

/// Pixels at most that a picture has between the two directions, whichever of its sides is upright.
pub(super) fn most_between(longer_side: u32, input: &ImageInput) -> u64 {
    u64::from(longer_side) * u64::from(input.width)
}

fn whole(pixels: &Pixels) -> CropBox {
    CropBox { left: 0.0, top: 0.0, width: pixels.width.into(), height: pixels.height.into() }
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

/// A part of a picture at another size. Sideways first and then downwards, as Pillow does it: in between levels are
/// rounded and cut off at 0 and 255, so that sharp edges would come out otherwise in the other order. Never both at once:
/// `fast_image_resize` 6.1 then takes the neighbours of the first and the last pixel for the outermost, which they are not
/// where their weight is zero (bicubic), and reads and writes beyond its memory.
fn scale(pixels: &Pixels, part: CropBox, width: u32, height: u32, filter: Filter) -> Result<Pixels, Error> {
    let (algorithm, channels) = (algorithm(filter), pixels.channels);
    let kind = if channels == 1 { PixelType::U8 } else { PixelType::U8x3 };
    let target = if filter == Filter::Nearest {
        let source = ImageRef::new(pixels.width, pixels.height, &pixels.values, kind).map_err(failed)?;
        pass(&source, part, width, height, algorithm)?
    } else {
        let (first, rows) = rows_within_reach(&part, pixels.height, height);
        let row = pixels.width as usize * channels;
        let values = &pixels.values[first as usize * row..(first + rows) as usize * row];
        let source = ImageRef::new(pixels.width, rows, values, kind).map_err(failed)?;
        let sideways = CropBox { top: 0.0, height: rows.into(), ..part };
        let narrow = pass(&source, sideways, width, rows, algorithm)?;
        let top = part.top - f64::from(first);
        let tall = part.height.min(f64::from(rows) - top);
        pass(
            &narrow,
            CropBox { left: 0.0, top, width: width.into(), height: tall },
            width,
            height,
            algorithm,
        )?
    };
    Ok(Pixels { width, height, channels, values: target.into_vec() })
}

/// The rows of a picture that a part of it depends on when it becomes `height` rows: the first, and how many.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the casts saturate, as meant")]
fn rows_within_reach(part: &CropBox, all: u32, height: u32) -> (u32, u32) {
    let reach = LARGEST_REACH * (part.height / f64::from(height)).max(1.0) + 1.0;
    let first = (part.top - reach).floor() as u32;
    let end = ((part.top + part.height + reach).ceil() as u32).min(all);
    (first, end - first)
}

fn pass(
    source: &impl IntoImageView,
    part: CropBox,
    width: u32,
    height: u32,
    algorithm: ResizeAlg,
) -> Result<Image<'static>, Error> {
    let kind = source.pixel_type().ok_or_else(|| failed("its pixels are of no known type"))?;
    let mut target = Image::new(width, height, kind);
    let options = ResizeOptions::new().resize_alg(algorithm).use_alpha(false);
    let options = options.crop(part.left, part.top, part.width, part.height);
    Resizer::new().resize(source, &mut target, &options).map_err(failed)?;
    Ok(target)
}

fn failed(error: impl std::fmt::Display) -> Error {
    tracing::error!(%error, "a picture could not be resized");
    Error::Runtime
}

/// The part of the picture, in its own pixels, that is the centre of it once its shorter side has its length. The longer
/// side is rounded down and the centre to even numbers, as training pipelines do it.
fn centre(pixels: &Pixels, input: &ImageInput) -> CropBox {
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
    let (width, height) =
        (width.min(f64::from(pixels.width) - left), height.min(f64::from(pixels.height) - top));
    CropBox { left, top, width, height }
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

/// Half of the room before, halves of a pixel to the even side, as training pipelines do it.
fn centred(inner: &Pixels, width: u32, height: u32, background: u8) -> Pixels {
    let before = |room: u32| (room / 2 + room % 2 * (room / 2 % 2)) as usize;
    let channels = inner.channels;
    let (row, inner_row) = (width as usize * channels, inner.width as usize * channels);
    let (left, top) = (before(width - inner.width) * channels, before(height - inner.height));
    let mut values = vec![background; row * height as usize];
    for (line, source) in values.chunks_mut(row).skip(top).zip(inner.values.chunks(inner_row)) {
        line[left..left + inner_row].copy_from_slice(source);
    }
    Pixels { width, height, channels, values }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use proptest::prelude::*;
    use proptest::sample;

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
        // 0.5, 1.5, 2.5 and 3.5 rows before.
        for (height, before) in [(2, 0), (4, 2), (6, 2), (8, 4)] {
            let padded = resize(gray(1, 1, &[200]), &input(1, height, "resize = \"pad\"")).unwrap();
            assert_eq!(padded.values.iter().position(|&value| value > 0), Some(before), "{height}");
        }
        // 10.5 and 1.5 rows.
        for (width, rows) in [(7, 10), (1, 2)] {
            let padded = resize(gray(2, 3, &[200; 6]), &input(width, 60, "resize = \"pad\"")).unwrap();
            let filled = padded.values.iter().filter(|&&value| value > 0).count();
            assert_eq!(filled, width as usize * rows, "{width}");
        }
    }

    /// Of these the resizing library would read and write beyond its memory.
    #[test]
    fn no_size_leads_beyond_the_picture() {
        let sizes = [
            (384, 384, 384, 175, 128),
            (384, 384, 384, 187, 128),
            (224, 224, 224, 299, 32),
            (299, 299, 342, 114, 114),
            (299, 299, 342, 266, 266),
            (256, 192, 256, 299, 128),
            (94, 24, 94, 50, 8),
            (28, 20, 30, 14, 10),
            (224, 224, 256, 147, 113),
            (53, 1, 65, 15, 15),
        ];
        for filter in ["nearest", "box", "bilinear", "bicubic", "lanczos"] {
            for (width, height, shorter, from_width, from_height) in sizes {
                let picture = gray(from_width, from_height, &vec![200; (from_width * from_height) as usize]);
                let shorter = format!("shorter-side\"\nshorter_side = {shorter}");
                for way in ["stretch\"", "pad\"", "crop\"", &shorter] {
                    let more = format!("filter = \"{filter}\"\nbackground = 200\nresize = \"{way}");
                    let same = resize(picture.clone(), &input(width, height, &more)).unwrap();
                    assert_eq!(same.values, vec![200; (width * height) as usize], "{filter} {way}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn of_one_colour_every_size_is_of_that_colour(
            from in (1..80_u32, 1..80_u32), to in (1..80_u32, 1..80_u32), longer in 0..20_u32,
            filter in sample::select(vec!["nearest", "box", "bilinear", "bicubic", "lanczos"]),
            way in sample::select(vec!["stretch", "pad", "crop", "shorter-side"]),
            channels in sample::select(vec![1_usize, 3]),
        ) {
            let ((from_width, from_height), (width, height)) = (from, to);
            let shorter = width.max(height) + longer;
            let shorter = if way == "shorter-side" { format!("shorter_side = {shorter}") } else { String::new() };
            let more = format!("filter = \"{filter}\"\nbackground = 90\nresize = \"{way}\"\n{shorter}");
            let values = vec![90; (from_width * from_height) as usize * channels];
            let picture = Pixels { width: from_width, height: from_height, channels, values };
            let same = resize(picture, &input(width, height, &more)).unwrap();
            prop_assert_eq!(same.values, vec![90; (width * height) as usize * channels]);
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
