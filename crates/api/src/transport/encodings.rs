//! Compressed bodies (`Content-Encoding`): their unpacked size is bounded, and unpacking stops at the bound.

use std::io::{self, Read, Write};

use actix_web::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap};
use actix_web::web::Bytes;
use flate2::read::MultiGzDecoder;
use flate2::write::{GzEncoder, ZlibEncoder};
use flate2::{Compression, Decompress, FlushDecompress, Status};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use storage::named_enum;

use super::bodies::IncomingBody;
use crate::error::{ApiError, Code, Result};

/// Bytes that are unpacked at a time.
const PIECE: usize = 64 << 10;
/// How far back a zstd body may refer: what RFC 8878 (section 3.1.1.1.2) asks decoders to support. A body's own wish
/// for more would be memory that it takes before it has given anything.
const ZSTD_WINDOW: u64 = 8 << 20;
/// Answers shorter than this are not worth it.
const MIN_ENCODED: usize = 1 << 10;

named_enum! {
    /// A way to write a body shorter; of those that a client likes equally the first is taken. zstd is the last, for
    /// clients that say that they take it do not all read it.
    pub enum Encoding {
        /// RFC 1952.
        Gzip = "gzip",
        /// RFC 1950: zlib's format, as HTTP means it.
        Deflate = "deflate",
        /// RFC 8878, one frame.
        Zstd = "zstd",
    }
}

impl Encoding {
    /// Their names, as `Accept-Encoding` lists them.
    pub const NAMES: &str = "gzip, deflate, zstd";

    /// The one of a name. Names are the same in either case, and `x-gzip` is gzip (RFC 9110, section 8.4.1).
    pub fn named(name: &str) -> Option<Self> {
        let name = if name.eq_ignore_ascii_case("x-gzip") { "gzip" } else { name };
        Self::ALL.iter().copied().find(|encoding| encoding.name().eq_ignore_ascii_case(name))
    }

    /// How a request's body is encoded; none where it is not. Several encodings, one in the other, are not taken.
    pub fn of_request(headers: &HeaderMap) -> Result<Option<Self>> {
        let mut lines = headers.get_all(CONTENT_ENCODING);
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return if headers.contains_key(CONTENT_ENCODING) {
                Err(unsupported(Self::NAMES))
            } else {
                Ok(None)
            };
        };
        let name = line.to_str().unwrap_or_default().trim();
        if name.eq_ignore_ascii_case("identity") {
            return Ok(None);
        }
        Self::named(name).map(Some).ok_or_else(|| unsupported(Self::NAMES))
    }

    /// The client's preferred encoding by `Accept-Encoding` (RFC 9110, section 12.5.3); none where it accepts none.
    pub fn of_answer(headers: &HeaderMap) -> Option<Self> {
        let mut best: Option<(Self, f32)> = None;
        let lines = headers.get_all(ACCEPT_ENCODING).filter_map(|line| line.to_str().ok());
        for item in lines.flat_map(|line| line.split(',')) {
            let mut parts = item.split(';').map(str::trim);
            let Some(encoding) = parts.next().and_then(Self::named) else { continue };
            let weight = parts
                .find_map(|part| part.strip_prefix(['q', 'Q'])?.strip_prefix('='))
                .map_or(Some(1.0), |text| text.parse().ok());
            let weight: f32 = weight.unwrap_or(0.0);
            let rank = |encoding| Self::ALL.iter().position(|one| *one == encoding);
            let better = best.is_none_or(|(known, most)| {
                weight > most || (weight >= most && rank(encoding) < rank(known))
            });
            if weight > 0.0 && better {
                best = Some((encoding, weight));
            }
        }
        best.map(|(encoding, _)| encoding)
    }

    /// Unpacks a whole body into `room`, or refuses: 400 where it is not what its header says, 413 as soon as more than
    /// `limit` bytes come out of it. Work that grows with `limit`.
    pub fn decode(self, body: &[u8], room: IncomingBody, limit: usize) -> Result<Bytes> {
        let mut unpacked = Unpacked { room, limit };
        match self {
            Self::Gzip => unpacked.read(MultiGzDecoder::new(body))?,
            Self::Deflate => unpacked.inflate(body)?,
            Self::Zstd => unpacked.zstd(body)?,
        }
        Ok(unpacked.room.whole())
    }

    /// Packs an answer, quickly rather than well; none where it would not be shorter.
    pub fn encode(self, body: &[u8]) -> Option<Vec<u8>> {
        if body.len() < MIN_ENCODED {
            return None;
        }
        let packed = match self {
            Self::Gzip => pack(GzEncoder::new(Vec::new(), Compression::fast()), body, GzEncoder::finish),
            Self::Deflate => {
                pack(ZlibEncoder::new(Vec::new(), Compression::fast()), body, ZlibEncoder::finish)
            }
            Self::Zstd => Ok(compress_to_vec(body, CompressionLevel::Fastest)),
        };
        packed.ok().filter(|packed| packed.len() < body.len())
    }
}

