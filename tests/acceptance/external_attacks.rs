//! Tokens of a trusted issuer with something wrong with them: what its key signs is verified, and believed only as
//! far as the operator said.

use std::net::TcpListener;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use crate::harness::{AUDIENCE, Pair, Realm, Server, World, promise};
use crate::tokens::{ME, encode, is_refused, part};

const USERS: &str = "/api/v1/admin/users";

/// A realm, a server that trusts it and takes `JWT` for a type, and a good token with its header and claims.
struct Scene {
    realm: Realm,
    server: Server,
    good: String,
    header: Value,
    claims: Value,
}

impl Scene {
    fn new(pair: Pair) -> Self {
        let realm = Realm::with(&["ES256", "RS256"], 3600);
        let world = World::new(pair);
        let file = world.issuers(&[realm.trusted("token_types = [\"at+jwt\", \"JWT\"]")]);
        let server = world.start(&[("OIDC_ISSUERS_FILE", &file)]);
        let good = realm.log_in("ada", json!({"roles": ["staff"]})).access;
        server.user(&good).get(ME).is(200);
        let (header, claims) = (part(&good, 0), part(&good, 1));
        Self { realm, server, good, header, claims }
    }

    /// Rightly signed by the issuer, with one member of the header written otherwise.
    fn with_header(&self, name: &str, value: Value) -> String {
        let mut header = self.header.clone();
        header[name] = value;
        self.realm.sign("ES256", &header.to_string(), &self.claims.to_string())
    }

    /// Rightly signed by the issuer, with one claim written otherwise.
    fn with_claim(&self, name: &str, value: Value) -> String {
        let mut claims = self.claims.clone();
        claims[name] = value;
        self.realm.sign("ES256", &self.header.to_string(), &claims.to_string())
    }

    /// Insists that no account was made or changed, and that the good token still is one.
    #[track_caller]
    fn is_unharmed(&self, before: &[String]) {
        self.server.world.is_unchanged_since(before);
        self.server.user(&self.good).get(ME).is(200);
    }
}

