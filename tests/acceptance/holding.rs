//! Introspection, revocation and rotation: the holder of a credential can inspect and end it, and rotate their own key.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Client, Reply, Server, promise};

const INTROSPECT: &str = "/api/v1/auth/introspect";
const REVOKE: &str = "/api/v1/auth/revoke";
const FORM: &str = "application/x-www-form-urlencoded";
const MODELS: &str = "/api/v1/models";
const DAY: Duration = Duration::from_secs(86_400);

fn form(client: &Client, path: &str, token: &str) -> Reply {
    client.send("POST", path, Some(FORM), format!("token={token}&token_type_hint=access_token").as_bytes())
}

#[track_caller]
fn introspect(client: &Client, token: &str) -> Value {
    form(client, INTROSPECT, token).is(200).json()
}

promise! {
    fn a_credential_tells_what_it_is_good_for(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let key = ada.make_key(&["models:read"]);
        let token = introspect(&ada.api, &ada.tokens.access);
        assert_eq!((&token["active"], &token["token_type"]), (&json!(true), &json!("access_token")));
        assert_eq!((&token["sub"], &token["scope"]), (&json!(ada.id), &json!("models:read models:infer files:write")));
        assert!(token["exp"].as_i64().is_some_and(|end| end > 1_700_000_000), "{token}");
        let seen = introspect(&server.key(&key), &key);
        assert_eq!((&seen["token_type"], &seen["scope"]), (&json!("api_key"), &json!("models:read")));
        assert_eq!(introspect(&ada.api, &ada.tokens.refresh)["token_type"], "refresh_token");
        for nothing in ["", "nonsense", "mg_test_nonsense", "mgr_nonsense", &format!("{}x", ada.tokens.access)] {
            assert_eq!(introspect(&ada.api, nothing), json!({"active": false}), "{nothing}");
        }
        ada.api.post(INTROSPECT, &json!({"token": key})).is(200);
        ada.api.send("POST", INTROSPECT, Some("text/plain"), b"token=x").refused(415, "unsupported_media_type");
        ada.api.send("POST", INTROSPECT, Some(FORM), b"tok=x").invalid(&["token"]);
        form(&server.anon(), INTROSPECT, &key).refused(401, "authentication_required");
    }

    fn whoever_holds_a_leaked_key_can_end_it(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let (key, other) = (ada.make_key(&["models:read"]), ada.make_key(&["models:read"]));
        server.key(&key).get(MODELS).is(200);
        form(&server.anon(), REVOKE, &key).is(200);
        server.key(&key).get(MODELS).refused(401, "invalid_token");
        server.key(&other).get(MODELS).is(200);
        for again in [key.as_str(), "nonsense", ""] {
            form(&server.anon(), REVOKE, again).is(200);
        }
    }

    fn ending_a_token_ends_its_session_and_no_other(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        for by_refresh in [false, true] {
            let session = server.log_in(&ada.email, &ada.password);
            let token = if by_refresh { &session.tokens.refresh } else { &session.tokens.access };
            form(&server.anon(), REVOKE, token).is(200);
            session.api.get("/api/v1/me").refused(401, "invalid_token");
            server.refresh(&session.tokens.refresh).is(401);
            assert_eq!(introspect(&ada.api, &session.tokens.access), json!({"active": false}));
        }
        ada.api.get("/api/v1/me").is(200);
    }

    fn a_rotated_key_keeps_its_id_and_its_old_secret_for_a_while(pair) {
        let server = Server::start(pair, &[("JWT_ACCESS_TOKEN_EXPIRES", "86400")]);
        let ada = server.person("ada");
        let (id, old) = ada.make_key_with(json!({"name": "nightly", "scopes": ["models:read"]}));
        let path = format!("/api/v1/api-keys/{id}/rotate");
        let before = ada.api.get(&format!("/api/v1/api-keys/{id}")).is(200).json();
        let answer = ada.api.act(&format!("{path}?overlap_seconds=3600")).is(200);
        let new = answer.member("key");
        assert_eq!(answer.json()["public_id"], before["public_id"]);
        assert_eq!(answer.json()["expires_at"], before["expires_at"]);
        assert_ne!(new, old);
        server.key(&old).get(MODELS).is(200);
        server.key(&new).get(MODELS).is(200);
        server.advance(Duration::from_secs(3601));
        server.key(&old).get(MODELS).refused(401, "invalid_token");
        server.key(&new).get(MODELS).is(200);
        let ada = server.log_in(&ada.email, &ada.password);
        let newest = ada.api.act(&format!("{path}?overlap_seconds=0")).is(200).member("key");
        server.key(&new).get(MODELS).refused(401, "invalid_token");
        server.key(&newest).get(MODELS).is(200);
        ada.api.act(&format!("{path}?overlap_seconds=604801")).invalid(&["overlap_seconds"]);
        server.person("grace").api.act(&path).refused(404, "not_found");
        server.key(&newest).act(&path).refused(403, "forbidden");
    }

    fn an_overlap_never_outlives_the_key(pair) {
        let server = Server::start(pair, &[("JWT_ACCESS_TOKEN_EXPIRES", "86400")]);
        let ada = server.person("ada");
        let (id, old) = ada.make_key_with(json!({"name": "k", "scopes": ["models:read"]}));
        server.advance(DAY * 89);
        let ada = server.log_in(&ada.email, &ada.password);
        let new = ada.api.act(&format!("/api/v1/api-keys/{id}/rotate?overlap_seconds=604800")).is(200).member("key");
        server.key(&old).get(MODELS).is(200);
        server.advance(DAY + Duration::from_secs(5));
        server.key(&old).get(MODELS).refused(401, "invalid_token");
        server.key(&new).get(MODELS).refused(401, "invalid_token");
        let ada = server.log_in(&ada.email, &ada.password);
        ada.api.act(&format!("/api/v1/api-keys/{id}/rotate")).refused(404, "not_found");
    }

    fn what_asks_for_something_where_no_body_is_taken_is_refused(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let (id, old) = admin.make_key_with(json!({"name": "k", "scopes": ["models:read"]}));
        let rotate = format!("/api/v1/api-keys/{id}/rotate");
        let account = admin.api.post("/api/v1/admin/service-accounts", &json!({"name": "ci", "role": "user"})).is(201);
        let account = format!("/api/v1/admin/service-accounts/{}", account.member("id"));
        let body = json!({"name": "k", "scopes": ["models:read"]});
        let key = admin.api.post(&format!("{account}/api-keys"), &body).is(201).member("id");
        for path in [&rotate, &format!("{account}/api-keys/{key}/rotate"), "/api/v1/auth/logout"] {
            let wish = json!({"overlap_seconds": 0});
            admin.api.post(path, &wish).refused(400, "malformed_request");
            server.anon().post(path, &wish).refused(401, "authentication_required");
            admin.api.send("POST", path, Some("text/plain"), &[b' '; 65]).refused(400, "malformed_request");
        }
        admin.api.send("DELETE", &format!("/api/v1/api-keys/{id}"), None, b"soon").refused(400, "malformed_request");
        server.key(&old).get(MODELS).is(200);
        // Some clients send an empty object with every request.
        admin.api.post(&rotate, &json!({})).is(200);
        let newest = admin.api.send("POST", &format!("{rotate}?overlap_seconds=0"), None, b" {\n}\n").is(200);
        server.key(&old).get(MODELS).refused(401, "invalid_token");
        server.key(&newest.member("key")).get(MODELS).is(200);
        admin.api.send("POST", "/api/v1/auth/logout", Some("application/json"), b"").is(204);
    }
}
