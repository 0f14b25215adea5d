//! Files in a bucket. Each goes up with one request, of which a bucket keeps all or nothing: no part of a file can be
//! left there.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{BackoffConfig, Error, ObjectMeta, ObjectStore, ObjectStoreExt, Result, RetryConfig};
use url::Url;
use uuid::Uuid;

use crate::BlobSettings;
use crate::blobs::bucket;

/// How often a request that broke off, or met a fault of the service, is sent again, and how soon.
const AGAIN: usize = 2;
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_AT_MOST: Duration = Duration::from_secs(1);
/// How long after the first attempt none more is begun.
const LAST_ATTEMPT: Duration = Duration::from_secs(10);

/// A bucket, or what lies below a prefix of it.
pub(super) struct Bucket {
    store: AmazonS3,
    prefix: Path,
}

/// The bucket and the prefix that an address names.
pub(super) fn parts(url: &str) -> Option<(String, Path)> {
    let url = Url::parse(url).ok()?;
    let plain = url.username().is_empty() && url.password().is_none() && url.port().is_none();
    let plain = plain && url.query().is_none() && url.fragment().is_none();
    let prefix = Path::from_url_path(url.path()).ok()?;
    let name = url.host_str().filter(|name| !name.is_empty())?;
    (plain && url.scheme() == "s3").then(|| (name.to_owned(), prefix))
}

impl Bucket {
    pub fn new(url: &str, settings: &BlobSettings) -> crate::Result<Self> {
        let (name, prefix) = parts(url).ok_or(crate::Error::Refused("write it as s3://bucket/prefix"))?;
        let retry = RetryConfig {
            backoff: BackoffConfig { init_backoff: PAUSE, max_backoff: PAUSE_AT_MOST, base: 2.0 },
            max_retries: AGAIN,
            retry_timeout: LAST_ATTEMPT,
        };
        let store = bucket(settings, &name, retry).map_err(crate::Error::unavailable)?;
        Ok(Self { store, prefix })
    }

    pub async fn ping(&self) -> Result<()> {
        self.store.list(Some(&self.prefix)).try_next().await.map(drop)
    }

    pub async fn put(&self, account: Uuid, id: Uuid, bytes: Vec<u8>) -> Result<()> {
        self.store.put(&self.place(account, id), bytes.into()).await.map(drop)
    }

    pub async fn read(&self, account: Uuid, id: Uuid, most: u64) -> Result<Option<Vec<u8>>> {
        let answer = match self.store.get(&self.place(account, id)).await {
            Err(Error::NotFound { .. }) => return Ok(None),
            answer => answer?,
        };
        if answer.meta.size > most {
            let source = format!("file {id} is longer than what was stored").into();
            return Err(Error::Generic { store: "FILE_DIR", source });
        }
        Ok(Some(answer.bytes().await?.into()))
    }

    pub async fn remove(&self, account: Uuid, id: Uuid) -> Result<()> {
        match self.store.delete(&self.place(account, id)).await {
            Err(Error::NotFound { .. }) => Ok(()),
            removed => removed,
        }
    }

    pub async fn remove_account(&self, account: Uuid) -> Result<()> {
        let files = self.store.list(Some(&self.of(account))).map_ok(|file| file.location);
        self.store.delete_stream(files.boxed()).try_for_each(|_| std::future::ready(Ok(()))).await
    }

    pub async fn accounts(&self) -> Result<Vec<Uuid>> {
        let found = self.store.list_with_delimiter(Some(&self.prefix)).await?;
        Ok(found.common_prefixes.iter().filter_map(id_of).collect())
    }

    pub async fn settled(&self, account: Uuid, before: DateTime<Utc>) -> Result<Vec<Uuid>> {
        let old = |file: ObjectMeta| (file.last_modified < before).then(|| id_of(&file.location)).flatten();
        let files = self.store.list(Some(&self.of(account)));
        files.try_filter_map(|file| std::future::ready(Ok(old(file)))).boxed().try_collect().await
    }

    fn of(&self, account: Uuid) -> Path {
        self.prefix.clone().join(account.to_string())
    }

    fn place(&self, account: Uuid, id: Uuid) -> Path {
        self.of(account).join(id.to_string())
    }
}

fn id_of(place: &Path) -> Option<Uuid> {
    Uuid::parse_str(place.filename()?).ok()
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn an_address_names_a_bucket_and_nothing_else() {
        let read = |url: &str| parts(url).map(|(name, prefix)| format!("{name} {prefix}"));
        assert_eq!(read("s3://bucket/a/b/").as_deref(), Some("bucket a/b"));
        assert_eq!(read("s3://bucket").as_deref(), Some("bucket "));
        for wrong in [
            "bucket",
            "/srv/files",
            "https://bucket/a",
            "s3://",
            "s3://u:p@bucket",
            "s3://b/a?x=1",
            "s3://b/a#f",
            "s3://b:9/a",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
