//! Compressed bodies, as clients send them.

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

/// What the server takes.
pub const ENCODINGS: [&str; 3] = ["gzip", "deflate", "zstd"];

/// A body in one of these encodings.
pub fn pack(encoding: &str, body: &[u8]) -> Vec<u8> {
    match encoding {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(body).and_then(|()| encoder.finish()).expect("a packed body")
        }
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(body).and_then(|()| encoder.finish()).expect("a packed body")
        }
        _ => compress_to_vec(body, CompressionLevel::Fastest),
    }
}
