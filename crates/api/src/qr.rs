//! QR codes as PNG.

use qrcode::{Color, QrCode};

/// Pixels of a module's side: large enough for the camera of any phone.
const MODULE: usize = 10;
/// Light modules around the code, as many as the standard asks for (ISO/IEC 18004, section 9.1).
const QUIET: usize = 4;

/// The picture of a text, black and white. An error does not contain the text.
pub fn png(text: &str) -> Result<Vec<u8>, String> {
    let code = QrCode::new(text).map_err(|error| format!("QR code: {error}"))?;
    let side = (code.width() + 2 * QUIET) * MODULE;
    let module = |pixel: usize| (pixel / MODULE).checked_sub(QUIET).filter(|module| *module < code.width());
    let is_light = |x, y| match (module(x), module(y)) {
        (Some(x), Some(y)) => code[(x, y)] == Color::Light,
        _ => true,
    };
    // A pixel is a bit; each row begins with a byte of its own.
    let mut bits = vec![0_u8; side.div_ceil(8) * side];
    for (y, row) in bits.chunks_exact_mut(side.div_ceil(8)).enumerate() {
        for x in (0..side).filter(|x| is_light(*x, y)) {
            row[x / 8] |= 0x80 >> (x % 8);
        }
    }
    let mut picture = Vec::new();
    let pixels = u32::try_from(side).map_err(|error| error.to_string())?;
    let mut encoder = png::Encoder::new(&mut picture, pixels, pixels);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(&bits)?;
        writer.finish()
    });
    written.map(|()| picture).map_err(|error| format!("PNG: {error}"))
}
