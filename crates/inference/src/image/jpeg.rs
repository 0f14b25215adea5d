//! Whether a JPEG file is whole, and of a kind that can be decoded. The decoder fills what is missing with grey, and a
//! model would answer to that; what it does not know it calls damaged.

const START_OF_IMAGE: u8 = 0xd8;
const END_OF_IMAGE: u8 = 0xd9;
const START_OF_SCAN: u8 = 0xda;

/// Bits of a sample that can be decoded.
const PRECISION: u8 = 8;

/// What the segments of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// They lead to the end-of-image marker.
    Whole,
    /// They lead nowhere.
    Cut,
    /// Its samples are coded in a way, or have a precision, that the decoder does not know.
    Unknown,
}

/// Walks the file's segments (ITU-T T.81, annex B).
pub(super) fn extent(bytes: &[u8]) -> Extent {
    let mut rest = bytes;
    loop {
        let Some((marker, after)) = next_marker(rest) else { return Extent::Cut };
        rest = match marker {
            END_OF_IMAGE => return Extent::Whole,
            // Markers without a segment: start of image, temporary, restart.
            START_OF_IMAGE | 0x01 | 0xd0..=0xd7 => after,
            _ => {
                let Some(&[high, low]) = after.first_chunk::<2>() else { return Extent::Cut };
                if is_unknown(marker, after.get(2)) {
                    return Extent::Unknown;
                }
                let Some(after) = after.get(usize::from(u16::from_be_bytes([high, low]))..) else {
                    return Extent::Cut;
                };
                if marker == START_OF_SCAN { skip_scan(after) } else { after }
            }
        };
    }
}

/// Whether a segment begins a frame that is not sequential or progressive, Huffman-coded and of 8 bits: lossless,
/// hierarchical and arithmetic-coded ones, and JPEG-LS.
fn is_unknown(marker: u8, precision: Option<&u8>) -> bool {
    match marker {
        0xc0..=0xc2 => precision.is_some_and(|&bits| bits != PRECISION),
        0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf | 0xf7 => true,
        _ => false,
    }
}

/// The marker at the start, any fill bytes before it aside.
fn next_marker(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let fill = bytes.iter().take_while(|&&byte| byte == 0xff).count();
    let (&marker, after) = bytes.get(fill..)?.split_first()?;
    (fill > 0).then_some((marker, after))
}

/// What follows the entropy-coded data: in it, 0xff is followed by zero or a restart marker.
fn skip_scan(bytes: &[u8]) -> &[u8] {
    let is_end = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xff | 0xd0..=0xd7);
    let length = bytes.windows(2).position(is_end).unwrap_or(bytes.len());
    &bytes[length..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(frame: u8, precision: u8) -> Vec<u8> {
        [&[0xff, START_OF_IMAGE, 0xff, frame, 0, 3, precision][..], &[0xff, END_OF_IMAGE]].concat()
    }

    #[test]
    fn what_the_decoder_does_not_know_is_told_from_what_is_damaged() {
        for frame in [0xc0, 0xc1, 0xc2] {
            assert_eq!(extent(&file(frame, PRECISION)), Extent::Whole);
            assert_eq!(extent(&file(frame, 12)), Extent::Unknown);
        }
        for frame in [0xc3, 0xc5, 0xc9, 0xcf, 0xf7] {
            assert_eq!(extent(&file(frame, PRECISION)), Extent::Unknown, "{frame:x}");
        }
        // Tables are no frames.
        assert_eq!(extent(&file(0xc4, 12)), Extent::Whole);
        assert_eq!(extent(&file(0xc0, PRECISION)[..7]), Extent::Cut);
    }
}
