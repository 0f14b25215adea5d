//! The documents that an issuer publishes: the discovery document and its keys.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::issuer::TrustedIssuer;
use crate::token::foreign::{self, ForeignKey};

/// Keys that one issuer may have at a time.
const MOST_KEYS: usize = 100;

/// A document on its way.
pub type Fetched<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send + 'a>>;

/// Fetches documents of issuers: the one way out of this crate. Implementations bound size and time, and follow no
/// redirect.
pub trait DocumentSource: std::fmt::Debug + Send + Sync {
    /// The document at an address; an error says why there is none, for the log.
    fn fetch<'a>(&'a self, address: &'a str) -> Fetched<'a>;
}

/// Fetches nothing: for those who trust no other issuer.
#[derive(Debug)]
pub struct NoDocuments;

impl DocumentSource for NoDocuments {
    fn fetch<'a>(&'a self, _: &'a str) -> Fetched<'a> {
        Box::pin(std::future::ready(Err("nothing is fetched here".into())))
    }
}

/// The members of a discovery document that matter here.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// The present keys of an issuer.
pub(super) async fn fetch_keys(
    issuer: &TrustedIssuer,
    source: &dyn DocumentSource,
) -> Result<HashMap<String, Arc<ForeignKey>>, String> {
    let address = match &issuer.jwks_uri {
        Some(address) => address.clone(),
        None => discover(issuer, &source.fetch(&issuer.discovery_address()).await?)?,
    };
    let keys = read_keys(issuer, &source.fetch(&address).await?)?;
    if keys.is_empty() {
        tracing::warn!(
            issuer = issuer.issuer,
            "the issuer has no key that can be used; its tokens are refused"
        );
    }
    Ok(keys)
}

/// Where the keys are. The document must be about this issuer, to the letter, and its keys at the same host.
fn discover(issuer: &TrustedIssuer, document: &[u8]) -> Result<String, String> {
    let discovery: Discovery = serde_json::from_slice(document)
        .map_err(|error| format!("the discovery document cannot be read: {error}"))?;
    if discovery.issuer != issuer.issuer {
        return Err("the discovery document is another issuer's".into());
    }
    if !issuer.has_same_origin(&discovery.jwks_uri) {
        return Err("the keys are at another host; if that is right, name it as jwks_uri".into());
    }
    Ok(discovery.jwks_uri)
}

fn read_keys(issuer: &TrustedIssuer, document: &[u8]) -> Result<HashMap<String, Arc<ForeignKey>>, String> {
    let set: KeySet =
        serde_json::from_slice(document).map_err(|error| format!("the keys cannot be read: {error}"))?;
    if set.keys.len() > MOST_KEYS {
        return Err(format!("there are more than {MOST_KEYS} keys"));
    }
    Ok(foreign::keys(set.keys, &issuer.allowed_algorithms()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::*;

    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn issuer() -> TrustedIssuer {
        let described = json!({"issuer": "https://id.example.com", "audience": "us", "default_role": "user"});
        serde_json::from_value(described).unwrap()
    }

    fn found(keys: Value) -> Vec<String> {
        let read = read_keys(&issuer(), json!({"keys": keys}).to_string().as_bytes()).unwrap();
        let mut ids: Vec<String> = read.into_keys().collect();
        ids.sort();
        ids
    }

    #[test]
    fn a_document_about_another_issuer_or_host_is_refused() {
        let read = |issuer_name: &str, jwks_uri: &str| {
            let document = json!({"issuer": issuer_name, "jwks_uri": jwks_uri, "other": {}}).to_string();
            discover(&issuer(), document.as_bytes())
        };
        let home = "https://id.example.com/keys";
        assert_eq!(read("https://id.example.com", home).as_deref(), Ok(home));
        for (name, keys) in [
            ("https://id.example.com/", home),
            ("https://ID.example.com", home),
            ("https://evil.example", home),
            ("https://id.example.com", "https://evil.example/keys"),
            ("https://id.example.com", "http://id.example.com/keys"),
            ("https://id.example.com", "http://169.254.169.254/latest"),
        ] {
            assert!(read(name, keys).is_err(), "{name} {keys}");
        }
        for broken in ["", "[]", "{}", "{\"issuer\":1}"] {
            assert!(discover(&issuer(), broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn only_keys_that_verify_are_kept() {
        let good = json!({"kty": "OKP", "crv": "Ed25519", "x": X, "kid": "good"});
        let with = |kid: &str, name: &str, value: Value| {
            let mut key = good.clone();
            key["kid"] = json!(kid);
            key[name] = value;
            key
        };
        let keys = json!([
            good,
            with("said", "alg", json!("EdDSA")),
            with("signs", "use", json!("sig")),
            with("encrypts", "use", json!("enc")),
            with("unknown", "alg", json!("ML-DSA-65")),
            with("shared", "alg", json!("HS256")),
            with("wrong", "alg", json!("RS256")),
            with("wraps", "key_ops", json!(["wrapKey"])),
            with("curve", "crv", json!("X25519")),
            with("", "use", json!("sig")),
            with("twice", "use", json!("sig")),
            with("twice", "use", json!("sig")),
            {"kty": "oct", "k": "c2VjcmV0", "kid": "oct"},
            {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "short"},
            {"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA", "kid": "p521"},
            7,
            null,
        ]);
        assert_eq!(found(keys), ["good", "said", "signs"]);
        assert!(found(json!([])).is_empty());
        let many: Vec<Value> =
            (0..=MOST_KEYS).map(|number| with(&number.to_string(), "use", json!("sig"))).collect();
        assert!(read_keys(&issuer(), json!({"keys": many}).to_string().as_bytes()).is_err());
        assert!(read_keys(&issuer(), b"{\"keys\": {}}").is_err());
    }
}
