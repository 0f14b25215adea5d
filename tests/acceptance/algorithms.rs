//! Four ways to sign access tokens: each works, others can verify all but the shared one, and none is taken for
//! another.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Validation};
use serde_json::{Value, json};

use crate::harness::{Pair, Person, Server, World, eventually, promise};
use crate::openapi::PRODUCTION;
use crate::tokens::{JWKS, ME, forge, is_refused, part, signed_with};

const ALGORITHMS: [&str; 4] = ["EdDSA", "ES256", "RS256", "HS256"];
/// 32 bytes, spelled.
pub const SECRET: &str = "2f1c9e7b4a8d3c6f0e5b9a7d1c4f8e2b6a0d3c7f9e1b5a8d4c2f6e0b7a9d3c1f";
const MINUTE: Duration = Duration::from_secs(60);

fn start(pair: Pair, algorithm: &str) -> Server {
    Server::start(pair, &[("JWT_ALGORITHM", algorithm), ("JWT_SECRET_KEY", SECRET)])
}

fn published(server: &Server) -> Vec<Value> {
    let keys = server.anon().get(JWKS).is(200).json()["keys"].clone();
    keys.as_array().cloned().expect("a list")
}

fn algorithm_of(person: &Person) -> String {
    part(&person.tokens.access, 0)["alg"].as_str().expect("an algorithm").to_owned()
}

/// Made of the members of a published key and nothing else.
fn verifier(key: &Value) -> (Algorithm, DecodingKey) {
    let member = |name: &str| key[name].as_str().expect("a member");
    match member("kty") {
        "OKP" => (Algorithm::EdDSA, DecodingKey::from_ed_components(member("x")).expect("a key")),
        "EC" => (Algorithm::ES256, DecodingKey::from_ec_components(member("x"), member("y")).expect("a key")),
        "RSA" => {
            (Algorithm::RS256, DecodingKey::from_rsa_components(member("n"), member("e")).expect("a key"))
        }
        other => panic!("a published key of type {other}"),
    }
}

/// A token whose signature was replaced.
fn with_signature(token: &str, signature: &[u8]) -> String {
    let signed = token.rsplit_once('.').expect("three parts").0;
    format!("{signed}.{}", BASE64URL_NOPAD.encode(signature))
}

fn signature_of(token: &str) -> Vec<u8> {
    let text = token.rsplit_once('.').expect("three parts").1;
    BASE64URL_NOPAD.decode(text.as_bytes()).expect("base64url")
}

