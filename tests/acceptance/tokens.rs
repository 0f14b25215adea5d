//! Access tokens: only what this service signed for itself, and for the present time, is accepted.

use std::collections::HashMap;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};

use crate::harness::{Pair, Person, Server, World, promise};

pub const ME: &str = "/api/v1/me";
pub const JWKS: &str = "/.well-known/jwks.json";
/// PKCS #8 of an Ed25519 key, up to the key itself (RFC 8410, section 7).
const ED25519_PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

pub fn part(token: &str, index: usize) -> Value {
    let text = token.split('.').nth(index).expect("three parts");
    serde_json::from_slice(&BASE64URL_NOPAD.decode(text.as_bytes()).expect("base64url")).expect("JSON")
}

pub fn encode(value: &Value) -> String {
    BASE64URL_NOPAD.encode(value.to_string().as_bytes())
}

/// A token of these parts; what `sign` makes of the first two is the third.
pub fn forge(header: &Value, claims: &Value, sign: impl Fn(&str) -> String) -> String {
    let signed = format!("{}.{}", encode(header), encode(claims));
    format!("{signed}.{}", sign(&signed))
}

/// Someone else's Ed25519 key.
fn foreign_key() -> EncodingKey {
    EncodingKey::from_ed_der(&[&ED25519_PKCS8[..], &[7; 32]].concat())
}

pub fn signed_with(key: &EncodingKey, algorithm: Algorithm) -> impl Fn(&str) -> String {
    move |text| jsonwebtoken::crypto::sign(text.as_bytes(), key, algorithm).expect("a signature")
}

#[track_caller]
pub fn is_refused(server: &Server, token: &str, why: &str) {
    let answer = server.anon().with("Authorization", &format!("Bearer {token}")).get(ME);
    assert_eq!(answer.status, 401, "{why}: {}", answer.text());
    assert_eq!(answer.json()["code"], "invalid_token", "{why}");
    let challenge = answer.header("www-authenticate").unwrap_or_default();
    assert!(challenge.contains("error=\"invalid_token\""), "{why}: {challenge}");
}

fn server_and_person(pair: Pair) -> (Server, Person) {
    let server = Server::start(pair, &[]);
    let ada = server.person("ada");
    (server, ada)
}