promise! {
    /// Attack cases 1, 2, 3 and 5.
    fn the_key_decides_the_algorithm(pair) {
        let scene = Scene::new(pair);
        let before = scene.server.world.state();
        let keys = scene.realm.keys();
        let signed = |header: &Value, key: &[u8], algorithm| {
            let text = format!("{}.{}", encode(header), encode(&scene.claims));
            let key = EncodingKey::from_secret(key);
            let signature = jsonwebtoken::crypto::sign(text.as_bytes(), &key, algorithm).expect("a signature");
            format!("{text}.{signature}")
        };
        for key in &keys {
            let material: Vec<&str> = ["x", "y", "n"].iter().filter_map(|name| key[*name].as_str()).collect();
            let raw = BASE64URL_NOPAD.decode(material[0].as_bytes()).expect("base64url");
            for secret in [key.to_string().as_bytes(), material[0].as_bytes(), &raw, b""] {
                let header = json!({"typ": "at+jwt", "alg": "HS256", "kid": key["kid"]});
                is_refused(&scene.server, &signed(&header, secret, Algorithm::HS256), "the public key as a secret");
            }
        }
        for alg in ["none", "None", "nOnE", "", "HS256", "RS256", "PS256", "EdDSA", "ES384"] {
            let mut header = scene.header.clone();
            header["alg"] = json!(alg);
            let text = format!("{}.{}", encode(&header), encode(&scene.claims));
            let rest = scene.good.rsplit('.').next().expect("a signature");
            for signature in ["", rest] {
                is_refused(&scene.server, &format!("{text}.{signature}"), alg);
            }
        }
        // One key of the issuer is not another one of it.
        let other = keys.iter().find(|key| key["kid"] != scene.header["kid"]).expect("the RSA key");
        is_refused(&scene.server, &scene.with_header("kid", other["kid"].clone()), "signed with another key");
        let rsa = json!({"typ": "at+jwt", "alg": "RS256", "kid": other["kid"]});
        let good = scene.realm.sign("RS256", &rsa.to_string(), &scene.claims.to_string());
        scene.server.user(&good).get(ME).is(200);
        let wrong = json!({"typ": "at+jwt", "alg": "PS256", "kid": other["kid"]});
        let token = scene.realm.sign("PS256", &wrong.to_string(), &scene.claims.to_string());
        is_refused(&scene.server, &token, "another algorithm of the same type");
        scene.is_unharmed(&before);
    }

    /// Attack cases 6, 7, 8 and 15.
    fn a_header_brings_no_key_and_changes_no_rule(pair) {
        let scene = Scene::new(pair);
        let before = scene.server.world.state();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener that does not wait");
        let url = format!("http://{}/keys", listener.local_addr().expect("an address"));
        let own = scene.realm.keys()[0].clone();
        for (name, value) in [
            ("jku", json!(url)),
            ("jku", json!(format!("{}/jwks", scene.realm.issuer))),
            ("x5u", json!(url)),
            ("jwk", own),
            ("x5c", json!(["MIIB"])),
            ("crit", json!(["exp"])),
            ("crit", json!([])),
            ("b64", json!(false)),
            ("cty", json!("JWT")),
            ("zip", json!("DEF")),
            ("enc", json!("A256GCM")),
            ("kid", json!(url)),
            ("kid", json!("../../etc/passwd")),
            ("kid", json!("' OR 1=1 --")),
            ("kid", json!("")),
            ("kid", Value::Null),
            ("kid", json!(["a"])),
            ("kid", json!("k".repeat(3000))),
            ("typ", json!("logout+jwt")),
            ("typ", json!("secevent+jwt")),
            ("typ", json!("dpop+jwt")),
            ("typ", json!("")),
            ("typ", json!(7)),
        ] {
            is_refused(&scene.server, &scene.with_header(name, value.clone()), &format!("{name}: {value:.40}"));
        }
        assert!(listener.accept().is_err(), "the server went where a token told it to");
        // What says nothing of keys is read over.
        for (name, value) in [("x5t", json!("AAAA")), ("something", json!(1)), ("typ", json!("application/AT+JWT"))] {
            scene.server.user(&scene.with_header(name, value)).get(ME).is(200);
        }
        scene.is_unharmed(&before);
    }

    /// Attack cases 9, 10 and 11.
    fn every_claim_is_read_strictly(pair) {
        let scene = Scene::new(pair);
        let before = scene.server.world.state();
        let now = scene.server.now().as_secs();
        let cases: [(&str, Vec<Value>); 9] = [
            ("iss", vec![json!(format!("{}/", scene.realm.issuer)), json!("modelgate"), json!([scene.realm.issuer]), Value::Null]),
            ("aud", vec![json!("modelgate"), json!("app"), json!([]), json!({AUDIENCE: 1}), json!(format!("{AUDIENCE}/")), Value::Null]),
            ("exp", vec![json!(now - 1), json!((now + 60).to_string()), json!(now as f64 + 60.5), json!(-1), json!(true), Value::Null]),
            ("nbf", vec![json!(now + 60), json!("soon"), json!(1e300), Value::Null]),
            ("iat", vec![json!(now + 60), json!(now.to_string()), json!(0), Value::Null]),
            ("auth_time", vec![json!(now + 60), json!("now"), json!(1.5)]),
            ("sub", vec![json!(""), json!(7), json!(["ada"]), json!("a\u{0}b"), json!("a".repeat(300)), Value::Null]),
            ("typ", vec![json!("ID"), json!("Refresh"), json!("Offline")]),
            ("token_use", vec![json!("id"), json!("refresh")]),
        ];
        for (name, odd) in cases {
            for value in odd {
                is_refused(&scene.server, &scene.with_claim(name, value.clone()), &format!("{name}: {value:.60}"));
            }
        }
        for name in ["sub", "exp", "aud", "iss", "roles"] {
            let text = scene.claims.to_string();
            let twice = format!("{},\"{name}\":{}}}", &text[..text.len() - 1], scene.claims[name]);
            let token = scene.realm.sign("ES256", &scene.header.to_string(), &twice);
            is_refused(&scene.server, &token, &format!("{name} twice"));
        }
        let long = scene.with_claim("padding", json!("A".repeat(16 << 10)));
        is_refused(&scene.server, &long, "too long");
        // No part can be changed.
        let parts: Vec<&str> = scene.good.split('.').collect();
        for (index, letter) in [(0, 'A'), (1, 'B'), (2, 'C')] {
            let mut changed: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
            let middle = changed[index].len() / 2;
            let present = changed[index].remove(middle);
            changed[index].insert(middle, if present == letter { 'D' } else { letter });
            is_refused(&scene.server, &changed.join("."), &format!("part {index}"));
        }
        scene.is_unharmed(&before);
    }

    /// Row 71: an ID token is for the application that asked for it.
    fn an_id_token_is_no_access_token(pair) {
        let scene = Scene::new(pair);
        let login = scene.realm.log_in("grace", json!({"roles": ["bosses"]}));
        let before = scene.server.world.state();
        assert!(part(&login.id, 1)["nonce"].is_string() && part(&login.id, 0)["typ"].is_null());
        is_refused(&scene.server, &login.id, "an ID token");
        // Not even one that somebody had made out to us.
        let mut claims = part(&login.id, 1);
        claims["aud"] = json!(AUDIENCE);
        claims["roles"] = json!(["bosses"]);
        let header = part(&login.id, 0);
        let token = scene.realm.sign("ES256", &header.to_string(), &claims.to_string());
        is_refused(&scene.server, &token, "an ID token for us");
        scene.is_unharmed(&before);
        claims.as_object_mut().expect("claims").remove("nonce");
        let token = scene.realm.sign("ES256", &header.to_string(), &claims.to_string());
        scene.server.user(&token).get(USERS).is(200);
    }

    /// Where only `at+jwt` is taken, which is the default, what does not say so is nothing.
    fn a_type_that_is_not_taken_is_refused(pair) {
        let (realm, world) = (Realm::new(), World::new(pair));
        let server = world.start(&[("OIDC_ISSUERS_FILE", &world.issuers(&[realm.trusted("")]))]);
        let good = realm.log_in("ada", json!({"roles": ["staff"]})).access;
        for typ in [json!("JWT"), Value::Null, json!("jwt")] {
            let mut header = part(&good, 0);
            header["typ"] = typ;
            is_refused(&server, &realm.sign("ES256", &header.to_string(), &part(&good, 1).to_string()), "typ");
        }
        let mut header = part(&good, 0);
        header.as_object_mut().expect("a header").remove("typ");
        is_refused(&server, &realm.sign("ES256", &header.to_string(), &part(&good, 1).to_string()), "no typ");
        server.user(&good).get(ME).is(200);
    }

    /// Rows 48 and 73; attack case 5: whose key it is matters as much as its id.
    fn one_issuers_word_is_not_anothers(pair) {
        let (realm, other, stranger) = (Realm::new(), Realm::new(), Realm::new());
        let world = World::new(pair);
        let file = world.issuers(&[realm.trusted(""), other.trusted("")]);
        let server = world.start(&[("OIDC_ISSUERS_FILE", &file)]);
        let claims = json!({"roles": ["staff"]});
        let good = realm.log_in("ada", claims.clone()).access;
        let id = server.user(&good).get(ME).is(200).member("id");
        let namesake = other.log_in("ada", claims.clone()).access;
        let theirs = server.user(&namesake).get(ME).is(200).member("id");
        assert_ne!(id, theirs, "the same name at two issuers is two people");
        let before = server.world.state();
        // One signs in the other's name, with its own key's id or the other's.
        for kid in [part(&good, 0)["kid"].clone(), part(&namesake, 0)["kid"].clone()] {
            let header = json!({"typ": "at+jwt", "alg": "ES256", "kid": kid}).to_string();
            is_refused(&server, &other.sign("ES256", &header, &part(&good, 1).to_string()), "in another's name");
        }
        let strange = stranger.log_in("ada", claims.clone()).access;
        is_refused(&server, &strange, "an issuer that nobody trusts");
        assert_eq!(stranger.asked(), 0, "nor is it asked for keys");
        // Nobody else speaks for us, either.
        let ours = server.person("zoe");
        let own = part(&ours.tokens.access, 1);
        let header = part(&good, 0).to_string();
        is_refused(&server, &realm.sign("ES256", &header, &own.to_string()), "our claims with their key");
        let mut mixed = own.clone();
        mixed["iss"] = json!(realm.issuer);
        mixed["aud"] = json!(AUDIENCE);
        mixed["roles"] = json!(["staff"]);
        let token = realm.sign("ES256", &header, &mixed.to_string());
        // Their subject may be spelt like one of our accounts: it is somebody else.
        assert_ne!(server.user(&token).get(ME).is(200).member("id"), ours.id);
        drop(before);
        ours.api.get(ME).is(200);
    }

    /// Attack case 16: an address is what an issuer lets its people write.
    fn an_address_takes_over_no_account(pair) {
        let (realm, other) = (Realm::new(), Realm::new());
        let world = World::new(pair);
        let file = world.issuers(&[realm.trusted(""), other.trusted("trust_email = true")]);
        let server = world.start(&[("OIDC_ISSUERS_FILE", &file)]);
        let admin = server.admin_called("boss");
        let claims = |email: &str, verified: Value| {
            json!({"roles": ["staff"], "email": email, "email_verified": verified, "name": "Eve"})
        };
        let before = server.world.state();
        for email in ["boss@example.com", " BOSS@EXAMPLE.COM ", "ｂｏｓｓ@example.com"] {
            let token = realm.log_in("eve", claims(email, json!(true))).access;
            let answer = server.user(&token).get(ME).refused(403, "forbidden");
            assert!(answer.member("detail").contains("not linked"), "{}", answer.text());
        }
        server.world.is_unchanged_since(&before);
        assert_eq!(server.audited("identity.refused", "failure"), 1);
        // One that is not verified is none: the account has no address, and takes none away.
        for (sub, verified) in [("una", json!(false)), ("ute", json!("false")), ("uwe", Value::Null)] {
            let token = realm.log_in(sub, claims("boss@example.com", verified)).access;
            let profile = server.user(&token).get(ME).is(200).json();
            assert_eq!((&profile["email"], &profile["role"]), (&Value::Null, &json!("user")));
        }
        for odd in ["no address", "a@b@c", "a\u{200b}@example.com", "@", ""] {
            let token = realm.log_in(&format!("odd{}", odd.len()), claims(odd, json!(true))).access;
            assert_eq!(server.user(&token).get(ME).is(200).json()["email"], Value::Null, "{odd:?}");
        }
        // Where the operator trusts the issuer's addresses, silence is enough; a no is a no.
        let mut silent = claims("ina@example.com", Value::Null);
        silent.as_object_mut().expect("claims").remove("email_verified");
        let token = other.log_in("ina", silent).access;
        assert_eq!(server.user(&token).get(ME).is(200).member("email"), "ina@example.com");
        for (sub, no) in [("ila", json!(false)), ("ilse", json!("false")), ("iris", json!(0)), ("isa", Value::Null)] {
            let token = other.log_in(sub, claims("ila@example.com", no)).access;
            assert_eq!(server.user(&token).get(ME).is(200).json()["email"], Value::Null, "{sub}");
        }
        // An address that somebody has from there is as taken as any.
        let body = json!({"email": "ina@example.com", "password": "Correct-horse-battery-9", "name": "Someone Else"});
        server.anon().post("/api/v1/auth/register", &body).refused(409, "email_taken");
        // And whoever is vouched for has no password to guess.
        server.try_log_in("ina@example.com", "Correct-horse-battery-9").refused(401, "invalid_credentials");
        admin.api.get(USERS).is(200);
    }

    /// Attack case 20: a signature can be spelt twice; what is ended is what was signed.
    fn an_ended_token_has_no_second_spelling(pair) {
        let scene = Scene::new(pair);
        scene.server.user(&scene.good).act("/api/v1/auth/logout").is(204);
        is_refused(&scene.server, &scene.good, "ended");
        let again = scene.realm.sign("ES256", &scene.header.to_string(), &scene.claims.to_string());
        let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
        let (first, second) = (parts(&scene.good), parts(&again));
        // The header's spelling may differ from the provider's; where it does not, the same text has two signatures.
        if first[..2] == second[..2] {
            assert_ne!(first[2], second[2]);
            is_refused(&scene.server, &again, "the same claims under another signature");
        }
        let spelt = format!("{}.{}.{}", first[0], first[1], negated(&first[2]));
        is_refused(&scene.server, &spelt, "the other form of the same signature");
    }
}

/// The second valid form of an ECDSA signature on P-256: (r, n − s).
fn negated(signature: &str) -> String {
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
        0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let mut bytes = BASE64URL_NOPAD.decode(signature.as_bytes()).expect("base64url");
    let mut borrow = false;
    for (index, order) in ORDER.iter().enumerate().rev() {
        let (less, first) = order.overflowing_sub(bytes[32 + index]);
        let (less, second) = less.overflowing_sub(u8::from(borrow));
        bytes[32 + index] = less;
        borrow = first || second;
    }
    BASE64URL_NOPAD.encode(&bytes)
}
