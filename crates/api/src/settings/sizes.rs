//! How large things may be.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::at_least_one;

/// How large things may be.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Sizes")]
#[group(skip)]
pub struct SizeSettings {
    /// An image to predict, in MiB.
    #[arg(long = "MAX_FILE_SIZE_MB", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub max_file_size_mb: u64,
    /// A stored file, in MiB.
    #[arg(long = "MAX_UPLOAD_SIZE_MB", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub max_upload_size_mb: u64,
    /// Stored files of one account; one more is refused with 409.
    #[arg(long = "MAX_FILES_PER_ACCOUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_files_per_account: u32,
    /// All stored files of one account together, in MiB.
    #[arg(long = "MAX_FILE_STORAGE_PER_ACCOUNT_MB", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub max_file_storage_per_account_mb: u64,
    /// Days that a stored file is kept; 0: until it is deleted.
    #[arg(long = "FILE_RETENTION_DAYS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=36_500))]
    pub file_retention_days: u32,
    /// Where stored files lie, sealed under ENCRYPTION_KEY: a folder, or s3://bucket/prefix, spoken to as AWS_… says;
    /// unset: files/ in DATA_DIR. Replicas share it, and nobody else.
    #[arg(long = "FILE_DIR", value_parser = file_place)]
    pub file_dir: Option<FilePlace>,
    /// Any /api/v1 body, in bytes.
    #[arg(long = "MAX_CONTENT_LENGTH", default_value_t = 16_777_216, value_parser = at_least_one)]
    pub max_content_length: usize,
    /// A JSON body of /api/v1, in bytes; rows and texts to predict from may be as large as any body.
    #[arg(long = "MAX_JSON_LENGTH", default_value_t = 1_048_576, value_parser = at_least_one)]
    pub max_json_length: usize,
    /// A /v2 inference body, in MiB.
    #[arg(long = "MAX_INFER_BODY_MB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=2048))]
    pub max_infer_body_mb: u64,
    /// Bodies of requests and answers of models in memory at a time, in MiB; one more is answered with 503. An
    /// account has at most half of them, or one body. What is up to 64 KiB does not count; the numbers and texts that a
    /// gRPC call has in `contents` count by what they are decoded to as well.
    #[arg(long = "MAX_BODIES_IN_MEMORY_MB", default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub max_bodies_in_memory_mb: u64,
    /// Images in one request.
    #[arg(long = "MAX_IMAGES_PER_REQUEST", default_value_t = 16, value_parser = at_least_one)]
    pub max_images_per_request: usize,
    /// Rows or texts in one request.
    #[arg(long = "MAX_ROWS_PER_REQUEST", default_value_t = 1000, value_parser = at_least_one)]
    pub max_rows_per_request: usize,
    /// Seconds that a body may take to arrive.
    #[arg(long = "BODY_TIMEOUT_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub body_timeout_seconds: u64,
}

/// Where stored files lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilePlace {
    /// A folder.
    Folder(PathBuf),
    /// A bucket, by its address.
    Bucket(String),
}

fn file_place(text: &str) -> Result<FilePlace, &'static str> {
    match text.contains("://") {
        true if storage::Vault::is_bucket(text) => Ok(FilePlace::Bucket(text.to_owned())),
        true => Err("name a folder, or a bucket as s3://bucket/prefix"),
        false => Ok(FilePlace::Folder(text.into())),
    }
}

const MIB: u64 = 1 << 20;

/// Most bytes of a health probe's message.
const PROBE: usize = 4 << 10;

impl SizeSettings {
    /// Largest image in bytes.
    pub fn image_bytes(&self) -> usize {
        bytes(self.max_file_size_mb).min(self.max_content_length)
    }

    /// Largest stored file in bytes.
    pub fn upload_bytes(&self) -> usize {
        bytes(self.max_upload_size_mb).min(self.max_content_length)
    }

    /// Largest inference body in bytes.
    pub fn infer_bytes(&self) -> usize {
        bytes(self.max_infer_body_mb)
    }

    /// Largest message that holds no tensors, in bytes.
    pub fn json_bytes(&self) -> usize {
        self.max_json_length
    }

    /// Largest message of a health probe, in bytes. It names a service at most, and as many come as anybody sends.
    pub fn probe_bytes(&self) -> usize {
        self.json_bytes().min(PROBE)
    }

    /// How long a body may take to arrive.
    pub fn body_timeout(&self) -> Duration {
        Duration::from_secs(self.body_timeout_seconds)
    }

    /// Whether the largest body that is taken at all fits into memory as it may be used.
    pub fn fit(&self) -> bool {
        let largest = self.infer_bytes().max(self.max_content_length).max(self.max_json_length);
        largest <= bytes(self.max_bodies_in_memory_mb)
    }
}

fn bytes(mebibytes: u64) -> usize {
    usize::try_from(mebibytes * MIB).unwrap_or(usize::MAX)
}
