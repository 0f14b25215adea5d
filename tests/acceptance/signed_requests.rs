//! Keys that sign: what was signed is taken once, as it was signed, while it is fresh; the key itself is never taken.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::json;
use tonic::Code;

use crate::harness::grpc::{digits, refused};
use crate::harness::{Client, OwnRedis, Pair, Reply, Server, World, at_once, promise, sample};

const MODELS: &str = "/api/v1/models";
const PREDICT: &str = "/api/v1/models/digits/predict";
/// SHA-256 of no body, and of the sample 7-1.
const OF_NOTHING: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
const OF_SEVEN: &str = "hA04ZyMn7I8tj7NUZvncazaYXeCowIs5iPn2rpczL2s=";

static NONCES: AtomicU32 = AtomicU32::new(0);

/// Whoever has a key that signs.
pub struct Signer<'a> {
    server: &'a Server,
    key: String,
    /// Seconds by which its clock is ahead.
    ahead: i64,
}

impl<'a> Signer<'a> {
    pub fn new(server: &'a Server, key: &str) -> Self {
        Self { server, key: key.to_owned(), ahead: 0 }
    }

    fn id(&self) -> &str {
        self.key.split('_').nth(2).expect("a public id")
    }

    /// A client whose headers sign one request.
    fn sign(&self, method: &str, path: &str, digest: &str) -> Client {
        let headers = self.headers(method, path, digest);
        headers.iter().fold(self.server.anon(), |client, (name, value)| client.with(name, value))
    }

    /// The headers that sign one request, whose body has this digest.
    pub fn headers(&self, method: &str, path: &str, digest: &str) -> [(&'static str, String); 3] {
        let now = i64::try_from(self.server.now().as_secs()).expect("a time") + self.ahead;
        let nonce = format!("of-these-tests-{}", NONCES.fetch_add(1, Ordering::Relaxed));
        let parameters = format!(
            "(\"@method\" \"@path\" \"@query\" \"content-digest\");created={now};keyid=\"{}\";nonce=\"{nonce}\"",
            self.id()
        );
        let digest = format!("sha-256=:{digest}:");
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let base = format!(
            "\"@method\": {method}\n\"@path\": {path}\n\"@query\": ?{query}\n\"content-digest\": {digest}\n\
             \"@signature-params\": {parameters}"
        );
        let key = EncodingKey::from_secret(self.key.as_bytes());
        let signature =
            jsonwebtoken::crypto::sign(base.as_bytes(), &key, Algorithm::HS256).expect("a signature");
        let signature = BASE64.encode(&BASE64URL_NOPAD.decode(signature.as_bytes()).expect("Base64"));
        [
            ("Signature-Input", format!("sig={parameters}")),
            ("Signature", format!("sig=:{signature}:")),
            ("Content-Digest", digest),
        ]
    }

    #[track_caller]
    fn get(&self, path: &str) -> Reply {
        self.sign("GET", path, OF_NOTHING).get(path)
    }
}

fn picture(client: &Client, path: &str, name: &str) -> Reply {
    client.send("POST", path, Some("image/png"), &sample(name))
}

promise! {
    fn what_is_signed_is_taken_once_and_as_it_was_signed(pair) {
        let server = Server::start(pair, &[("GRPC_PORT", "0")]);
        let ada = server.person("ada");
        let wish = json!({"name": "a key", "scopes": ["models:read", "models:infer"], "require_signature": true});
        let (id, text) = ada.make_key_with(wish);
        assert_eq!(ada.api.get(&format!("/api/v1/api-keys/{id}")).is(200).json()["require_signature"], true);
        let signer = Signer::new(&server, &text);
        signer.get(MODELS).is(200);
        signer.get("/api/v1/models?").is(200);
        let there = signer.sign("POST", PREDICT, OF_SEVEN);
        let answer = picture(&there, PREDICT, "7-1").is(200).json();
        assert_eq!(answer["results"][0]["predictions"][0]["label"], "7", "{answer}");

        // Sent itself it is nothing.
        server.key(&text).get(MODELS).refused(401, "invalid_token");
        server.user(&text).get(MODELS).refused(401, "invalid_token");
        refused(server.grpc_key(&text).infer(digits(&[0.0; 64])), Code::Unauthenticated, "invalid_token");
        let signed = server.grpc().with("signature-input", "sig=()").with("signature", "sig=:AAEC:");
        refused(signed.infer(digits(&[0.0; 64])), Code::Unauthenticated, "invalid_token");
        // Nor is the public part that a cached signature is found by.
        for guess in [signer.id().to_owned(), format!("signed requests{}", signer.id())] {
            server.user(&guess).get(MODELS).is(401);
        }

        // Again, at once or later, at the same place or another.
        picture(&there, PREDICT, "7-1").refused(401, "invalid_token");
        let one = signer.sign("GET", MODELS, OF_NOTHING);
        let answers = at_once(20, |_| one.get(MODELS).status);
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|status| [200, 401].contains(status)), "{answers:?}");

