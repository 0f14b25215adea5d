//! Ending sessions: what is ended is refused at the very next request, and nothing else is.

use serde_json::json;

use crate::harness::{Person, Server, promise};

const ME: &str = "/api/v1/me";
const SESSIONS: &str = "/api/v1/auth/sessions";

/// Neither of the person's tokens is good.
#[track_caller]
fn is_over(server: &Server, person: &Person) {
    person.api.get(ME).refused(401, "invalid_token");
    server.refresh(&person.tokens.refresh).refused(401, "invalid_token");
}

/// The id of the session that a token belongs to.
fn session_of(person: &Person) -> String {
    let payload = person.tokens.access.split('.').nth(1).expect("three parts");
    let payload = data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).expect("base64url");
    let claims: serde_json::Value = serde_json::from_slice(&payload).expect("JSON");
    claims["sid"].as_str().expect("a session").to_owned()
}

promise! {
    fn a_logout_ends_both_tokens_at_once(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let laptop = server.log_in(&ada.email, &ada.password);
        ada.api.act("/api/v1/auth/logout").is(204);
        is_over(&server, &ada);
        ada.api.act("/api/v1/auth/logout").refused(401, "invalid_token");
        laptop.api.get(ME).is(200);
        assert_eq!(laptop.api.get(SESSIONS).is(200).items().len(), 1);
        is_over(&server, &ada);
    }

    fn a_logout_from_a_refreshed_session_ends_the_older_access_tokens_too(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let newer = server.refresh(&ada.tokens.refresh).is(200);
        let newer = server.user(&newer.member("access_token"));
        newer.act("/api/v1/auth/logout").is(204);
        is_over(&server, &ada);
        newer.get(ME).is(401);
    }

    fn logging_out_everywhere_ends_every_session_of_ones_own(pair) {
        let server = Server::start(pair, &[]);
        let (ada, grace) = (server.person("ada"), server.person("grace"));
        let key = server.key(&ada.make_key(&["models:read"]));
        let laptop = server.log_in(&ada.email, &ada.password);
        let phone = server.log_in(&ada.email, &ada.password);
        laptop.api.act("/api/v1/auth/logout-all").is(204);
        for session in [&ada, &laptop, &phone] {
            is_over(&server, session);
        }
        grace.api.get(ME).is(200);
        key.get("/api/v1/models").is(200);
        server.log_in(&ada.email, &ada.password).api.get(ME).is(200);
    }

    fn one_sees_and_ends_ones_own_sessions_only(pair) {
        let server = Server::start(pair, &[]);
        let (ada, grace) = (server.person("ada"), server.person("grace"));
        let agent = server.anon().with("User-Agent", "Analytical Engine/1.0");
        let answer =
            agent.post("/api/v1/auth/login", &json!({"email": ada.email, "password": ada.password})).is(200);
        let engine = server.user(&answer.member("access_token"));
        let sessions = ada.api.get(SESSIONS).is(200).items();
        assert_eq!(sessions.len(), 2, "{sessions:?}");
        assert_eq!(sessions[0]["user_agent"], "Analytical Engine/1.0", "newest first: {sessions:?}");
        assert_eq!(sessions[0]["address"], "127.0.0.1", "{sessions:?}");

        let theirs = format!("{SESSIONS}/{}", session_of(&grace));
        ada.api.delete(&theirs).refused(404, "not_found");
        grace.api.get(ME).is(200);
        let engines = format!("{SESSIONS}/{}", sessions[0]["id"].as_str().expect("an id"));
        ada.api.delete(&engines).is(204);
        engine.get(ME).refused(401, "invalid_token");
        ada.api.delete(&engines).refused(404, "not_found");
        ada.api.delete(&format!("{SESSIONS}/no-uuid")).refused(404, "not_found");
        ada.api.delete(&format!("{SESSIONS}/{}", session_of(&ada))).is(204);
        is_over(&server, &ada);
    }

    fn sessions_come_in_pages(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        for _ in 0..4 {
            server.try_log_in(&ada.email, &ada.password).is(200);
        }
        let first = ada.api.get(&format!("{SESSIONS}?limit=3")).is(200);
        let next = ada.api.get(&format!("{SESSIONS}?limit=3&cursor={}", first.member("next_cursor"))).is(200);
        assert_eq!((first.items().len(), next.items().len()), (3, 2));
        assert!(next.json()["next_cursor"].is_null());
        let ids = |items: Vec<serde_json::Value>| items.into_iter().map(|item| item["id"].to_string());
        let all: std::collections::BTreeSet<String> = ids(first.items()).chain(ids(next.items())).collect();
        assert_eq!(all.len(), 5);
        ada.api.get(&format!("{SESSIONS}?limit=0")).invalid(&["limit"]);
        ada.api.get(&format!("{SESSIONS}?cursor=nonsense")).invalid(&["cursor"]);
    }

    fn a_new_password_ends_the_other_sessions(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let laptop = server.log_in(&ada.email, &ada.password);
        let change = |current: &str, new: &str| {
            ada.api.post("/api/v1/auth/password", &json!({"current_password": current, "new_password": new}))
        };
        change("Wrong-horse-battery-9", "Another-horse-battery-9").invalid(&["current_password"]);
        let failed = server.world.audit_events().into_iter().filter(|event| event["action"] == "LOGIN_FAILURE");
        assert_eq!(failed.count(), 1, "a guess is a guess, whoever has the token");
        change(&ada.password, "weak").invalid(&["new_password"]);
        laptop.api.get(ME).is(200);
        change(&ada.password, "Another-horse-battery-9").is(204);
        is_over(&server, &laptop);
        ada.api.get(ME).is(200);
        server.refresh(&ada.tokens.refresh).is(200);
        server.try_log_in(&ada.email, &ada.password).refused(401, "invalid_credentials");
        server.log_in(&ada.email, "Another-horse-battery-9");
    }

    fn keys_end_no_sessions_and_change_no_passwords(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let key = server.key(&ada.make_key(&["models:read", "models:infer"]));
        for path in ["/api/v1/auth/logout", "/api/v1/auth/logout-all"] {
            key.act(path).refused(403, "forbidden");
        }
        let body = json!({"current_password": ada.password, "new_password": "Another-horse-battery-9"});
        key.post("/api/v1/auth/password", &body).refused(403, "forbidden");
        key.get(SESSIONS).refused(403, "forbidden");
        key.put(ME, &json!({"name": "Some Program"})).refused(403, "forbidden");
        key.delete(&format!("{SESSIONS}/{}", session_of(&ada))).refused(403, "forbidden");
        ada.api.get(ME).is(200);
    }
}
