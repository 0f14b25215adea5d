//! The one place that sends requests: documents of issuers, and nothing that a caller names.
//!
//! No redirect is followed, no cookie or credential sent, no connection kept; what comes back is bounded in size and time.
//! Certificates are verified against the system's authorities (`SSL_CERT_FILE` names others).

use std::sync::OnceLock;
use std::time::Duration;

use auth::{DocumentSource, Fetched};
use reqwest::header::{ACCEPT, USER_AGENT};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};

/// How long it may take to reach a host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a document may take, all of it.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest document, in bytes.
const MAX_DOCUMENT: usize = 512 << 10;
/// Who asks.
const NAME: &str = concat!("modelgate/", env!("CARGO_PKG_VERSION"));

/// Fetches documents over HTTP. The client is made with the first: commands, and servers that trust nobody else, need none.
#[derive(Debug, Default)]
pub struct Outgoing(OnceLock<Client>);

impl Outgoing {
    /// An error where the system's certificate authorities cannot be read.
    fn client(&self) -> Result<&Client, String> {
        if let Some(client) = self.0.get() {
            return Ok(client);
        }
        let client = Client::builder()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            // A connection belongs to the thread that made it, and questions are rare.
            .pool_max_idle_per_host(0)
            .build();
        let client = client.map_err(|error| format!("requests cannot be sent: {}", storage::told(&error)))?;
        Ok(self.0.get_or_init(|| client))
    }

    async fn get(&self, address: &str) -> Result<Vec<u8>, String> {
        let request = self.client()?.get(address).header(ACCEPT, "application/json").header(USER_AGENT, NAME);
        let told = |error: reqwest::Error| format!("{address}: {}", storage::told(&error));
        let mut answer = request.send().await.map_err(told)?;
        if answer.status() != StatusCode::OK {
            return Err(format!("{address} answered {}", answer.status()));
        }
        let mut document = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(told)? {
            if document.len() + part.len() > MAX_DOCUMENT {
                return Err(format!("{address}: more than {MAX_DOCUMENT} bytes"));
            }
            document.extend_from_slice(&part);
        }
        Ok(document)
    }
}

impl DocumentSource for Outgoing {
    fn fetch<'a>(&'a self, address: &'a str) -> Fetched<'a> {
        Box::pin(self.get(address))
    }
}
