//! Small pictures of every format, whole and broken.
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use image::{ImageEncoder, RgbImage, Rgba, RgbaImage};

use super::*;

/// Header and pixels in one go.
fn decode(bytes: &[u8], color: Color, background: u8, limits: &Limits) -> Result<Pixels, Error> {
    super::decode(open(bytes, limits)?, bytes, color, background)
}

fn limits() -> Limits {
    Limits::from(&Settings::default())
}

fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    image.write_to(&mut file, format).unwrap();
    file.into_inner()
}

/// Left half red, right half blue.
fn halves() -> DynamicImage {
    let color = |x| if x < 16 { [255, 0, 0] } else { [0, 0, 255] };
    RgbImage::from_fn(32, 16, |x, _| image::Rgb(color(x))).into()
}

fn rgb(bytes: &[u8]) -> Pixels {
    decode(bytes, Color::Rgb, 0, &limits()).unwrap()
}

fn refused(bytes: &[u8]) -> String {
    match decode(bytes, Color::Rgb, 0, &limits()) {
        Err(Error::InvalidImage(message)) => message,
        Err(other) => unreachable!("{other:?}"),
        Ok(pixels) => unreachable!("decoded to {}x{}", pixels.width, pixels.height),
    }
}

#[test]
fn each_format_is_told_by_its_content() {
    for format in FORMATS {
        let pixels = rgb(&encode(&halves(), format));
        assert_eq!((pixels.width, pixels.height, pixels.channels), (32, 16, 3), "{format:?}");
        let near = |value: u8, expected: u8| value.abs_diff(expected) < 16;
        assert!(near(pixels.values[0], 255) && near(pixels.values[2], 0), "{format:?}");
        let last = &pixels.values[pixels.values.len() - 3..];
        assert!(near(last[0], 0) && near(last[2], 255), "{format:?}");
    }
}

#[test]
fn channels_and_depths() {
    let gray = DynamicImage::from(image::GrayImage::from_pixel(1, 1, image::Luma([77])));
    assert_eq!(rgb(&encode(&gray, ImageFormat::Png)).values, [77; 3]);
    let deep: image::ImageBuffer<image::Luma<u16>, _> =
        image::ImageBuffer::from_pixel(1, 1, image::Luma([0x8080_u16]));
    assert_eq!(rgb(&encode(&deep.into(), ImageFormat::Png)).values, [0x80; 3]);
    let red = decode(&encode(&halves(), ImageFormat::Png), Color::Gray, 0, &limits()).unwrap();
    assert_eq!((red.channels, red.values[0], red.values[31]), (1, 76, 29));
}

#[test]
fn transparency_shows_the_background() {
    let mut image = RgbaImage::new(2, 1);
    image.put_pixel(0, 0, Rgba([200, 200, 200, 0]));
    image.put_pixel(1, 0, Rgba([200, 100, 0, 128]));
    let file = encode(&image.into(), ImageFormat::Png);
    assert_eq!(decode(&file, Color::Rgb, 255, &limits()).unwrap().values, [255, 255, 255, 227, 177, 127]);
    assert_eq!(decode(&file, Color::Gray, 9, &limits()).unwrap().values[0], 9);
}

#[test]
fn exif_orientation_is_applied() {
    let jpeg = encode(&halves(), ImageFormat::Jpeg);
    // An EXIF segment with the one entry: orientation 6, to be turned by 90 degrees clockwise.
    let exif: &[u8] =
        b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let turned = rgb(&[&jpeg[..2], exif, &jpeg[2..]].concat());
    assert_eq!((turned.width, turned.height), (16, 32));
    assert!(turned.values[0] > 200, "the left side is on top now");
}

/// A chunk of a PNG file.
fn chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let checked = [&kind[..], content].concat();
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&length[..], &checked, &checksum(&checked).to_be_bytes()].concat()
}

#[test]
fn exif_orientation_is_found_wherever_programs_write_it() {
    let exif = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let prefixed = [b"Exif\0\0", &exif[..]].concat();
    let png = encode(&halves(), ImageFormat::Png);
    let end = png.len() - 12;
    assert_eq!(&png[end + 4..end + 8], b"IEND");
    for exif in [&exif[..], &prefixed] {
        // Before the pixels, which begin behind the header, and behind them.
        for place in [33, end] {
            let turned = rgb(&[&png[..place], &chunk(b"eXIf", exif), &png[place..]].concat());
            assert_eq!((turned.width, turned.height), (16, 32), "at {place}");
            assert_eq!(turned.values[0], 255, "the left side is on top now");
        }
        let mut file = Vec::new();
        let mut encoder = image::codecs::webp::WebPEncoder::new_lossless(&mut file);
        encoder.set_exif_metadata(exif.to_vec()).unwrap();
        halves().write_with_encoder(encoder).unwrap();
        assert_eq!((rgb(&file).width, rgb(&file).height), (16, 32));
    }
}

