//! The audit trail records who did what, to what, when and with what outcome; and neither it nor anything else that is
//! stored tells a secret.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Person, Server, Tokens, eventually, promise};

const USERS: &str = "/api/v1/admin/users";
const PASSWORD: &str = "/api/v1/auth/password";
const NEW_PASSWORD: &str = "Another-horse-battery-9";

/// Something of everything that is recorded. Gives the two who did it.
fn a_busy_day(server: &Server) -> (Person, Person) {
    let (admin, ada) = (server.admin(), server.person("ada"));
    server.try_log_in(&ada.email, "Wrong-horse-battery-9").is(401);
    let (id, key) = ada.make_key_with(json!({"name": "a key", "scopes": ["models:read"]}));
    server.key(&key).get("/api/v1/models").is(200);
    server.key(&key).get(USERS).is(403);
    server.key(&key).get(USERS).is(403);
    ada.api.put(&format!("/api/v1/api-keys/{id}"), &json!({"name": "renamed"})).is(200);
    ada.api.act(&format!("/api/v1/api-keys/{id}/rotate")).is(200);
    ada.api.delete(&format!("/api/v1/api-keys/{id}")).is(204);
    let change = json!({"current_password": ada.password, "new_password": NEW_PASSWORD});
    ada.api.post(PASSWORD, &change).is(204);
    admin.api.post("/api/v1/admin/roles", &json!({"name": "auditor", "permissions": ["audit:read"]})).is(201);
    admin.api.put("/api/v1/admin/models/digits/access", &json!({"access": "granted"})).is(204);
    let path = format!("{USERS}/{}", ada.id);
    admin.api.put(&path, &json!({"role": "auditor"})).is(200);
    let next = Tokens::of(&server.refresh(&ada.tokens.refresh).is(200));
    server.refresh(&next.refresh).is(200);
    server.refresh(&ada.tokens.refresh).is(401);
    server.log_in(&ada.email, NEW_PASSWORD).api.act("/api/v1/auth/logout").is(204);
    admin.api.delete(&path).is(204);
    (admin, ada)
}

promise! {
    fn every_event_says_who_what_when_and_how_it_ended(pair) {
        let server = Server::start(pair, &[]);
        let (admin, ada) = a_busy_day(&server);
        // Written within a second, once for the same right in a while.
        eventually("a refusal is listed", || (server.audited("PERMISSION_DENIED", "failure") == 1).then_some(()));
        let events = server.world.audit_events();
        let actions: BTreeSet<&str> = events.iter().filter_map(|event| event["action"].as_str()).collect();
        for action in [
            "LOGIN_SUCCESS", "LOGIN_FAILURE", "PASSWORD_CHANGE", "PERMISSION_DENIED", "SUSPICIOUS_ACTIVITY", "account.created", "account.changed",
            "account.deleted", "role.changed", "model.policy_changed", "session.ended", "api_key.created", "api_key.changed",
            "api_key.rotated", "api_key.revoked",
        ] {
            assert!(actions.contains(action), "{action} is not among {actions:?}");
        }
        for event in &events {
            let members: Vec<&String> = event.as_object().expect("an object").keys().collect();
            assert_eq!(members, ["action", "actor", "at", "detail", "id", "outcome", "request_id", "target"], "{event}");
            let at = event["at"].as_str().expect("a time");
            assert!(at.ends_with('Z') && at.len() >= 20, "UTC: {at}");
            assert!(matches!(event["outcome"].as_str(), Some("success" | "failure")), "{event}");
            let known = [json!(admin.id), json!(ada.id), Value::Null];
            assert!(known.contains(&event["actor"]), "{event}");
            for personal in ["ada@", "admin@", "127.0.0.1", "Someone"] {
                assert!(!event.to_string().contains(personal), "{personal}: {event}");
            }
        }
        let by = |action: &str| events.iter().find(|event| event["action"] == action).expect("it was found above");
        assert_eq!(by("account.deleted")["actor"], json!(admin.id));
        assert_eq!(by("account.deleted")["target"], json!(format!("account:{}", ada.id)));
        assert!(by("LOGIN_FAILURE")["request_id"].is_string());
        assert_eq!(by("PERMISSION_DENIED")["actor"], json!(ada.id));
        assert!(by("PERMISSION_DENIED")["request_id"].is_string());
        assert_eq!(by("PERMISSION_DENIED")["detail"]["reason"], "this needs the permission users:read");
        let addresses = server.world.sql("SELECT count(*) FROM audit_subjects");
        assert_ne!(addresses.trim(), "0", "the address stands apart");
        assert_eq!(server.metric("security_events_total{event_type=\"PERMISSION_DENIED\"}"), 2.0);
    }

    fn no_secret_lies_in_the_database_as_it_was_sent(pair) {
        let server = Server::start(pair, &[]);
        let (admin, ada) = (server.admin(), server.person("ada"));
        let key = ada.make_key(&["models:read"]);
        server.key(&key).get("/api/v1/models").is(200);
        let tokens = Tokens::of(&server.refresh(&ada.tokens.refresh).is(200));
        let stored = server.world.state();
        let secret_part = key.rsplit('_').next().expect("a secret");
        for secret in [&*admin.password, &ada.password, secret_part, &tokens.refresh, &tokens.access, &ada.tokens.refresh] {
            let hex = data_encoding::HEXLOWER.encode(secret.as_bytes());
            for row in &stored {
                assert!(!row.contains(secret) && !row.to_lowercase().contains(&hex), "{row}");
            }
        }
        let hashes = stored.iter().filter(|row| row.contains("$argon2id$v=19$m=19456,t=2,p=1$")).count();
        assert_eq!(hashes, 2, "one for each password");
    }
}