promise! {
    fn a_token_says_what_the_contract_lists_and_verifies_with_the_public_keys(pair) {
        let (server, ada) = server_and_person(pair);
        let keys = server.anon().get(JWKS).is(200);
        assert!(keys.header("cache-control").is_some_and(|value| value.contains("max-age")));
        let keys = keys.json()["keys"].as_array().cloned().expect("keys");
        let header = part(&ada.tokens.access, 0);
        assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!("EdDSA")));
        let key = keys.iter().find(|key| key["kid"] == header["kid"]).expect("the key that signed");
        let members: Vec<&str> = key.as_object().expect("a key").keys().map(String::as_str).collect();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x"], "nothing private");
        let claims = part(&ada.tokens.access, 1);
        let members: Vec<&str> = claims.as_object().expect("claims").keys().map(String::as_str).collect();
        assert_eq!(members, ["aud", "auth_time", "exp", "iat", "iss", "jti", "nbf", "sid", "sub", "ver"]);
        assert_eq!(claims["sub"], ada.id.as_str());
        assert_eq!(
            claims["exp"].as_i64().zip(claims["iat"].as_i64()).map(|(exp, iat)| exp - iat),
            Some(3600)
        );

        let key = DecodingKey::from_ed_components(key["x"].as_str().expect("x")).expect("a public key");
        let mut rules = Validation::new(Algorithm::EdDSA);
        rules.set_audience(&["modelgate"]);
        rules.set_issuer(&["modelgate"]);
        let verified = jsonwebtoken::decode::<HashMap<String, Value>>(&ada.tokens.access, &key, &rules);
        assert!(verified.is_ok(), "{:?}", verified.err());
    }

    fn the_header_chooses_no_algorithm(pair) {
        let (server, ada) = server_and_person(pair);
        let (header, claims) = (part(&ada.tokens.access, 0), part(&ada.tokens.access, 1));
        let with = |alg: &str| json!({"typ": "at+jwt", "alg": alg, "kid": header["kid"]});
        for none in ["none", "None", "NONE", "nOnE", ""] {
            is_refused(&server, &forge(&with(none), &claims, |_| String::new()), none);
        }
        let public = server.anon().get(JWKS).json()["keys"][0]["x"].as_str().expect("x").to_owned();
        let raw = BASE64URL_NOPAD.decode(public.as_bytes()).expect("base64url");
        for (secret, algorithm) in [
            (&raw[..], Algorithm::HS256),
            (public.as_bytes(), Algorithm::HS256),
            (&raw[..], Algorithm::HS512),
        ] {
            let key = EncodingKey::from_secret(secret);
            let forged = forge(&with(&format!("{algorithm:?}")), &claims, signed_with(&key, algorithm));
            is_refused(&server, &forged, "the public key as a secret");
            let forged = forge(&with("EdDSA"), &claims, signed_with(&key, algorithm));
            is_refused(&server, &forged, "another algorithm under the right name");
        }
        let signature = ada.tokens.access.rsplit('.').next().expect("a signature").to_owned();
        for alg in ["ES256", "RS256", "PS256", "ES512", "Ed448"] {
            is_refused(&server, &forge(&with(alg), &claims, |_| signature.clone()), alg);
        }
        ada.api.get(ME).is(200);
    }

    fn nobody_elses_key_signs(pair) {
        let (server, ada) = server_and_person(pair);
        let claims = part(&ada.tokens.access, 1);
        let kid = part(&ada.tokens.access, 0)["kid"].clone();
        let own = json!({"kty": "OKP", "crv": "Ed25519", "x": "6kqXAFlBzJ0bJCXrIVeaBmjdkRs1vM5hDkRGhcVYxwM"});
        let headers = [
            json!({"typ": "at+jwt", "alg": "EdDSA", "kid": kid}),
            json!({"typ": "at+jwt", "alg": "EdDSA", "kid": "another"}),
            json!({"typ": "at+jwt", "alg": "EdDSA", "kid": "../../dev/null"}),
            json!({"typ": "at+jwt", "alg": "EdDSA", "kid": "' OR 1=1 --"}),
            json!({"typ": "at+jwt", "alg": "EdDSA"}),
            json!({"typ": "at+jwt", "alg": "EdDSA", "kid": kid, "jwk": own}),
            json!({"typ": "at+jwt", "alg": "EdDSA", "kid": kid, "jku": "http://127.0.0.1:1/keys"}),
            json!({"typ": "at+jwt", "alg": "EdDSA", "kid": 7}),
        ];
        let key = foreign_key();
        for header in &headers {
            is_refused(
                &server,
                &forge(header, &claims, signed_with(&key, Algorithm::EdDSA)),
                &header.to_string(),
            );
        }
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some("another".into());
        is_refused(&server, &jsonwebtoken::encode(&header, &claims, &key).expect("a token"), "typ JWT");
    }

    fn no_part_can_be_changed(pair) {
        let (server, ada) = server_and_person(pair);
        let good = &ada.tokens.access;
        for index in (0..good.len()).filter(|index| index % 9 == 0 || good.len() - index < 2) {
            let mut text = good.clone().into_bytes();
            text[index] = if text[index] == b'A' { b'Q' } else { b'A' };
            is_refused(&server, &String::from_utf8(text).expect("ASCII"), &format!("byte {index}"));
        }
        let parts: Vec<&str> = good.split('.').collect();
        let mut claims = part(good, 1);
        claims["sub"] = json!("00000000-0000-7000-8000-000000000000");
        let another = server.person("grace");
        let theirs: Vec<&str> = another.tokens.access.split('.').collect();
        let changed = [
            format!("{}.{}.{}", parts[0], encode(&claims), parts[2]),
            format!("{}.{}.{}", parts[0], theirs[1], parts[2]),
            format!("{}.{}.{}", parts[0], parts[1], theirs[2]),
            format!("{}.{}.", parts[0], parts[1]),
            format!("{}.{}", parts[0], parts[1]),
            format!("{good}.{}", parts[2]),
            format!("{good}="),
            format!("{good}{good}"),
            format!(".{good}"),
            "..".into(),
            "a.b.c".into(),
            "x".repeat(6000),
            good.to_uppercase(),
        ];
        for token in &changed {
            is_refused(&server, token, token);
        }
        ada.api.get(ME).is(200);
    }

    fn a_token_for_or_from_another_service_is_refused(pair) {
        let world = World::new(pair);
        let mut ours = world.start(&[]);
        let ada = ours.person("ada");
        for elsewhere in [("JWT_ISSUER", "another"), ("JWT_AUDIENCE", "another")] {
            ours.stop();
            // The same keys and the same account, one after the other: nothing but the name differs.
            let mut theirs = world.start(&[elsewhere]);
            let there = theirs.log_in(&ada.email, &ada.password);
            is_refused(&theirs, &ada.tokens.access, elsewhere.0);
            theirs.stop();
            ours = world.start(&[]);
            is_refused(&ours, &there.tokens.access, elsewhere.0);
        }
        ours.user(&ada.tokens.access).get(ME).is(200);
        let stranger = Server::start(pair, &[]);
        is_refused(&stranger, &ada.tokens.access, "another installation");
    }

    fn a_token_is_good_for_its_time_only(pair) {
        let server = Server::start(pair, &[("JWT_ACCESS_TOKEN_EXPIRES", "60")]);
        let ada = server.person("ada");
        server.advance(Duration::from_secs(55));
        ada.api.get(ME).is(200);
        server.advance(Duration::from_secs(6));
        is_refused(&server, &ada.tokens.access, "expired, though cached");
        server.world.turn_back(Duration::from_secs(61));
        ada.api.get(ME).is(200);
        server.world.turn_back(Duration::from_secs(3600));
        let early = server.log_in(&ada.email, &ada.password);
        early.api.get(ME).is(200);
    }

    fn a_token_from_the_future_is_refused(pair) {
        let server = Server::start(pair, &[]);
        server.person("ada");
        server.advance(Duration::from_secs(7200));
        let answer = server.try_log_in("ada@example.com", "Correct-horse-battery-9").is(200);
        server.world.turn_back(Duration::from_secs(7200));
        is_refused(&server, &answer.member("access_token"), "not before two hours from now");
    }

    fn a_token_outlives_a_restart_and_nothing_that_was_ended_does(pair) {
        let world = World::new(pair);
        let mut server = world.start(&[]);
        let (ada, gone) = (server.person("ada"), server.person("grace"));
        let key = ada.make_key(&["models:read"]);
        gone.api.act("/api/v1/auth/logout").is(204);
        assert_eq!(server.stop(), Some(0));
        let again = world.start(&[]);
        again.user(&ada.tokens.access).get(ME).is(200);
        again.key(&key).get("/api/v1/models").is(200);
        is_refused(&again, &gone.tokens.access, "logged out before the restart");
        again.refresh(&gone.tokens.refresh).is(401);
        again.refresh(&ada.tokens.refresh).is(200);
    }

    fn a_header_that_is_no_bearer_is_refused(pair) {
        let (server, ada) = server_and_person(pair);
        let token = &ada.tokens.access;
        for header in
            ["Bearer", "Bearer ", "bearer", &format!("Basic {token}"), &format!("Token {token}"), token]
        {
            server.anon().with("Authorization", header).get(ME).refused(401, "invalid_token");
        }
        server.anon().with("Authorization", &format!("BEARER {token}")).get(ME).is(200);
        server.anon().get(ME).refused(401, "authentication_required");
        server.anon().get(&format!("{ME}?access_token={token}")).refused(401, "authentication_required");
        server
            .anon()
            .with("Cookie", &format!("access_token={token}"))
            .get(ME)
            .refused(401, "authentication_required");
        server.anon().with("X-API-Key", token).get(ME).refused(401, "invalid_token");
    }
}
