//! Whether a JPEG file is whole. The decoder fills what is missing with grey, and a model would answer to that.

const START_OF_IMAGE: u8 = 0xd8;
const END_OF_IMAGE: u8 = 0xd9;
const START_OF_SCAN: u8 = 0xda;

/// Walks the file's segments (ITU-T T.81, annex B) and tells whether they lead to the end-of-image marker.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    loop {
        let Some((marker, after)) = next_marker(rest) else { return false };
        rest = match marker {
            END_OF_IMAGE => return true,
            // Markers without a segment: start of image, temporary, restart.
            START_OF_IMAGE | 0x01 | 0xd0..=0xd7 => after,
            _ => {
                let Some(&[high, low]) = after.first_chunk::<2>() else { return false };
                let Some(after) = after.get(usize::from(u16::from_be_bytes([high, low]))..) else {
                    return false;
                };
                if marker == START_OF_SCAN { skip_scan(after) } else { after }
            }
        };
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
