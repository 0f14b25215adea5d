//! Reading a signed request (RFC 9421, with the digest of the body as RFC 9530 writes it). One form is taken, the one
//! that docs/API.md shows: a choice of what is signed would be a choice of what is not.

use auth::SignedRequest;
use data_encoding::BASE64;

use super::credential::{API_KEY, AUTHORIZATION};
use crate::error::{ApiError, Code, Result};
use crate::transport::HeaderLines;

const INPUT: &str = "signature-input";
const SIGNATURE: &str = "signature";
const DIGEST: &str = "content-digest";
/// What is signed, always.
const COMPONENTS: &str = "(\"@method\" \"@path\" \"@query\" \"content-digest\")";
/// Shortest and longest nonce, in characters.
const NONCE: std::ops::RangeInclusive<usize> = 16..=128;
/// Longest key id that is looked at.
const MAX_KEY_ID: usize = 64;

/// What a request asks for, as it was sent.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// Still encoded.
    pub path: &'a str,
    /// Still encoded, without the question mark.
    pub query: &'a str,
}

/// A signature, and what the body's SHA-256 must be.
pub struct Signature {
    /// What was signed, and how.
    pub request: SignedRequest,
    /// The digest that was signed.
    pub digest: [u8; 32],
}

/// Whether a request says that it is signed.
pub fn is_signed(headers: &impl HeaderLines) -> bool {
    headers.lines(INPUT).chain(headers.lines(SIGNATURE)).next().is_some()
}

/// The signature of a request that says it has one.
pub fn read(headers: &impl HeaderLines, target: Target<'_>) -> Result<Signature> {
    if headers.lines(AUTHORIZATION).chain(headers.lines(API_KEY)).next().is_some() {
        let detail = "A signed request sends no Authorization and no X-API-Key.";
        return Err(ApiError::new(Code::AmbiguousCredentials, detail));
    }
    // Who reads a form may stop before the end of the body, where its digest is known.
    let is_form = headers.text("content-type").is_some_and(|kind| {
        kind.trim_start().get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/"))
    });
    if is_form {
        let detail = "A signed request sends a picture as its body; forms are not signed.";
        return Err(ApiError::new(Code::UnsupportedMediaType, detail));
    }
    let input = one(headers, INPUT)?;
    let (label, parameters) = input.split_once('=').ok_or_else(|| wrong(COMPONENT_RULE))?;
    let parameters = parameters.trim();
    let stated = parameters.strip_prefix(COMPONENTS).ok_or_else(|| wrong(COMPONENT_RULE))?;
    let Parameters { created, key_id, nonce } = Parameters::read(stated)?;
    let signature = one(headers, SIGNATURE)?;
    let signature = signature.trim().strip_prefix(label.trim()).and_then(|rest| rest.strip_prefix('='));
    let signature = signature.and_then(bytes).ok_or_else(|| wrong("write Signature as: sig=:BASE64:"))?;
    let said = one(headers, DIGEST)?;
    let digest = said.trim().strip_prefix("sha-256=").and_then(bytes).and_then(|bytes| bytes.try_into().ok());
    let digest = digest.ok_or_else(|| wrong("write Content-Digest as: sha-256=:BASE64:, also of no body"))?;
    let Target { method, path, query } = target;
    let base = format!(
        "\"@method\": {method}\n\"@path\": {path}\n\"@query\": ?{query}\n\"content-digest\": {}\n\
         \"@signature-params\": {parameters}",
        said.trim()
    );
    Ok(Signature { request: SignedRequest { key_id, created, nonce, base, signature }, digest })
}

const COMPONENT_RULE: &str = "write Signature-Input as: sig=(\"@method\" \"@path\" \"@query\" \"content-digest\");created=…;keyid=\"…\";nonce=\"…\"";

/// What a signature says of itself.
struct Parameters {
    created: i64,
    key_id: String,
    nonce: String,
}

impl Parameters {
    /// Each of them once, in any order, and `alg` only with its one value.
    fn read(text: &str) -> Result<Self> {
        let (mut created, mut key_id, mut nonce, mut algorithm) = (None, None, None, None);
        for parameter in text.strip_prefix(';').unwrap_or(text).split(';') {
            let (name, value) = parameter.trim().split_once('=').ok_or_else(|| wrong(COMPONENT_RULE))?;
            let place = match name {
                "created" => &mut created,
                "keyid" => &mut key_id,
                "nonce" => &mut nonce,
                "alg" => &mut algorithm,
                _ => return Err(wrong("the signature may state created, keyid, nonce and alg only")),
            };
            if place.replace(value).is_some() {
                return Err(wrong("state created, keyid, nonce and alg once each"));
            }
        }
        if algorithm.is_some_and(|name| name != "\"hmac-sha256\"") {
            return Err(wrong("the signature's alg is hmac-sha256"));
        }
        let created = created.and_then(|text| text.parse().ok());
        let key_id = key_id.and_then(quoted).filter(|id| id.len() <= MAX_KEY_ID);
        let nonce = nonce.and_then(quoted).filter(|nonce| NONCE.contains(&nonce.len()));
        match (created, key_id, nonce) {
            (Some(created), Some(key_id), Some(nonce)) => {
                Ok(Self { created, key_id: key_id.to_owned(), nonce: nonce.to_owned() })
            }
            _ => Err(wrong(
                "state created (seconds since 1970), keyid, and a nonce of 16 to 128 letters and digits",
            )),
        }
    }
}

