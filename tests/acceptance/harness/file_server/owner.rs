//! Who may use a bucket, known by the signature of each request (AWS Signature Version 4), the body included.

use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;

use super::request::Request;
use super::sha256;

/// The region that its requests are signed for.
const REGION: &str = "us-east-1";

/// Whose bucket it is.
#[derive(Clone, Debug)]
pub struct Owner {
    id: String,
    secret: String,
}

impl Owner {
    /// The holder of a key.
    pub fn new(id: &str, secret: &str) -> Self {
        Self { id: id.to_owned(), secret: secret.to_owned() }
    }

    /// Whether the request is signed with the key of the owner.
    pub fn signed(&self, request: &Request) -> bool {
        self.signature(request).is_some_and(|expected| {
            request.headers["authorization"].rsplit("Signature=").next() == Some(expected.as_str())
        })
    }

    fn signature(&self, request: &Request) -> Option<String> {
        let Request { method, path, query, headers, body } = request;
        let authorization = headers.get("authorization")?.strip_prefix("AWS4-HMAC-SHA256 ")?;
        let part = |name: &str| authorization.split(name).nth(1)?.split(',').next().map(str::to_owned);
        let (credential, names) = (part("Credential=")?, part("SignedHeaders=")?);
        let (id, scope) = credential.split_once('/')?;
        let date = scope.split('/').next()?;
        if id != self.id || scope != format!("{date}/{REGION}/s3/aws4_request") {
            return None;
        }
        let lines: Option<String> =
            names.split(';').map(|name| Some(format!("{name}:{}\n", headers.get(name)?))).collect();
        let content = sha256(body);
        let mut pairs: Vec<_> = query.split('&').collect();
        pairs.sort_unstable();
        let query = pairs.join("&");
        let request = format!("{method}\n{path}\n{query}\n{}\n{names}\n{content}", lines?);
        let moment = headers.get("x-amz-date")?;
        let text = format!("AWS4-HMAC-SHA256\n{moment}\n{scope}\n{}", sha256(request.as_bytes()));
        let key = [date, REGION, "s3", "aws4_request"]
            .iter()
            .fold(format!("AWS4{}", self.secret).into_bytes(), |key, part| sign(&key, part));
        Some(HEXLOWER.encode(&sign(&key, &text)))
    }
}

fn sign(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_owned()
}
