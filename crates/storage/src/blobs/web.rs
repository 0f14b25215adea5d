//! `https://`, and what `s3://` speaks. Certificates are verified against the system's authorities (`SSL_CERT_FILE`
//! names others). No cookie is kept and no connection either.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, HeaderName, IF_RANGE, LOCATION, RANGE, USER_AGENT};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use url::Url;

use super::address::AllowedNetwork;
use super::{BlobError, Opened, Result, failed, refused};
use crate::with_causes;

/// How long it may take to reach a host, and how long the next part of an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The most redirects of one request.
const MAX_REDIRECTS: usize = 5;
/// The `User-Agent`.
const NAME: &str = concat!("modelgate/", env!("CARGO_PKG_VERSION"));

/// The clients, made when they are first needed.
#[derive(Debug)]
pub(super) struct Web {
    plain_http: bool,
    named: OnceLock<Client>,
    public: OnceLock<Client>,
}

impl Web {
    pub(super) fn new(plain_http: bool) -> Self {
        Self { plain_http, named: OnceLock::new(), public: OnceLock::new() }
    }

    /// The client for a network. An error where the system's certificate authorities cannot be read.
    pub(super) fn client(&self, allowed: AllowedNetwork) -> Result<&Client> {
        let kept = match allowed {
            AllowedNetwork::Named => &self.named,
            AllowedNetwork::Public => &self.public,
        };
        if let Some(client) = kept.get() {
            return Ok(client);
        }
        let client = Client::builder()
            .redirect(Policy::none())
            .https_only(allowed == AllowedNetwork::Public || !self.plain_http)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .dns_resolver(Arc::new(RestrictedResolver(allowed)))
            // A connection belongs to the thread that made it, and files are rare.
            .pool_max_idle_per_host(0)
            .build();
        let client =
            client.or_else(|error| failed(format!("requests cannot be sent: {}", with_causes(&error))))?;
        Ok(kept.get_or_init(|| client))
    }

    /// Requests a file, or the rest after the part of this content that is here already.
    pub(super) async fn open(&self, url: &Url, from: Option<(u64, String)>) -> Result<Opened> {
        let (mut url, mut allowed, mut from) = (url.clone(), AllowedNetwork::Named, from);
        for _ in 0..=MAX_REDIRECTS {
            if !allowed.covers_host(&url) {
                return refused("its address is not allowed");
            }
            let mut request = self.client(allowed)?.get(url.as_str()).header(USER_AGENT, NAME);
            if let Some((offset, tag)) = &from {
                request = request.header(RANGE, format!("bytes={offset}-")).header(IF_RANGE, tag);
            }
            let answer = request.send().await.or_else(|error| failed(with_causes(&error.without_url())))?;
            if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE && from.take().is_some() {
                // There is no rest of it: from the start.
                continue;
            }
            if !answer.status().is_redirection() {
                return opened(answer);
            }
            url = next(&url, answer.headers())?;
            allowed = AllowedNetwork::Public;
        }
        refused(format!("it redirects more than {MAX_REDIRECTS} times"))
    }
}

/// The target of a redirect.
fn next(url: &Url, headers: &HeaderMap) -> Result<Url> {
    let location = text(headers, &LOCATION).and_then(|location| url.join(location).ok());
    match location {
        Some(next) if next.scheme() == "https" => Ok(next),
        Some(_) => refused("it redirects to an address without TLS"),
        None => refused("it redirects without a location"),
    }
}

fn opened(answer: Response) -> Result<Opened> {
    let status = answer.status();
    let length = answer.content_length();
    let (offset, length) = match status {
        StatusCode::OK => (0, length),
        StatusCode::PARTIAL_CONTENT => {
            let offset = text(answer.headers(), &CONTENT_RANGE).and_then(first_byte);
            let Some(offset) = offset else { return failed("it sent a part without saying which") };
            (offset, length.map(|length| offset.saturating_add(length)))
        }
        _ if is_passing(status) => return failed(format!("it answered {status}")),
        _ => return refused(format!("it answered {status}")),
    };
    // A weak one promises no equal bytes (RFC 9110, section 13.1.5).
    let tag = text(answer.headers(), &ETAG).filter(|tag| tag.starts_with('"')).map(str::to_owned);
    let broken = |error: reqwest::Error| BlobError::Failed(with_causes(&error.without_url()));
    Ok(Opened { offset, length, tag, parts: answer.bytes_stream().map_err(broken).boxed() })
}

/// Whether another attempt may be answered otherwise.
pub(super) fn is_passing(status: StatusCode) -> bool {
    let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    status.is_server_error() || passing.contains(&status)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The first byte of `bytes 5-9/10`.
fn first_byte(range: &str) -> Option<u64> {
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

/// Finds the addresses of a name, and keeps to those within reach.
#[derive(Debug)]
struct RestrictedResolver(AllowedNetwork);

impl Resolve for RestrictedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = self.0;
        Box::pin(async move {
            let found = allowed.filter(tokio::net::lookup_host((name.as_str(), 0)).await?);
            if found.is_empty() {
                return Err("its host name leads to addresses that are not allowed".into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;

    #[test]
    fn the_first_byte_of_a_part_is_read() {
        assert_eq!(first_byte("bytes 5-9/10"), Some(5));
        for wrong in ["", "bytes", "bytes */10", "5-9/10", "bytes -9/10"] {
            assert_eq!(first_byte(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn we_are_sent_on_by_tls_only() {
        let here = Url::parse("https://models.example.com/a/m.onnx").unwrap();
        let sent = |to: &str| next(&here, &HeaderMap::from_iter([(LOCATION, to.parse().unwrap())]));
        assert_eq!(sent("/b").unwrap().as_str(), "https://models.example.com/b");
        assert!(sent("http://models.example.com/b").is_err() && sent("file:///etc/passwd").is_err());
        assert!(next(&here, &HeaderMap::new()).is_err());
    }
}