promise! {
    fn each_algorithm_signs_and_its_public_keys_verify(pair) {
        let members: [&[&str]; 4] = [
            &["alg", "crv", "kid", "kty", "use", "x"],
            &["alg", "crv", "kid", "kty", "use", "x", "y"],
            &["alg", "e", "kid", "kty", "n", "use"],
            &[],
        ];
        for (algorithm, members) in ALGORITHMS.into_iter().zip(members) {
            let server = start(pair, algorithm);
            let ada = server.person("ada");
            let header = part(&ada.tokens.access, 0);
            assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!(algorithm)));
            let active = server.anon().post("/api/v1/auth/introspect", &json!({"token": ada.tokens.access}));
            assert_ne!(active.status, 500, "{algorithm}: {}", active.text());
            server.refresh(&ada.tokens.refresh).is(200);
            let keys = published(&server);
            if algorithm == "HS256" {
                assert!(keys.is_empty(), "a shared secret is published: {keys:?}");
                continue;
            }
            let key = keys.iter().find(|key| key["kid"] == header["kid"]).expect("the key that signed");
            let shown: Vec<&str> = key.as_object().expect("a key").keys().map(String::as_str).collect();
            assert_eq!(shown, members, "nothing private");
            assert_eq!((&key["alg"], &key["use"]), (&json!(algorithm), &json!("sig")));
            let (algorithm, key) = verifier(key);
            let mut rules = Validation::new(algorithm);
            rules.set_audience(&["modelgate"]);
            rules.set_issuer(&["modelgate"]);
            let verified = jsonwebtoken::decode::<Value>(&ada.tokens.access, &key, &rules);
            assert!(verified.is_ok(), "{algorithm:?}: {:?}", verified.err());
        }
    }

    /// Attack cases 1 to 3.
    fn a_public_key_is_nobodys_secret_and_no_algorithm_passes_for_another(pair) {
        for algorithm in ["ES256", "RS256"] {
            let server = start(pair, algorithm);
            let ada = server.person("ada");
            let (header, claims) = (part(&ada.tokens.access, 0), part(&ada.tokens.access, 1));
            let with = |alg: &str| json!({"typ": "at+jwt", "alg": alg, "kid": header["kid"]});
            let key = published(&server).remove(0);
            for member in ["x", "y", "n", "e", "kid"] {
                let Some(text) = key[member].as_str() else { continue };
                let raw = BASE64URL_NOPAD.decode(text.as_bytes()).expect("base64url");
                for secret in [text.as_bytes(), &raw, key.to_string().as_bytes()] {
                    let secret = EncodingKey::from_secret(secret);
                    for alg in ["HS256", algorithm] {
                        let forged = forge(&with(alg), &claims, signed_with(&secret, Algorithm::HS256));
                        is_refused(&server, &forged, &format!("{member} of {algorithm} as the secret of {alg}"));
                    }
                }
            }
            let signature = BASE64URL_NOPAD.encode(&signature_of(&ada.tokens.access));
            for alg in ALGORITHMS.into_iter().chain(["none", "nOnE", "PS256", "RS384", "ES384", "RS1", ""]) {
                if alg != algorithm {
                    is_refused(&server, &forge(&with(alg), &claims, |_| signature.clone()), alg);
                    is_refused(&server, &forge(&with(alg), &claims, |_| String::new()), alg);
                }
            }
            ada.api.get(ME).is(200);
        }
    }

    fn a_changed_algorithm_refuses_no_token(pair) {
        let world = World::new(pair);
        let mut server = world.start(&[]);
        let mut people = vec![server.person("ada")];
        for algorithm in ["ES256", "RS256", "HS256"] {
            assert_eq!(server.stop(), Some(0));
            server = world.start(&[("JWT_ALGORITHM", algorithm), ("JWT_SECRET_KEY", SECRET)]);
            let still = server.log_in("ada@example.com", &people[0].password);
            assert_ne!(algorithm_of(&still), algorithm, "it is published before it signs");
            people.push(still);
            assert_eq!(published(&server).iter().any(|key| key["alg"] == algorithm), algorithm != "HS256");
            world.advance(MINUTE * 10);
            let later = eventually("the new algorithm signs", || {
                let person = server.log_in("ada@example.com", &people[0].password);
                (algorithm_of(&person) == algorithm).then_some(person)
            });
            people.push(later);
            for person in &people {
                server.user(&person.tokens.access).get(ME).is(200);
            }
        }
        world.advance(MINUTE * 62);
        eventually("the keys before are gone", || published(&server).is_empty().then_some(()));
        let last = people.pop().expect("the last one");
        for person in &people {
            is_refused(&server, &person.tokens.access, "its time is over, and its key gone");
        }
        server.refresh(&last.tokens.refresh).is(200);
    }

    /// A change that is taken back before it took hold, and a start with nothing changed.
    fn a_start_makes_no_key_that_nobody_asked_for(pair) {
        let world = World::new(pair);
        let mut server = world.start(&[]);
        let ada = server.person("ada");
        for algorithm in ["ES256", "ES256", "RS256", "EdDSA", "EdDSA"] {
            assert_eq!(server.stop(), Some(0));
            server = world.start(&[("JWT_ALGORITHM", algorithm)]);
            assert!(published(&server).len() <= 2, "{:?}", published(&server));
        }
        world.advance(MINUTE * 11);
        eventually("what signs is what is set", || {
            (algorithm_of(&server.log_in(&ada.email, &ada.password)) == "EdDSA").then_some(())
        });
        server.user(&ada.tokens.access).get(ME).is(200);
    }

    fn keys_of_each_algorithm_rotate(pair) {
        for algorithm in ["ES256", "RS256", "HS256"] {
            let server = start(pair, algorithm);
            let ada = server.person("ada");
            let signed_by = |person: &Person| part(&person.tokens.access, 0)["kid"].clone();
            let old = signed_by(&ada);
            assert_eq!(server.cli(&["keys", "rotate"], "").code, Some(0), "{algorithm}");
            server.advance(MINUTE * 10);
            let later = eventually("the new key signs", || {
                let person = server.log_in(&ada.email, &ada.password);
                (signed_by(&person) != old).then_some(person)
            });
            assert_eq!(algorithm_of(&later), algorithm);
            ada.api.get(ME).is(200);
            assert_eq!(server.cli(&["keys", "rotate", "--emergency"], "").code, Some(0), "{algorithm}");
            for person in [&ada, &later] {
                eventually("the token is refused", || (person.api.get(ME).status == 401).then_some(()));
            }
            assert_eq!(algorithm_of(&server.log_in(&ada.email, &ada.password)), algorithm);
            if algorithm == "HS256" {
                // What was in the settings made the first key only.
                let (header, claims) = (part(&later.tokens.access, 0), part(&later.tokens.access, 1));
                let secret = EncodingKey::from_secret(SECRET.as_bytes());
                let now = server.log_in(&ada.email, &ada.password);
                for kid in [&header["kid"], &signed_by(&now)] {
                    let header = json!({"typ": "at+jwt", "alg": "HS256", "kid": kid});
                    let forged = forge(&header, &claims, signed_with(&secret, Algorithm::HS256));
                    is_refused(&server, &forged, "the secret of a replaced key");
                }
            }
        }
    }

    /// Attack case 13. ECDSA lets anyone turn a signature into one other valid one: it must be worth no more.
    fn a_signature_has_no_twin_that_outlives_it(pair) {
        let server = start(pair, "ES256");
        let ada = server.person("ada");
        let mut signature = signature_of(&ada.tokens.access);
        let order = data_encoding::HEXLOWER
            .decode(b"ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")
            .expect("the order of P-256");
        let mut borrow = 0;
        for (index, byte) in signature[32..].iter_mut().enumerate().rev() {
            let difference = i16::from(order[index]) - i16::from(*byte) - borrow;
            borrow = i16::from(difference < 0);
            *byte = difference.rem_euclid(256) as u8;
        }
        let twin = with_signature(&ada.tokens.access, &signature);
        assert_ne!(twin, ada.tokens.access);
        server.user(&twin).get(ME);
        ada.api.act("/api/v1/auth/logout").is(204);
        is_refused(&server, &ada.tokens.access, "logged out");
        is_refused(&server, &twin, "the twin of a token that is logged out");
        for odd in [vec![0; 64], vec![0xff; 64], signature[..63].to_vec(), [&signature[..], &[0]].concat()] {
            is_refused(&server, &with_signature(&twin, &odd), "no signature");
        }

        let server = start(pair, "EdDSA");
        let ada = server.person("ada");
        let mut signature = signature_of(&ada.tokens.access);
        let order = data_encoding::HEXLOWER
            .decode(b"edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")
            .expect("the order of Ed25519, lowest byte first");
        let mut carry = 0;
        for (byte, add) in signature[32..].iter_mut().zip(&order) {
            let sum = u16::from(*byte) + u16::from(*add) + carry;
            carry = sum >> 8;
            *byte = (sum & 0xff) as u8;
        }
        is_refused(&server, &with_signature(&ada.tokens.access, &signature), "S plus the order (RFC 8032, 5.1.7)");
        ada.api.get(ME).is(200);
    }

    /// Attack case 18.
    fn a_weak_shared_secret_stops_the_start(pair) {
        let world = World::new(pair);
        let hs256 = ("JWT_ALGORITHM", "HS256");
        let key = PRODUCTION[2].1;
        for weak in [
            "secret",
            "change-me-change-me-change-me-change-me-change-me",
            "your-256-bit-secret-your-256-bit-secret",
            &SECRET[..32],
            &SECRET[..62],
            &"a".repeat(64),
            &"0123456789abcdef".repeat(8),
            "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz",
            key,
        ] {
            for settings in [&[hs256, ("ENCRYPTION_KEY", key)][..], &[&PRODUCTION[..], &[hs256]].concat()] {
                let started = world.run(&["serve"], &[settings, &[("JWT_SECRET_KEY", weak)]].concat(), "");
                assert_eq!(started.code, Some(1), "{weak}: {started:?}");
                assert!(started.stderr.contains("JWT_SECRET_KEY"), "{started:?}");
                assert!(weak.len() < 12 || !started.stderr.contains(weak), "the secret is told: {started:?}");
            }
        }
        let without = world.run(&["serve"], &[&PRODUCTION[..], &[hs256]].concat(), "");
        assert!(without.code == Some(1) && without.stderr.contains("JWT_SECRET_KEY"), "{without:?}");
        // In development it is made.
        world.start(&[hs256]).person("ada");
    }
}
