//! Models fetched from elsewhere.

use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use storage::is_loopback;

use super::{FilePlace, Settings, secret};

/// Models fetched from elsewhere.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Models from elsewhere")]
#[group(skip)]
pub struct SourceSettings {
    /// A model to fetch: file:///…, https://… or s3://bucket/key of an ONNX file. It is fetched once, into MODEL_DIR. An
    /// address may be signed, so that it is kept like a secret.
    #[arg(long = "MODEL_URL", value_parser = secret)]
    pub model_url: Option<SecretString>,
    /// Its SHA-256, 64 hexadecimal digits; required with MODEL_URL.
    #[arg(long = "MODEL_URL_SHA256", value_parser = digest)]
    pub model_url_sha256: Option<String>,
    /// Its name.
    #[arg(long = "MODEL_URL_NAME", default_value = "model")]
    pub model_url_name: String,
    /// Its version. Another file under the same address needs another one.
    #[arg(long = "MODEL_URL_VERSION", default_value = "1")]
    pub model_url_version: String,
    /// Whether http:// to this machine's own addresses is allowed, for s3:// too; development only.
    #[arg(long = "MODEL_SOURCES_PLAIN_HTTP")]
    pub model_sources_plain_http: Option<bool>,
    /// The service that s3:// speaks to, such as https://minio.example.com:9000; unset: Amazon's for the region.
    #[arg(long = "AWS_ENDPOINT_URL")]
    pub aws_endpoint_url: Option<String>,
    /// The region that requests for s3:// are signed for.
    #[arg(long = "AWS_REGION", default_value = "us-east-1")]
    pub aws_region: String,
    /// The id of the access key for s3://; unset: requests are not signed, which is for public buckets.
    #[arg(long = "AWS_ACCESS_KEY_ID")]
    pub aws_access_key_id: Option<String>,
    /// The secret that belongs to it.
    #[arg(long = "AWS_SECRET_ACCESS_KEY", value_parser = secret)]
    pub aws_secret_access_key: Option<SecretString>,
    /// The token of a session, where the key is one of a session.
    #[arg(long = "AWS_SESSION_TOKEN", value_parser = secret)]
    pub aws_session_token: Option<SecretString>,
}

impl SourceSettings {
    /// Whether `http://` is taken from this machine.
    pub fn allows_plain_http(&self) -> bool {
        self.model_sources_plain_http.unwrap_or(false)
    }

    fn endpoint_is_safe(&self) -> bool {
        let Some(endpoint) = &self.aws_endpoint_url else { return true };
        match endpoint.split_once("://") {
            Some(("https", host)) => !host.is_empty() && !host.contains('@'),
            Some(("http", host)) => {
                let host = host.trim_end_matches('/');
                let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
                self.allows_plain_http() && is_loopback(name)
            }
            _ => false,
        }
    }
}

/// What is wrong with them.
pub(super) fn findings(settings: &Settings) -> Vec<String> {
    let SourceSettings { model_url_name, model_url_version, .. } = &settings.sources;
    let sources = &settings.sources;
    let Settings { program, .. } = settings;
    let mut wrong = Vec::new();
    if sources.model_url.is_some() && sources.model_url_sha256.is_none() {
        wrong.push("MODEL_URL needs MODEL_URL_SHA256, the digest of the file (sha256sum FILE)".into());
    }
    let check = |url: &SecretString| storage::Blobs::check(url.expose_secret(), sources.allows_plain_http());
    if let Some(Err(error)) = sources.model_url.as_ref().map(check) {
        wrong.push(format!("MODEL_URL: {error}"));
    }
    for (setting, name) in [("MODEL_URL_NAME", model_url_name), ("MODEL_URL_VERSION", model_url_version)] {
        if !inference::is_name(name) {
            wrong.push(format!(
                "{setting} takes 1 to 128 letters, digits, dots, hyphens and underscores, the first a letter or digit"
            ));
        }
    }
    if program.is_production() && sources.allows_plain_http() {
        wrong.push("MODEL_SOURCES_PLAIN_HTTP is for development; unset it".into());
    }
    if !sources.endpoint_is_safe() {
        wrong.push(
            "AWS_ENDPOINT_URL begins with https://; http:// is for this machine, with MODEL_SOURCES_PLAIN_HTTP=true".into(),
        );
    }
    if sources.aws_access_key_id.is_some() != sources.aws_secret_access_key.is_some() {
        wrong.push("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together; set both or neither".into());
    }
    let keeps_files = matches!(settings.sizes.file_dir, Some(FilePlace::Bucket(_)));
    if keeps_files && sources.aws_access_key_id.is_none() {
        wrong.push("FILE_DIR=s3://… needs AWS_ACCESS_KEY_ID: nobody writes to a bucket unnamed".into());
    }
    wrong
}

fn digest(text: &str) -> Result<String, &'static str> {
    let text = text.trim().to_ascii_lowercase();
    if inference::is_sha256(&text) { Ok(text) } else { Err("a SHA-256 has 64 hexadecimal digits") }
}
