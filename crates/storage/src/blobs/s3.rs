//! `s3://bucket/key`, at Amazon or a compatible service.

use std::iter;

use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, RetryConfig};
use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::address::AllowedNetwork;
use super::s3_client::{Answered, BoundedClient};
use super::web::{Web, is_passing};
use super::{BlobError, Opened, Result, refused};
use crate::with_causes;

/// The service and its credentials.
#[derive(Clone, Debug, Default)]
pub struct S3Settings {
    /// Its address; none: Amazon's for the region.
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: String,
    /// The id of the access key; none: requests are not signed.
    pub key_id: Option<String>,
    /// The secret that belongs to it.
    pub secret: Option<SecretString>,
    /// The token of a session, where the key is one of a session.
    pub token: Option<SecretString>,
}

pub(super) async fn open(
    settings: &S3Settings,
    web: &Web,
    url: &Url,
    from: Option<(u64, String)>,
) -> Result<Opened> {
    let bucket = url.host_str().unwrap_or_default();
    let key = match Path::from_url_path(url.path()) {
        Ok(key) if url.query().is_none() && !key.is_root() => key,
        _ => return refused("write it as s3://bucket/key"),
    };
    // The caller of this retries.
    let once = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let store = store(settings, web, bucket, once)?;
    let answer = match from {
        None => store.get(&key).await,
        Some((offset, tag)) => {
            let (range, if_match) = (Some(GetRange::Offset(offset)), Some(tag));
            match store.get_opts(&key, GetOptions { range, if_match, ..GetOptions::default() }).await {
                Err(error) if has_no_rest(&error) => store.get(&key).await,
                answer => answer,
            }
        }
    };
    let answer = answer.map_err(problem)?;
    let (offset, length) = (answer.range.start, Some(answer.meta.size));
    let tag = answer.meta.e_tag.clone();
    Ok(Opened { offset, length, tag, parts: answer.into_stream().map_err(problem).boxed() })
}

/// A bucket, reached with our own client.
pub(super) fn store(settings: &S3Settings, web: &Web, bucket: &str, retry: RetryConfig) -> Result<AmazonS3> {
    let store =
        builder(settings, bucket, web.client(AllowedNetwork::Named)?.clone()).with_retry(retry).build();
    store.or_else(|error| refused(format!("s3 is not set up: {}", with_causes(&error))))
}

fn builder(settings: &S3Settings, bucket: &str, client: Client) -> AmazonS3Builder {
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(&settings.region)
        // Not every service knows the request that removes many.
        .with_disable_bulk_delete(true)
        .with_http_connector(BoundedClient(client));
    if let Some(endpoint) = &settings.endpoint {
        // The client itself refuses what is not TLS where it should be.
        builder = builder.with_endpoint(endpoint.trim_end_matches('/')).with_allow_http(true);
    }
    match (&settings.key_id, &settings.secret) {
        (Some(id), Some(secret)) => {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret.expose_secret());
            match &settings.token {
                Some(token) => builder.with_token(token.expose_secret()),
                None => builder,
            }
        }
        _ => builder.with_skip_signature(true),
    }
}

/// Whether the rest of a file cannot be had, so that it is asked for from the start: it changed, has no more bytes, or the
/// service knows no ranges.
fn has_no_rest(error: &Error) -> bool {
    let answered = cause::<Answered>(error).map(|answered| answered.status);
    let is_whole = matches!(answered, Some(StatusCode::OK | StatusCode::RANGE_NOT_SATISFIABLE));
    is_whole || matches!(error, Error::Precondition { .. })
}

/// What lies beneath an error.
fn cause<Cause: std::error::Error + 'static>(error: &Error) -> Option<&Cause> {
    let mut causes =
        iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| error.source());
    causes.find_map(|error| error.downcast_ref())
}

/// The text of an answer may hold what was signed, and is for nobody but the log of the service: its status is told, and
/// the code of the error.
fn problem(error: Error) -> BlobError {
    if let Some(answered) = cause::<Answered>(&error) {
        let reason = answered.to_string();
        let is_passing = is_passing(answered.status);
        return if is_passing { BlobError::Failed(reason) } else { BlobError::Refused(reason) };
    }
    match error {
        Error::NotFound { .. } => {
            BlobError::Refused("there is no such file in the bucket, or no such bucket".to_owned())
        }
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            BlobError::Refused("the service does not give it to us".to_owned())
        }
        error => BlobError::Failed(match cause::<reqwest::Error>(&error) {
            Some(error) => with_causes(error),
            None => "it sent an answer that is none of S3".to_owned(),
        }),
    }
}
