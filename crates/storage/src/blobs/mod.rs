//! Fetching files by `file://`, `https://` and `s3://`. The SHA-256 of each is known beforehand, and a file with
//! another one is refused.

mod address;
mod local;
mod receiving;
mod s3;
mod s3_client;
mod web;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::RetryConfig;
use object_store::aws::AmazonS3;
use url::Url;

pub use address::{is_loopback, is_public as is_public_address};
use receiving::Receiving;
pub use s3::S3Settings;
use web::Web;

/// Attempts in a row that bring nothing more of a file.
const ATTEMPTS: u32 = 5;
/// The pause before the second attempt; each one after is twice as long.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a file may take, all attempts together.
const WHOLE_FILE: Duration = Duration::from_secs(3600);

/// Where files come from.
#[derive(Clone, Debug, Default)]
pub struct BlobSettings {
    /// For `s3://`.
    pub s3: S3Settings,
    /// Whether `http://` is taken from this machine's own addresses: for development.
    pub plain_http: bool,
}

/// One file to fetch.
#[derive(Clone, Copy, Debug)]
pub struct Blob<'a> {
    /// `file:///…`, `https://…` or `s3://bucket/key`.
    pub url: &'a str,
    /// Its SHA-256 in hexadecimal.
    pub sha256: &'a str,
    /// Its size in bytes, where that is known before.
    pub size: Option<u64>,
    /// Bytes that it may have at most.
    pub most: u64,
}

/// Why a file was not fetched. The text names its address without a query, which may be a credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// The other side did not answer, or broke off, in every attempt.
    #[error("{0}")]
    Failed(String),
    /// It refused, or sent another file than requested: repeating it is no use.
    #[error("{0}")]
    Refused(String),
}

type Result<T> = std::result::Result<T, BlobError>;

fn failed<T>(reason: impl Into<String>) -> Result<T> {
    Err(BlobError::Failed(reason.into()))
}

fn refused<T>(reason: impl Into<String>) -> Result<T> {
    Err(BlobError::Refused(reason.into()))
}

/// Fetches files. The clients are made with the first: a server without sources needs none.
#[derive(Debug)]
pub struct Blobs {
    settings: BlobSettings,
    web: Web,
}

/// A response: the first byte's offset, the length of the whole, its entity tag, and the bytes.
struct Opened {
    offset: u64,
    length: Option<u64>,
    tag: Option<String>,
    parts: BoxStream<'static, Result<Bytes>>,
}

impl Blobs {
    /// Connects to nothing yet.
    pub fn new(settings: BlobSettings) -> Self {
        Self { web: Web::new(settings.plain_http), settings }
    }

    /// Checks that files may be fetched from an address.
    pub fn check(url: &str, plain_http: bool) -> Result<()> {
        checked(url, plain_http).map(drop)
    }

    /// An address as it is, and that of a path of this machine.
    pub fn address(text: &str) -> Result<String> {
        if text.contains("://") {
            return Ok(text.to_owned());
        }
        let path = std::path::absolute(text).ok().and_then(|path| Url::from_file_path(path).ok());
        path.map_or_else(|| refused("this is not a path"), |url| Ok(url.to_string()))
    }

    /// The path of what lies on this machine; none where it comes over a network.
    pub fn path(text: &str) -> Option<PathBuf> {
        if !text.contains("://") {
            return Some(text.into());
        }
        Url::parse(text).ok().filter(|url| url.scheme() == "file")?.to_file_path().ok()
    }

    /// The address of a file in the folder that another address lies in; `name` may be a path downwards.
    pub fn beside(url: &str, name: &str) -> Result<String> {
        let Ok(mut url) = Url::parse(url) else { return refused("this is not an address") };
        url.set_query(None);
        match url.path_segments_mut() {
            Ok(mut path) => drop(path.pop().extend(name.split('/'))),
            Err(()) => return refused("nothing lies beside this address"),
        }
        Ok(url.to_string())
    }

    /// Writes a file to `path`, which must not exist, and returns its size. A download that broke off is resumed if the
    /// other side can do that. An error may leave a part of the file behind.
    pub async fn fetch(&self, blob: &Blob<'_>, path: &Path) -> Result<u64> {
        let url = checked(blob.url, self.settings.plain_http)?;
        let mut file = Receiving::create(path, blob).await?;
        let fetching = async {
            let (mut in_vain, mut furthest) = (0, 0);
            loop {
                let reason = match self.resume(&url, &mut file).await {
                    Ok(()) => return file.finish(blob).await,
                    // All of it came, whatever became of the end of the answer.
                    Err(BlobError::Failed(_)) if file.is_whole(blob) => return file.finish(blob).await,
                    Err(BlobError::Failed(reason)) => reason,
                    Err(error) => return Err(error),
                };
                in_vain = if file.written() > furthest { 0 } else { in_vain + 1 };
                furthest = furthest.max(file.written());
                if in_vain == ATTEMPTS {
                    return failed(reason);
                }
                let address = shown(&url);
                tracing::warn!(address, reason, in_vain, "fetching a file is tried again");
                tokio::time::sleep(PAUSE * 2_u32.pow(in_vain.saturating_sub(1))).await;
            }
        };
        let describe = |reason: String| format!("{}: {reason}", shown(&url));
        match tokio::time::timeout(WHOLE_FILE, fetching).await {
            Ok(Ok(size)) => Ok(size),
            Ok(Err(BlobError::Failed(reason))) => failed(describe(reason)),
            Ok(Err(BlobError::Refused(reason))) => refused(describe(reason)),
            Err(_) => failed(describe(format!("it took more than {} s", WHOLE_FILE.as_secs()))),
        }
    }

