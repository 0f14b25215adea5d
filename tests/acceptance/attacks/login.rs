//! Logins that nobody should have: with what comes with the product, with a hint, into a session that somebody
//! prepared.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Server, World, promise};
use crate::routes_matrix::document;

const LOGIN: &str = "/api/v1/auth/login";
const SESSIONS: &str = "/api/v1/auth/sessions";

promise! {
    fn nobody_prepares_anothers_session(pair) {
        let server = Server::start(pair, &[]);
        let (ada, mallory) = (server.person("ada"), server.person("mallory"));
        let theirs = mallory.api.get(SESSIONS).is(200).items()[0]["id"].clone();
        let credentials = json!({"email": ada.email, "password": ada.password});
        for (member, value) in [("session", &theirs), ("sid", &theirs), ("refresh_token", &json!(mallory.tokens.refresh))] {
            let mut body = credentials.clone();
            body[member] = value.clone();
            server.anon().post(LOGIN, &body).refused(400, "malformed_request");
        }
        let mallorys = server.user(&mallory.tokens.access).with("Cookie", "session=chosen");
        let answer = mallorys.post(LOGIN, &credentials).is(200);
        let opened = server.user(&answer.member("access_token"));
        assert_eq!(opened.get("/api/v1/me").member("id"), ada.id);
        let ids = |sessions: Vec<Value>| -> Vec<Value> { sessions.into_iter().map(|session| session["id"].clone()).collect() };
        let adas = ids(opened.get(SESSIONS).is(200).items());
        assert!(adas.len() == 2 && !adas.contains(&theirs), "{adas:?}");
        assert_eq!(ids(mallory.api.get(SESSIONS).is(200).items()), [theirs], "what Mallory had stays Mallory's");
        assert_eq!(mallory.api.get("/api/v1/me").member("id"), mallory.id);
        assert_eq!(server.audited("LOGIN_SUCCESS", "success"), 3);
    }

    fn a_fresh_installation_lets_nobody_in(pair) {
        let server = World::empty(pair).start(&[]);
        let before = server.world.state();
        assert!(before.iter().all(|row| !row.contains("argon2") && !row.contains("INTO accounts")), "{before:?}");
        for name in ["admin", "root", "admin@localhost", "admin@example.com", "administrator", "modelgate", "user", "test", ""] {
            for password in ["admin", "password", "modelgate", "changeme", "change-me", "root", "123456", "Admin-password-1", ""] {
                server.try_log_in(name, password).refused(401, "invalid_credentials");
            }
        }
        server.world.is_unchanged_since(&before);
        assert_eq!(server.audited("LOGIN_FAILURE", "failure"), 81);
    }

    fn no_password_has_a_hint_or_a_question(pair) {
        let server = Server::start(pair, &[]);
        let shown = document(&server).to_string().to_lowercase();
        let stored = match server.world.database_url() {
            Some(_) => server.world.sql("SELECT column_name FROM information_schema.columns WHERE table_schema = 'public'"),
            None => server.world.sql("SELECT sql FROM sqlite_schema"),
        };
        for word in ["password_hint", "password hint", "security question", "security_question", "maiden"] {
            assert!(!shown.contains(word) && !stored.to_lowercase().contains(word), "{word}");
        }
    }

    fn a_password_does_not_end_with_time(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        server.advance(Duration::from_secs(2 * 366 * 86_400));
        server.log_in(&ada.email, &ada.password);
    }

    fn a_stored_hash_is_no_password(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let hash = server.world.sql("SELECT secret FROM credentials").trim().to_owned();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        let before = server.world.state();
        let tag = hash.rsplit('$').next().expect("a tag").to_owned();
        for password in [hash, tag] {
            server.try_log_in(&ada.email, &password).refused(401, "invalid_credentials");
        }
        let failures = |row: &String| !row.contains("INTO credentials") && !row.contains("INTO public.credentials");
        let rest = |rows: Vec<String>| -> Vec<String> { rows.into_iter().filter(failures).collect() };
        assert_eq!(rest(before), rest(server.world.state()));
        assert_eq!(server.audited("LOGIN_FAILURE", "failure"), 2);
    }
}
