//! Tokens with a right signature and something wrong with them. Only whoever knows the secret can make them, as these
//! tests do; nothing in them may lead further than a refusal.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use crate::algorithms::SECRET;
use crate::harness::{Pair, Person, Server, World, eventually, promise};
use crate::tokens::{ME, encode, is_refused, part};

fn settings() -> [(&'static str, &'static str); 2] {
    [("JWT_ALGORITHM", "HS256"), ("JWT_SECRET_KEY", SECRET)]
}

fn server_and_person(pair: Pair) -> (Server, Person) {
    let server = Server::start(pair, &settings());
    let ada = server.person("ada");
    (server, ada)
}

/// Rightly signed, whatever the texts say.
fn signed(header: &str, claims: &str) -> String {
    let text = format!(
        "{}.{}",
        BASE64URL_NOPAD.encode(header.as_bytes()),
        BASE64URL_NOPAD.encode(claims.as_bytes())
    );
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(text.as_bytes(), &key, Algorithm::HS256).expect("a signature");
    format!("{text}.{signature}")
}

/// A JSON object as text, with one member written otherwise, added where it is new; none leaves it out.
fn with(object: &Value, name: &str, text: Option<&str>) -> String {
    let members = object.as_object().expect("an object").iter().filter(|(member, _)| *member != name);
    let members = members.map(|(member, value)| format!("{}:{value}", json!(member)));
    let changed = text.map(|text| format!("{}:{text}", json!(name)));
    format!("{{{}}}", members.chain(changed).collect::<Vec<_>>().join(","))
}