/// The one value of a header.
fn one<'a>(headers: &'a impl HeaderLines, name: &'static str) -> Result<&'a str> {
    let mut lines = headers.lines(name);
    let (first, second) = (lines.next(), lines.next());
    let text = first.filter(|_| second.is_none()).and_then(|line| std::str::from_utf8(line).ok());
    text.ok_or_else(|| wrong("a signed request has Signature-Input, Signature and Content-Digest, once each"))
}

/// Base64 between colons (RFC 8941, section 3.3.5).
fn bytes(text: &str) -> Option<Vec<u8>> {
    let inside = text.trim().strip_prefix(':')?.strip_suffix(':')?;
    BASE64.decode(inside.as_bytes()).ok()
}

/// A text between quotes, of characters that mean nothing elsewhere.
fn quoted(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('"')?.strip_suffix('"')?;
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"._~+/=-".contains(&byte);
    inside.bytes().all(harmless).then_some(inside)
}

fn wrong(what: &'static str) -> ApiError {
    auth::Error::InvalidCredential(what).into()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    const GOOD: &str = "sig=(\"@method\" \"@path\" \"@query\" \"content-digest\");created=1;keyid=\"abc\";nonce=\"0123456789abcdef\"";
    const TARGET: Target<'_> = Target { method: "POST", path: "/a%20b", query: "c=d" };

    fn read_with(input: &str, signature: &str, digest: &str) -> Option<Signature> {
        let mut headers = HeaderMap::new();
        for (name, value) in [(INPUT, input), (SIGNATURE, signature), (DIGEST, digest)] {
            if !value.is_empty() {
                headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
            }
        }
        read(&headers, TARGET).ok()
    }

    fn digest() -> String {
        format!("sha-256=:{}:", BASE64.encode(&[7; 32]))
    }

    #[test]
    fn what_is_signed_is_written_as_the_rfc_does() {
        let signature = read_with(GOOD, "sig=:AAEC:", &digest()).unwrap();
        let parameters = GOOD.strip_prefix("sig=").unwrap();
        let expected = format!(
            "\"@method\": POST\n\"@path\": /a%20b\n\"@query\": ?c=d\n\"content-digest\": {}\n\"@signature-params\": {parameters}",
            digest()
        );
        assert_eq!((signature.request.base, signature.request.signature), (expected, vec![0, 1, 2]));
        assert_eq!((signature.digest, signature.request.created), ([7; 32], 1));
    }

    #[test]
    fn any_other_form_is_refused() {
        let changed = |from: &str, to: &str| GOOD.replace(from, to);
        for input in [
            String::new(),
            "sig".into(),
            changed(" \"content-digest\"", ""),
            changed("\"@method\" ", ""),
            changed("created=1;", ""),
            changed("created=1", "created=1;created=2"),
            changed("created=1", "created=x"),
            changed("nonce=\"0123456789abcdef\"", "nonce=\"short\""),
            changed("0123456789abcdef", "0123456789\\\"abcdef"),
            changed("keyid=\"abc\"", "keyid=abc"),
            changed("created=1", "created=1;alg=\"none\""),
            changed("created=1", "created=1;expires=2"),
            format!("{GOOD}, other=()"),
        ] {
            assert!(read_with(&input, "sig=:AAEC:", &digest()).is_none(), "{input}");
        }
        for signature in ["", "other=:AAEC:", "sig=AAEC", "sig=:!:", "sig=:AAEC:, other=:AAEC:"] {
            assert!(read_with(GOOD, signature, &digest()).is_none(), "{signature}");
        }
        for digest in ["", "sha-256=:AAEC:", "sha-512=:AAEC:", "md5=:AAEC:"] {
            assert!(read_with(GOOD, "sig=:AAEC:", digest).is_none(), "{digest}");
        }
        assert!(
            read_with(&changed("created=1", "created=1;alg=\"hmac-sha256\""), "sig=:AAEC:", &digest())
                .is_some()
        );
    }
}
