//! Bodies come out as they went in, up to the limit and no further; what is damaged is refused.
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use actix_web::http::header::{HeaderName, HeaderValue};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::transport::bodies::Bodies;

fn decoded(encoding: Encoding, body: &[u8], limit: usize) -> Result<Bytes> {
    encoding.decode(body, Bodies::new(64).expect(None, 0).unwrap(), limit)
}

/// Packed however short it is.
fn packed(encoding: Encoding, body: &[u8]) -> Vec<u8> {
    match encoding {
        Encoding::Gzip => {
            pack(GzEncoder::new(Vec::new(), Compression::best()), body, GzEncoder::finish).unwrap()
        }
        Encoding::Deflate => {
            pack(ZlibEncoder::new(Vec::new(), Compression::best()), body, ZlibEncoder::finish).unwrap()
        }
        Encoding::Zstd => compress_to_vec(body, CompressionLevel::Fastest),
    }
}

fn code(outcome: Result<Bytes>) -> Code {
    outcome.unwrap_err().code
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_goes_in_comes_out(body in vec(any::<u8>(), 0..3000), again in 1..60_usize) {
        let body = body.repeat(again);
        for &encoding in Encoding::ALL {
            let packed = packed(encoding, &body);
            prop_assert_eq!(&decoded(encoding, &packed, body.len()).unwrap()[..], &body[..]);
            if let Some(packed) = encoding.encode(&body) {
                prop_assert_eq!(&decoded(encoding, &packed, body.len()).unwrap()[..], &body[..]);
            }
            if !body.is_empty() {
                prop_assert_eq!(code(decoded(encoding, &packed, body.len() - 1)), Code::TooLarge);
            }
            prop_assert_eq!(code(decoded(encoding, &packed[..packed.len() - 1], body.len())), Code::MalformedRequest);
            let more = [&packed[..], b"x"].concat();
            prop_assert_eq!(code(decoded(encoding, &more, body.len())), Code::MalformedRequest);
        }
    }

    #[test]
    fn any_bytes_are_unpacked_or_refused(noise in vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>()) {
        for &encoding in Encoding::ALL {
            drop(decoded(encoding, &noise, 1 << 20));
            let mut packed = packed(encoding, &b"a body, a body, a body".repeat(9));
            let place = at.index(packed.len());
            packed[place] = packed[place].wrapping_add(noise.first().copied().unwrap_or(1));
            drop(decoded(encoding, &packed, 1 << 20));
        }
    }
}

#[test]
fn a_bomb_is_refused_before_it_has_gone_off() {
    let zeros = vec![0; 8 << 20];
    for &encoding in Encoding::ALL {
        let bomb = packed(encoding, &zeros);
        assert!(bomb.len() < 100 << 10, "{encoding:?} has {} bytes", bomb.len());
        assert_eq!(code(decoded(encoding, &bomb, 1 << 20)), Code::TooLarge, "{encoding:?}");
    }
}

#[test]
fn several_members_of_gzip_are_one_body() {
    let body = [packed(Encoding::Gzip, b"one "), packed(Encoding::Gzip, b"body")].concat();
    assert_eq!(decoded(Encoding::Gzip, &body, 8).unwrap(), "one body");
}

#[test]
fn a_zstd_body_that_wants_much_memory_gets_none() {
    // Magic number, no content size, a window of 128 MiB, and an empty last block.
    let body = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3, 1, 0, 0];
    assert_eq!(code(decoded(Encoding::Zstd, &body, 1 << 20)), Code::MalformedRequest);
    let harmless = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 13 << 3, 1, 0, 0];
    assert_eq!(decoded(Encoding::Zstd, &harmless, 1 << 20).unwrap(), "");
}

fn headers(name: HeaderName, lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(name.clone(), HeaderValue::from_str(line).unwrap());
    }
    headers
}

#[test]
fn what_the_client_likes_best_is_taken() {
    let chosen = |lines: &[&str]| Encoding::of_answer(&headers(ACCEPT_ENCODING, lines));
    assert_eq!(chosen(&[]), None);
    assert_eq!(chosen(&["br, identity"]), None);
    assert_eq!(chosen(&["zstd, deflate, gzip"]), Some(Encoding::Gzip));
    assert_eq!(chosen(&["deflate", "ZSTD"]), Some(Encoding::Deflate));
    assert_eq!(chosen(&["gzip;q=0.5, zstd; q=0.8, deflate;q=0"]), Some(Encoding::Zstd));
    assert_eq!(chosen(&["gzip;q=0, zstd;q=nonsense"]), None);
    assert_eq!(chosen(&["gzip;Q=0, zstd;Q=0.1"]), Some(Encoding::Zstd));
    assert_eq!(chosen(&["x-gzip"]), Some(Encoding::Gzip));
}

#[test]
fn one_encoding_that_is_known_is_taken() {
    let of =
        |lines: &[&str]| Encoding::of_request(&headers(CONTENT_ENCODING, lines)).map_err(|error| error.code);
    assert_eq!(of(&[]), Ok(None));
    assert_eq!(of(&["Identity"]), Ok(None));
    assert_eq!(of(&["GZIP"]), Ok(Some(Encoding::Gzip)));
    for lines in [&["br"][..], &["gzip, gzip"], &["gzip", "gzip"], &[""]] {
        assert_eq!(of(lines), Err(Code::UnsupportedMediaType), "{lines:?}");
    }
}