#[test]
fn of_an_animation_the_first_frame_counts() {
    let frame = |value| image::Frame::new(RgbaImage::from_pixel(4, 4, Rgba([value, value, value, 255])));
    let mut file = Vec::new();
    image::codecs::gif::GifEncoder::new(&mut file).encode_frames([frame(255), frame(0)]).unwrap();
    assert_eq!(rgb(&file).values[0], 255);
}

#[test]
fn what_is_not_a_whole_picture_is_refused() {
    assert!(refused(b"").contains("empty"));
    for text in [&b"hello"[..], b"<svg></svg>", b"%PDF-1.4", b"II*\0\x08\0\0\0"] {
        assert!(refused(text).contains("JPEG, PNG, GIF, BMP or WebP"));
    }
    let mut noise = RgbImage::new(64, 64);
    for (index, pixel) in noise.pixels_mut().enumerate() {
        pixel.0 = [index, index / 3, index * 7].map(|value| u8::try_from(value % 251).unwrap());
    }
    let noise = DynamicImage::from(noise);
    for format in FORMATS {
        let whole = encode(&noise, format);
        for length in [4, 16, whole.len() / 3] {
            // A short head of the file may not even show its format.
            refused(&whole[..length]);
        }
    }
}

#[test]
fn a_webp_file_without_its_last_byte_is_refused() {
    let lossy = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/images/lossy.webp")).unwrap();
    for whole in [&lossy[..], &encode(&halves(), ImageFormat::WebP)] {
        rgb(whole);
        rgb(&[whole, b"more"].concat());
        refused(&whole[..whole.len() - 1]);
    }
}

#[test]
fn every_truncation_and_every_wrong_byte_is_an_answer_and_no_panic() {
    for format in FORMATS {
        let whole = encode(&halves(), format);
        for length in 0..whole.len() {
            drop(decode(&whole[..length], Color::Gray, 0, &limits()));
        }
        let mut flipped = whole;
        for position in 0..flipped.len() {
            flipped[position] ^= 0x55;
            drop(decode(&flipped, Color::Gray, 0, &limits()));
            flipped[position] ^= 0x55;
        }
    }
}

#[test]
fn a_bomb_is_refused_by_its_header() {
    let mut bomb = encode(&halves(), ImageFormat::Png);
    let claim = |bomb: &mut Vec<u8>, side: u32| {
        bomb[16..20].copy_from_slice(&side.to_be_bytes());
        bomb[20..24].copy_from_slice(&side.to_be_bytes());
        let sum = checksum(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&sum.to_be_bytes());
    };
    for (side, part) in [
        (60_000, "each side may be at most 16384"),
        (10_000, "in all"),
        (0x7fff_ffff, "each side may be at most 16384"),
    ] {
        claim(&mut bomb, side);
        match decode(&bomb, Color::Rgb, 0, &limits()) {
            Err(Error::ImageTooLarge(message)) => assert!(message.contains(part), "{message}"),
            other => unreachable!("{other:?}"),
        }
    }
    claim(&mut bomb, 0);
    refused(&bomb);
    let small = Limits { bytes: 10, ..limits() };
    assert!(matches!(decode(&bomb, Color::Rgb, 0, &small), Err(Error::ImageTooLarge(_))));
}

#[test]
fn what_a_file_packs_beside_its_pixels_is_not_unpacked_without_end() {
    let with_profile = |length: usize| {
        let mut file = Vec::new();
        let mut encoder = image::codecs::png::PngEncoder::new(&mut file);
        encoder.set_icc_profile(vec![0; length]).unwrap();
        halves().write_with_encoder(encoder).unwrap();
        file
    };
    let profile =
        |file: &[u8]| open(file, &limits()).unwrap().icc_profile().unwrap().map(|profile| profile.len());
    let bomb = with_profile(100 << 20);
    assert!(bomb.len() < 1 << 20, "{}", bomb.len());
    assert_eq!((profile(&with_profile(1 << 20)), profile(&bomb)), (Some(1 << 20), None));
    assert_eq!(rgb(&bomb), rgb(&encode(&halves(), ImageFormat::Png)));
}

/// The CRC-32 of a PNG chunk.
fn checksum(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}
