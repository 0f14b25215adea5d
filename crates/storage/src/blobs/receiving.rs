//! A file being received: written, counted and digested as it arrives.

use std::io::SeekFrom;
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::BytesMut;
use data_encoding::HEXLOWER;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

use super::{Blob, BlobError, Result, failed, refused};

/// Bytes that are gathered before they are written.
const WRITTEN_AT_ONCE: usize = 1 << 20;

pub(super) struct Receiving {
    file: File,
    digest: Context,
    gathered: BytesMut,
    written: u64,
    most: u64,
    tag: Option<String>,
}

impl Receiving {
    /// Only the server's user can read it.
    pub(super) async fn create(path: &Path, blob: &Blob<'_>) -> Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(path).await.map_err(unwritable)?;
        Ok(Self {
            file,
            digest: Context::new(&SHA256),
            gathered: BytesMut::new(),
            written: 0,
            most: blob.size.unwrap_or(blob.most).min(blob.most),
            tag: None,
        })
    }

    /// Bytes received so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// The entity tag of the content received so far, so that the rest can be requested.
    pub(super) fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// What comes next begins at `offset`; from the start, what was there is forgotten.
    pub(super) async fn begin(
        &mut self,
        offset: u64,
        length: Option<u64>,
        tag: Option<String>,
    ) -> Result<()> {
        if length.is_some_and(|length| length > self.most) {
            return self.too_large();
        }
        self.tag = tag;
        if offset == self.written {
            return Ok(());
        }
        if offset != 0 {
            self.tag = None;
            return failed("it resumed at another offset than requested");
        }
        self.gathered.clear();
        (self.digest, self.written) = (Context::new(&SHA256), 0);
        self.file.set_len(0).await.map_err(unwritable)?;
        self.file.seek(SeekFrom::Start(0)).await.map(drop).map_err(unwritable)
    }

    pub(super) async fn take(&mut self, part: &[u8]) -> Result<()> {
        let length = self.written + part.len() as u64;
        if length > self.most {
            return self.too_large();
        }
        self.written = length;
        self.digest.update(part);
        self.gathered.extend_from_slice(part);
        if self.gathered.len() >= WRITTEN_AT_ONCE { self.flush().await } else { Ok(()) }
    }

    /// Whether it is the file that was named, as far as it came.
    pub(super) fn is_whole(&self, blob: &Blob<'_>) -> bool {
        blob.size.is_none_or(|size| size == self.written) && self.found().eq_ignore_ascii_case(blob.sha256)
    }

    fn found(&self) -> String {
        HEXLOWER.encode(self.digest.clone().finish().as_ref())
    }

    /// Its size, once it is there to stay and is what it should be.
    pub(super) async fn finish(mut self, blob: &Blob<'_>) -> Result<u64> {
        if let Some(size) = blob.size.filter(|size| *size != self.written) {
            return refused(format!("it has {} bytes and not {size}", self.written));
        }
        self.flush().await?;
        self.file.sync_all().await.map_err(unwritable)?;
        let found = self.found();
        if !found.eq_ignore_ascii_case(blob.sha256) {
            return refused(format!("its SHA-256 is {found} and not the one that was named"));
        }
        Ok(self.written)
    }

    async fn flush(&mut self) -> Result<()> {
        self.file.write_all(&self.gathered).await.map_err(unwritable)?;
        self.gathered.clear();
        self.file.flush().await.map_err(unwritable)
    }

    fn too_large(&self) -> Result<()> {
        refused(format!("it has more than {} bytes", self.most))
    }
}

fn unwritable(error: std::io::Error) -> BlobError {
    BlobError::Refused(format!("it cannot be written: {}", error.kind()))
}