fn pack<W: Write>(
    mut encoder: W,
    body: &[u8],
    finish: impl FnOnce(W) -> io::Result<Vec<u8>>,
) -> io::Result<Vec<u8>> {
    encoder.write_all(body)?;
    finish(encoder)
}

/// A `Content-Encoding` that is not taken; the answer says which are.
pub fn unsupported(accepted: &'static str) -> ApiError {
    let detail = format!("This Content-Encoding is not accepted here; use one of: {accepted}.");
    let mut error = ApiError::new(Code::UnsupportedMediaType, detail);
    error.hints.accept_encoding = Some(accepted);
    error
}

/// What came out of a body so far.
struct Unpacked {
    room: IncomingBody,
    limit: usize,
}

impl Unpacked {
    fn push(&mut self, piece: &[u8]) -> Result<()> {
        if self.room.len() + piece.len() > self.limit {
            return Err(too_large(self.limit));
        }
        self.room.push(piece)
    }

    fn read(&mut self, mut decoder: impl Read) -> Result<()> {
        let mut piece = vec![0; PIECE];
        loop {
            match decoder.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(length) => self.push(&piece[..length])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(damaged()),
            }
        }
    }

    /// The library's own reader takes a body that breaks off for a whole one.
    fn inflate(&mut self, mut body: &[u8]) -> Result<()> {
        let (mut decoder, mut piece) = (Decompress::new(true), vec![0; PIECE]);
        loop {
            let (taken, given) = (decoder.total_in(), decoder.total_out());
            let status =
                decoder.decompress(body, &mut piece, FlushDecompress::None).map_err(|_| damaged())?;
            let moved = |from: u64, to: u64| usize::try_from(to - from).map_err(|_| damaged());
            let (taken, given) = (moved(taken, decoder.total_in())?, moved(given, decoder.total_out())?);
            body = &body[taken..];
            self.push(&piece[..given])?;
            match status {
                Status::StreamEnd if body.is_empty() => return Ok(()),
                Status::StreamEnd => return Err(damaged()),
                _ if taken == 0 && given == 0 => return Err(damaged()),
                _ => {}
            }
        }
    }

    fn zstd(&mut self, mut body: &[u8]) -> Result<()> {
        let mut frame = FrameDecoder::new();
        frame.set_max_window_size(ZSTD_WINDOW);
        let mut decoder = StreamingDecoder::new_with_decoder(&mut body, frame).map_err(|_| damaged())?;
        self.read(&mut decoder)?;
        let frame = decoder.into_frame_decoder();
        let intact =
            frame.get_checksum_from_data().is_none_or(|sum| frame.get_calculated_checksum() == Some(sum));
        if frame.is_finished() && intact && body.is_empty() { Ok(()) } else { Err(damaged()) }
    }
}

/// More than a body, a picture or a stored file may be.
pub fn too_large(limit: usize) -> ApiError {
    ApiError::new(Code::TooLarge, format!("File too large: the limit is {limit} bytes."))
}

fn damaged() -> ApiError {
    ApiError::new(Code::MalformedRequest, "The body is not what its Content-Encoding says, or not all of it.")
}

#[cfg(test)]
#[path = "encodings_tests.rs"]
mod tests;
