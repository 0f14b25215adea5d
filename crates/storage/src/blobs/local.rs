//! Files of this machine.

use futures_util::{StreamExt, stream};
use tokio::fs::{self, File};
use tokio::io::AsyncReadExt;
use url::Url;

use super::{BlobError, Opened, Result, refused};

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;

/// Opens a file. A link is followed: an operator named it, and its content is known before.
pub(super) async fn open(url: &Url) -> Result<Opened> {
    let Ok(path) = url.to_file_path() else { return refused("this is not a path of this machine") };
    let unreadable =
        |error: std::io::Error| BlobError::Refused(format!("it cannot be read: {}", error.kind()));
    let metadata = fs::metadata(&path).await.map_err(unreadable)?;
    if !metadata.is_file() {
        return refused("it is not a file");
    }
    let file = File::open(&path).await.map_err(unreadable)?;
    let parts = stream::try_unfold(file, move |mut file| async move {
        let mut chunk = bytes::BytesMut::with_capacity(CHUNK);
        match file.read_buf(&mut chunk).await.map_err(unreadable)? {
            0 => Ok(None),
            _ => Ok(Some((chunk.freeze(), file))),
        }
    });
    Ok(Opened { offset: 0, length: Some(metadata.len()), tag: None, parts: parts.boxed() })
}
