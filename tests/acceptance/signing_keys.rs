//! Signing keys change without a restart and, but in an emergency, without a refused token.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Person, Server, Tokens, eventually, promise};

const JWKS: &str = "/.well-known/jwks.json";
const ME: &str = "/api/v1/me";
const MINUTE: Duration = Duration::from_secs(60);

fn published(server: &Server) -> Vec<String> {
    let keys = server.anon().get(JWKS).is(200).json();
    keys["keys"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|key| key["kid"].as_str().expect("a kid").to_owned())
        .collect()
}

fn signed_by(person: &Person) -> String {
    let header = person.tokens.access.split('.').next().expect("a header");
    let header = data_encoding::BASE64URL_NOPAD.decode(header.as_bytes()).expect("base64url");
    let header: Value = serde_json::from_slice(&header).expect("JSON");
    header["kid"].as_str().expect("a kid").to_owned()
}

fn rotate(server: &Server, arguments: &[&str]) {
    let rotated = server.cli(&[&["keys", "rotate"], arguments].concat(), "");
    assert_eq!(rotated.code, Some(0), "{rotated:?}");
}

promise! {
    fn a_new_key_is_published_then_signs_and_the_old_one_verifies_until_its_tokens_end(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let old = signed_by(&ada);
        rotate(&server, &[]);
        eventually("both keys are published", || (published(&server).len() == 2).then_some(()));
        assert_eq!(signed_by(&server.log_in(&ada.email, &ada.password)), old, "the new one does not sign yet");
        let again = server.cli(&["keys", "rotate"], "");
        assert_eq!(again.code, Some(1), "{again:?}");
        server.advance(MINUTE * 10);
        let later = eventually("the new key signs", || {
            let person = server.log_in(&ada.email, &ada.password);
            (signed_by(&person) != old).then_some(person)
        });
        ada.api.get(ME).is(200);
        later.api.get(ME).is(200);
        server.advance(MINUTE * 62);
        eventually("the old key is gone", || (!published(&server).contains(&old)).then_some(()));
        assert_eq!(published(&server), [signed_by(&later)]);
        server.refresh(&later.tokens.refresh).is(200);
    }

    fn in_an_emergency_every_token_ends_and_every_session_stays(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let key = ada.make_key(&["models:read"]);
        ada.api.get(ME).is(200);
        rotate(&server, &["--emergency"]);
        eventually("the token is refused", || (ada.api.get(ME).status == 401).then_some(()));
        assert!(!published(&server).contains(&signed_by(&ada)));
        let tokens = Tokens::of(&server.refresh(&ada.tokens.refresh).is(200));
        server.user(&tokens.access).get(ME).is(200);
        server.key(&key).get("/api/v1/models").is(200);
    }
}