        // Anything of it changed.
        let changed = signer.sign("POST", PREDICT, OF_SEVEN);
        picture(&changed, PREDICT, "1-1").refused(401, "invalid_token");
        picture(&signer.sign("POST", PREDICT, OF_SEVEN), "/api/v1/models/digits/predict?top_k=1", "7-1").is(401);
        picture(&signer.sign("POST", "/api/v1/models/other/predict", OF_SEVEN), PREDICT, "7-1").is(401);
        signer.sign("POST", MODELS, OF_NOTHING).get(MODELS).is(401);
        let other = signer.sign("GET", MODELS, OF_NOTHING).with("Content-Digest", "sha-256=:AAEC:");
        other.get(MODELS).is(401);
        signer.sign("GET", MODELS, OF_NOTHING).with("X-API-Key", &text).get(MODELS).refused(400, "ambiguous_credentials");
        let form = signer.sign("POST", PREDICT, OF_NOTHING);
        form.send("POST", PREDICT, Some("multipart/form-data; boundary=x"), b"--x--").refused(415, "unsupported_media_type");
        signer.get(MODELS).is(200);
    }

    fn a_signature_is_fresh_and_of_a_live_key_that_signs(pair) {
        let server = Server::start(pair, &[]);
        let (ada, eve) = (server.person("ada"), server.person("eve"));
        let wish = json!({"name": "a key", "scopes": ["models:read"], "require_signature": true});
        let (id, text) = ada.make_key_with(wish.clone());
        let signer = Signer::new(&server, &text);
        for (ahead, status) in [(-290, 200), (290, 200), (-310, 401), (310, 401)] {
            Signer { ahead, ..Signer::new(&server, &text) }.get(MODELS).is(status);
        }
        let kept = signer.sign("GET", MODELS, OF_NOTHING);
        server.advance(Duration::from_secs(301));
        kept.get(MODELS).refused(401, "invalid_token");

        // Another key, an unknown one, and one that does not sign.
        let theirs = eve.make_key_with(wish).1;
        let mixed = format!("mg_test_{}_{}", signer.id(), theirs.split('_').nth(3).expect("a secret"));
        Signer::new(&server, &mixed).get(MODELS).refused(401, "invalid_token");
        Signer::new(&server, "mg_test_AAAAAAAAAAAA_x").get(MODELS).is(401);
        Signer::new(&server, &eve.make_key(&["models:read"])).get(MODELS).is(401);

        // One trip for each, and no SQL.
        signer.get(MODELS).is(200);
        let cost = || (server.metric("storage_queries_total"), server.metric("ephemeral_round_trips_total"));
        let before = cost();
        for _ in 0..20 {
            signer.get(MODELS).is(200);
        }
        let after = cost();
        assert_eq!(after.0 - before.0, 0.0);
        assert!((20.0..=25.0).contains(&(after.1 - before.1)), "{before:?} {after:?}");

        let rotated = ada.api.act(&format!("/api/v1/api-keys/{id}/rotate")).is(200).member("key");
        for key in [&text, &rotated] {
            Signer::new(&server, key).get(MODELS).is(200);
        }
        let last = ada.api.act(&format!("/api/v1/api-keys/{id}/rotate?overlap_seconds=0")).is(200).member("key");
        signer.get(MODELS).is(401);
        Signer::new(&server, &rotated).get(MODELS).is(401);
        Signer::new(&server, &last).get(MODELS).is(200);
        let rotation = server.cli(&["keys", "rotate-encryption"], "");
        assert!(rotation.stdout.contains("api_key_secrets.sealed: 0 sealed anew"), "{rotation:?}");
        // Whoever finds the text may end the key, though it opens nothing.
        server.anon().post("/api/v1/auth/revoke", &json!({"token": last})).is(200);
        Signer::new(&server, &last).get(MODELS).refused(401, "invalid_token");
    }
}

#[test]
fn two_replicas_take_it_once_and_without_redis_neither_does() {
    let world = World::new(Pair::Shared);
    let mut redis = OwnRedis::start();
    let url = redis.url();
    let settings = [("REDIS_URL", url.as_str())];
    let (first, second) = (world.start(&settings), world.start(&settings));
    let ada = first.person("ada");
    let wish = json!({"name": "a key", "scopes": ["models:read"], "require_signature": true});
    let signer = Signer { server: &first, key: ada.make_key_with(wish).1, ahead: 0 };
    let there = Signer { server: &second, key: signer.key.clone(), ahead: 0 };
    let once = signer.sign("GET", MODELS, OF_NOTHING);
    once.get(MODELS).is(200);
    once.at(second.address()).get(MODELS).refused(401, "invalid_token");
    there.get(MODELS).is(200);
    redis.kill();
    signer.get(MODELS).refused(503, "unavailable");
    first.key(&ada.make_key(&["models:read"])).get(MODELS).is(200);
}