promise! {
    /// Attack cases 9 and 10.
    fn every_claim_is_read_strictly(pair) {
        let (server, ada) = server_and_person(pair);
        let (header, claims) = (part(&ada.tokens.access, 0).to_string(), part(&ada.tokens.access, 1));
        let good = signed(&header, &claims.to_string());
        server.user(&good).get(ME).is(200);
        let now = claims["iat"].as_i64().expect("a time");
        let (soon, past) = (format!("{}", now + 3600), format!("{}", now - 3600));
        let (text, fraction) = (format!("\"{soon}\""), format!("{soon}.5"));
        let other = format!("\"{}\"", server.person("grace").id.replace('7', "8"));
        let before = server.world.state();
        let cases: [(&str, &[&str]); 8] = [
            ("exp", &[&text, &fraction, &past, "0", "1e400", "-1", "true", "[]", "\"\"", "18446744073709551616", "{}"]),
            ("nbf", &[&soon, &text, "1e400", "false", "null", "{}", "9223372036854775807"]),
            ("iat", &[&soon, &text, "1e400", "null", "\"now\""]),
            ("iss", &["\"modelgate/\"", "\"Modelgate\"", "\"https://modelgate\"", "\"\"", "[\"modelgate\"]", "null"]),
            ("aud", &["[\"modelgate\"]", "[\"modelgate\",\"other\"]", "\"other\"", "\"\"", "null", "7"]),
            ("sub", &["\"ada\"", "7", "null", "\"\"", &other, "\"' OR 1=1 --\"", "[]"]),
            ("sid", &["null", "\"\"", &other, "7"]),
            ("ver", &["null", "\"1\"", "-1", "99", "1e400"]),
        ];
        for (name, odd) in cases {
            is_refused(&server, &signed(&header, &with(&claims, name, None)), &format!("without {name}"));
            for text in odd {
                let changed = with(&claims, name, Some(text));
                is_refused(&server, &signed(&header, &changed), &format!("{name}: {text}"));
            }
        }
        server.world.is_unchanged_since(&before);
        server.user(&good).get(ME).is(200);
    }

    /// Attack cases 5, 7, 8, 11 and 15: the last one also for tokens of other kinds.
    fn a_header_says_what_this_server_writes_and_nothing_else(pair) {
        let (server, ada) = server_and_person(pair);
        let (header, claims) = (part(&ada.tokens.access, 0), part(&ada.tokens.access, 1).to_string());
        let long = format!("\"{}\"", "k".repeat(10_000));
        let before = server.world.state();
        let cases: [(&str, &[&str]); 9] = [
            ("typ", &["\"JWT\"", "\"at+JWT\"", "\"mfa+jwt\"", "\"logout+jwt\"", "null", "7"]),
            ("alg", &["\"HS384\"", "\"hs256\"", "\"none\"", "[\"HS256\"]", "null"]),
            ("kid", &["\"../../../etc/passwd\"", "\"' OR 1=1 --\"", "\"k\\u0000\"", &long, "[]", "null", "7"]),
            ("crit", &["[\"exp\"]", "[\"b64\"]", "[]", "\"exp\""]),
            ("b64", &["false", "true"]),
            ("cty", &["\"JWT\""]),
            ("zip", &["\"DEF\""]),
            ("enc", &["\"A256GCM\""]),
            ("nothing-known", &["1"]),
        ];
        for (name, odd) in cases {
            for text in odd {
                let changed = with(&header, name, Some(text));
                is_refused(&server, &signed(&changed, &claims), &format!("{name}: {text:.40}"));
            }
        }
        for (first, second) in [("HS256", "none"), ("none", "HS256")] {
            let rest = format!("\"typ\":\"at+jwt\",\"kid\":{}", header["kid"]);
            let twice = format!("{{\"alg\":\"{first}\",\"alg\":\"{second}\",{rest}}}");
            is_refused(&server, &signed(&twice, &claims), "two algorithms");
        }
        server.world.is_unchanged_since(&before);
        ada.api.get(ME).is(200);
    }

    /// Attack case 6, with someone listening where the header points.
    fn no_key_is_fetched_or_taken_from_a_header(pair) {
        let (server, ada) = server_and_person(pair);
        let (header, claims) = (part(&ada.tokens.access, 0), part(&ada.tokens.access, 1).to_string());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener that does not wait");
        let url = format!("\"http://{}/keys\"", listener.local_addr().expect("an address"));
        let own = json!({"kty": "oct", "k": BASE64URL_NOPAD.encode(SECRET.as_bytes())}).to_string();
        for (name, text) in
            [("jku", &*url), ("x5u", &url), ("kid", &url), ("jwk", &own), ("x5c", "[\"MIIB\"]"), ("x5t", "\"AAAA\"")]
        {
            let changed = with(&header, name, Some(text));
            is_refused(&server, &signed(&changed, &claims), name);
        }
        server.anon().get("/health").is(200);
        assert!(listener.accept().is_err(), "the server went where a token told it to");
        ada.api.get(ME).is(200);
    }

    /// Attack case 11: a claim that stands twice could be read in two ways.
    fn a_claim_stands_once(pair) {
        let (server, ada) = server_and_person(pair);
        let (header, claims) = (part(&ada.tokens.access, 0).to_string(), part(&ada.tokens.access, 1));
        for name in ["sub", "exp", "aud", "iss", "ver", "sid"] {
            let text = claims.to_string();
            let twice = format!("{},\"{name}\":{}}}", &text[..text.len() - 1], claims[name]);
            is_refused(&server, &signed(&header, &twice), &format!("{name} twice"));
        }
        for odd in ["", "null", "[]", "\"claims\"", "{}", "{", "7", "\u{feff}{}"] {
            is_refused(&server, &signed(&header, odd), odd);
        }
        // A claim of no meaning here is read over, however it looks.
        let deep = format!("{}{}", "[".repeat(900), "]".repeat(900));
        is_refused(&server, &signed(&header, &with(&claims, "jti", Some(&deep))), "nested too deep");
        server.user(&signed(&header, &with(&claims, "deep", Some(&deep)))).get(ME).is(200);
        ada.api.get(ME).is(200);
    }

    /// Attack cases 4, 12 and 14.
    fn a_token_has_one_spelling_and_a_longest_one(pair) {
        let (server, ada) = server_and_person(pair);
        let good = &ada.tokens.access;
        let parts: Vec<&str> = good.split('.').collect();
        let (header, claims) = (part(good, 0), part(good, 1));
        let spaced = format!(" {claims} ");
        server.user(&signed(&header.to_string(), &spaced)).get(ME).is(200);
        let json = json!({"protected": parts[0], "payload": parts[1], "signature": parts[2]}).to_string();
        for odd in [
            format!("{good}."),
            format!("{good}.{}.{}", parts[0], parts[1]),
            format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
            format!("{}.{}==.{}", parts[0], parts[1], parts[2]),
            format!("{}.{}.{}=", parts[0], parts[1], parts[2]),
            format!("{}.{}.{}", parts[0], parts[1], parts[2].replace(['-', '_'], "+")),
            format!("{}..{}", parts[0], parts[2]),
            format!("{}.{}.{}", encode(&json!({"alg": "none"})), parts[1], ""),
            json,
        ] {
            if odd != *good {
                is_refused(&server, &odd, &odd);
            }
        }
        for kibibytes in [64, 1024, 8192] {
            let long = format!("{}.{}.{}", parts[0], "A".repeat(kibibytes << 10), parts[2]);
            let started = Instant::now();
            let request = format!("GET {ME} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {long}\r\n\r\n");
            let answer = server.raw(request.as_bytes());
            let status = answer.split(' ').nth(1).unwrap_or("");
            assert!(["", "400", "401", "431"].contains(&status), "{kibibytes} KiB: {answer:.200}");
            assert!(started.elapsed() < Duration::from_secs(5), "{kibibytes} KiB take {:?}", started.elapsed());
        }
        ada.api.get(ME).is(200);
    }

    /// Attack case 17.
    fn a_key_verifies_from_its_time_to_its_end(pair) {
        let world = World::new(pair);
        let mut server = world.start(&[]);
        let ada = server.person("ada");
        assert_eq!(server.stop(), Some(0));
        let server = world.start(&[settings().as_slice(), &[("JWT_ACCESS_TOKEN_EXPIRES", "86400")]].concat());
        let made = server.wait_for_log("a new key", |entry| entry["message"] == "a new signing key");
        let header = json!({"typ": "at+jwt", "alg": "HS256", "kid": made["kid"]}).to_string();
        let at = |minutes: i64| {
            let mut claims = part(&ada.tokens.access, 1);
            for name in ["iat", "nbf", "exp"] {
                claims[name] = json!(claims[name].as_i64().expect("a time") + minutes * 60);
            }
            signed(&header, &claims.to_string())
        };
        is_refused(&server, &at(0), "published, and does not sign yet");
        server.advance(Duration::from_secs(601));
        server.user(&at(10)).get(ME).is(200);
        let signer = || part(&server.log_in(&ada.email, &ada.password).tokens.access, 0)["kid"].clone();
        eventually("the key signs", || (signer() == made["kid"]).then_some(()));
        assert_eq!(server.cli(&["keys", "rotate"], "").code, Some(0));
        server.advance(Duration::from_secs(601));
        let later = eventually("another key signs", || {
            let person = server.log_in(&ada.email, &ada.password);
            (part(&person.tokens.access, 0)["kid"] != made["kid"]).then_some(person)
        });
        server.user(&at(20)).get(ME).is(200);
        server.advance(Duration::from_secs(86_400 + 120));
        eventually("the key is deleted", || {
            let token = at(24 * 60 + 20);
            (server.anon().with("Authorization", &format!("Bearer {token}")).get(ME).status == 401).then_some(())
        });
        server.refresh(&later.tokens.refresh).is(200);
    }
}
