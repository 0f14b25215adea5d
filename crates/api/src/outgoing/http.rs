//! The one place that sends HTTP requests: for issuers' documents, challenge verification and alerts; never to an
//! address that a caller names.
//!
//! No redirect is followed, no cookie or credential sent, no connection kept; what comes back is bounded in size and
//! time. Certificates are verified against the system's authorities (`SSL_CERT_FILE` names others).

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

use auth::{DocumentSource, Fetched};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, RequestBuilder, StatusCode, Url};

/// How long it may take to reach a host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a document may take, all of it.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest document, in bytes.
const MAX_DOCUMENT: usize = 512 << 10;
/// The `User-Agent`.
const NAME: &str = concat!("modelgate/", env!("CARGO_PKG_VERSION"));

/// Fetches documents over HTTP. The client is made with the first: commands, and servers that trust nobody else, need
/// none.
#[derive(Debug, Default)]
pub struct Outgoing(OnceLock<Client>);

impl Outgoing {
    /// An error where the system's certificate authorities cannot be read.
    fn client(&self) -> Result<&Client, String> {
        if let Some(client) = self.0.get() {
            return Ok(client);
        }
        let client = client().build();
        let client =
            client.map_err(|error| format!("requests cannot be sent: {}", storage::with_causes(&error)))?;
        Ok(self.0.get_or_init(|| client))
    }

    async fn get(&self, address: &str) -> Result<Vec<u8>, String> {
        received(address, self.client()?.get(address)).await
    }

    /// Posts a form, already encoded, and gives the answer.
    pub async fn post_form(&self, address: &str, form: String) -> Result<Vec<u8>, String> {
        let request = self.client()?.post(address).body(form);
        received(address, request.header(CONTENT_TYPE, "application/x-www-form-urlencoded")).await
    }
}

/// What holds for every request.
fn client() -> ClientBuilder {
    Client::builder()
        .redirect(Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT)
        // A connection belongs to the thread that made it, and requests are rare.
        .pool_max_idle_per_host(0)
}

/// What is answered with 200, of bounded size.
async fn received(address: &str, request: RequestBuilder) -> Result<Vec<u8>, String> {
    let request = request.header(ACCEPT, "application/json").header(USER_AGENT, NAME);
    let describe = |error: reqwest::Error| format!("{address}: {}", storage::with_causes(&error));
    let mut answer = request.send().await.map_err(describe)?;
    if answer.status() != StatusCode::OK {
        return Err(format!("{address} answered {}", answer.status()));
    }
    let mut document = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(describe)? {
        if document.len() + part.len() > MAX_DOCUMENT {
            return Err(format!("{address}: more than {MAX_DOCUMENT} bytes"));
        }
        document.extend_from_slice(&part);
    }
    Ok(document)
}

impl DocumentSource for Outgoing {
    fn fetch<'a>(&'a self, address: &'a str) -> Fetched<'a> {
        Box::pin(self.get(address))
    }
}

/// A message to post.
pub struct Message<'a> {
    url: &'a str,
    kind: &'static str,
    body: String,
    headers: Vec<(&'static str, String)>,
}

impl<'a> Message<'a> {
    /// A JSON document.
    pub fn json(url: &'a str, body: String) -> Self {
        Self { url, kind: "application/json", body, headers: Vec::new() }
    }

    /// A form, with a bearer token where there is one.
    pub fn form(url: &'a str, fields: &[(&str, &str)], token: Option<&str>) -> Self {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        let body = body.extend_pairs(fields).finish();
        let headers = token.map(|token| ("authorization", format!("Bearer {token}"))).into_iter().collect();
        Self { url, kind: "application/x-www-form-urlencoded", body, headers }
    }

    /// With one more header.
    pub fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// Posts messages to addresses that the operator named, by the same rules. Unless it may, to none inside: names are
/// resolved once, and what is connected to is what was looked at.
#[derive(Debug)]
pub struct Messenger {
    client: OnceLock<Client>,
    allows_private: bool,
}

impl Messenger {
    /// The client is made with the first message.
    pub fn new(allows_private: bool) -> Self {
        Self { client: OnceLock::new(), allows_private }
    }

    /// Posts a message. The error does not contain its address, which may be a secret.
    pub async fn post(&self, message: Message<'_>) -> Result<(), String> {
        let url: Url = message.url.parse().map_err(|_| "its address cannot be read".to_owned())?;
        if !self.allows_private
            && literal_address(&url).is_some_and(|address| !storage::is_public_address(address))
        {
            return Err(INSIDE.into());
        }
        let request = self.client()?.post(url).header(USER_AGENT, NAME).header(CONTENT_TYPE, message.kind);
        let request =
            message.headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        let answer = request.body(message.body).send().await;
        let answer = answer.map_err(|error| storage::with_causes(&error.without_url()))?;
        // A redirect is followed by nobody: to the receiver the message is lost.
        if answer.status().is_success() { Ok(()) } else { Err(format!("it answered {}", answer.status())) }
    }

    fn client(&self) -> Result<&Client, String> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        // A proxy would resolve names by itself.
        let builder = client().no_proxy();
        let builder = if self.allows_private { builder } else { builder.dns_resolver(PublicResolver) };
        let client = builder.build();
        let client =
            client.map_err(|error| format!("messages cannot be sent: {}", storage::with_causes(&error)))?;
        Ok(self.client.get_or_init(|| client))
    }
}

const INSIDE: &str = "its address is one inside; allow it with ALERT_PRIVATE_TARGETS=on";

/// Finds no address but those that everyone can reach.
struct PublicResolver;

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> =
                found.filter(|address| storage::is_public_address(address.ip())).collect();
            if public.is_empty() { Err(INSIDE.into()) } else { Ok(Box::new(public.into_iter()) as Addrs) }
        })
    }
}

fn literal_address(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn addresses_inside_are_told_from_those_outside_however_they_are_written() {
        for inside in [
            "127.0.0.1",
            "127.1",
            "0x7f000001",
            "2130706433",
            "0",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:10.0.0.1]",
            "[fe80::1]",
            "[fd00::1]",
            "[64:ff9b::a00:1]",
            "[2002:7f00:1::]",
            "[2001::1]",
            "[2001:db8::1]",
            "[ff02::1]",
        ] {
            let url: Url = format!("https://{inside}/hook").parse().unwrap();
            assert!(
                literal_address(&url).is_some_and(|address| !storage::is_public_address(address)),
                "{inside}"
            );
        }
        for outside in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "[2606:4700::1111]", "[2a00:1450::1]"] {
            let url: Url = format!("https://{outside}/hook").parse().unwrap();
            assert!(literal_address(&url).is_some_and(storage::is_public_address), "{outside}");
        }
    }

    #[tokio::test]
    async fn a_name_of_an_address_inside_is_not_connected_to() {
        let messenger = Messenger::new(false);
        for url in ["http://localhost:1/", "http://127.0.0.1:1/", "http://[::1]:1/"] {
            let refused = messenger.post(Message::json(url, "{}".into())).await.unwrap_err();
            assert!(refused.contains("ALERT_PRIVATE_TARGETS"), "{url}: {refused}");
        }
    }
}
