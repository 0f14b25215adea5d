//! How a picture is to be turned, as its EXIF data says.

use image::{ImageDecoder, ImageResult, metadata::Orientation};

/// What stands before EXIF data in JPEG files; some programs write it in WebP and PNG files as well.
const PREFIX: &[u8] = b"Exif\0\0";
const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// The orientation of a picture of which `bytes` are the file.
pub(super) fn read(decoder: &mut impl ImageDecoder, bytes: &[u8]) -> ImageResult<Orientation> {
    let exif = decoder.exif_metadata()?;
    // The decoder of PNG stops looking where the pixels begin, and the data may stand behind them.
    let exif = exif.as_deref().or_else(|| png_chunk(bytes, b"eXIf"));
    let orientation =
        exif.and_then(|exif| Orientation::from_exif_chunk(exif.strip_prefix(PREFIX).unwrap_or(exif)));
    Ok(orientation.unwrap_or(Orientation::NoTransforms))
}

/// The content of a PNG file's first chunk of this kind.
fn png_chunk<'a>(bytes: &'a [u8], wanted: &[u8; 4]) -> Option<&'a [u8]> {
    let mut rest = bytes.strip_prefix(PNG_SIGNATURE)?;
    loop {
        let (length, after) = rest.split_first_chunk()?;
        let (kind, after) = after.split_first_chunk::<4>()?;
        let (content, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        if kind == wanted {
            return Some(content);
        }
        // A checksum ends each chunk.
        rest = after.get(4..)?;
    }
}