    async fn resume(&self, url: &Url, file: &mut Receiving) -> Result<()> {
        let from = file.tag().map(|tag| (file.written(), tag.to_owned()));
        let opened = match url.scheme() {
            "file" => local::open(url).await,
            "s3" => s3::open(&self.settings.s3, &self.web, url, from).await,
            _ => self.web.open(url, from).await,
        };
        let mut opened = opened?;
        file.begin(opened.offset, opened.length, opened.tag.take()).await?;
        while let Some(part) = opened.parts.next().await {
            file.take(&part?).await?;
        }
        match opened.length {
            Some(length) if file.written() < length => failed("it broke off"),
            _ => Ok(()),
        }
    }
}

/// A bucket to keep files in, reached as those are that files come from.
pub(crate) fn bucket(settings: &BlobSettings, name: &str, retry: RetryConfig) -> Result<AmazonS3> {
    s3::store(&settings.s3, &Web::new(settings.plain_http), name, retry)
}

/// Parses an address, if files may be fetched from it.
fn checked(text: &str, plain_http: bool) -> Result<Url> {
    let Ok(url) = Url::parse(text) else { return refused("this is not an address") };
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return refused(format!("{}: an address has no user, password or fragment here", shown(&url)));
    }
    match url.scheme() {
        "file" | "https" | "s3" => Ok(url),
        "http" if plain_http && url.host_str().is_some_and(is_loopback) => Ok(url),
        "http" => refused(format!("{}: use https://", shown(&url))),
        _ => refused(format!("{}: use file://, https:// or s3://", shown(&url))),
    }
}

/// An address as it may be shown: its query may be a credential.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_without_credentials_and_over_tls_are_asked() {
        for good in ["file:///srv/m.onnx", "https://models.example.com/m.onnx?sig=x", "s3://bucket/a/b.onnx"]
        {
            assert!(checked(good, false).is_ok(), "{good}");
        }
        for bad in [
            "http://127.0.0.1/m",
            "ftp://x/m",
            "https://u:p@x/m",
            "https://x/m#f",
            "m.onnx",
            "",
            "gopher://x",
        ] {
            assert!(matches!(checked(bad, false), Err(BlobError::Refused(_))), "{bad}");
        }
        assert!(checked("http://127.0.0.1:9/m", true).is_ok() && checked("http://localhost/m", true).is_ok());
        assert!(
            checked("http://10.0.0.1/m", true).is_err() && checked("http://localhost.evil/m", true).is_err()
        );
    }

    #[test]
    fn what_lies_beside_a_file_has_an_address() {
        let beside = |url: &str, name: &str| Blobs::beside(url, name).ok();
        assert_eq!(beside("https://x/a/m.onnx?d=1", "w#1.bin").as_deref(), Some("https://x/a/w%231.bin"));
        assert_eq!(beside("s3://bucket/m.onnx", "data/w.bin").as_deref(), Some("s3://bucket/data/w.bin"));
        assert_eq!(beside("data:x", "w.bin"), None);
        let path = |text: &str| Blobs::path(text).map(|path| path.display().to_string());
        assert_eq!(path("file:///srv/a%20b.onnx").as_deref(), Some("/srv/a b.onnx"));
        assert_eq!((path("a.onnx").as_deref(), path("https://x/m")), (Some("a.onnx"), None));
        assert_eq!(Blobs::address("/srv/a b.onnx").ok().as_deref(), Some("file:///srv/a%20b.onnx"));
        assert_eq!(Blobs::address("s3://bucket/m").ok().as_deref(), Some("s3://bucket/m"));
    }

    #[test]
    fn what_is_told_has_no_query() {
        let describe = checked("http://x/m?X-Amz-Signature=hush", false).expect_err("plain").to_string();
        assert_eq!(describe, "http://x/m: use https://");
        let describe = checked("https://ada:hush@x/m", false).expect_err("a password").to_string();
        assert!(!describe.contains("hush"), "{describe}");
    }
}
