//! Sensitive acts need a person who proved lately who they are (RFC 9470).

use std::time::Duration;

use serde_json::json;

use crate::harness::{Reply, Server, Tokens, at_once, promise};

const KEYS: &str = "/api/v1/api-keys";
const STEP_UP: &str = "/api/v1/auth/step-up";
const QUARTER: Duration = Duration::from_secs(900);

/// Insists on the answer that asks for a new proof.
#[track_caller]
fn asks_for_proof(reply: Reply) {
    let reply = reply.refused(401, "step_up_required");
    let challenge = reply.header("www-authenticate").expect("a challenge");
    assert!(challenge.contains("error=\"insufficient_user_authentication\", max_age=900"), "{challenge}");
}

promise! {
    fn a_key_is_made_changed_and_renewed_only_soon_after_a_login(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let wish = json!({"name": "a key", "scopes": ["models:read"]});
        server.advance(QUARTER - Duration::from_secs(60));
        let (id, key) = ada.make_key_with(wish.clone());
        server.advance(Duration::from_secs(120));
        asks_for_proof(ada.api.post(KEYS, &wish));
        asks_for_proof(ada.api.put(&format!("{KEYS}/{id}"), &json!({"allowed_ips": null})));
        asks_for_proof(ada.api.act(&format!("{KEYS}/{id}/rotate")));
        assert_eq!(ada.api.get(KEYS).is(200).items().len(), 1);
        server.key(&key).get("/api/v1/models").is(200);
        // To refresh is no proof: whoever stole the tokens can do it.
        let refreshed = Tokens::of(&server.refresh(&ada.tokens.refresh).is(200));
        asks_for_proof(server.user(&refreshed.access).post(KEYS, &wish));
        server.log_in(&ada.email, &ada.password).api.post(KEYS, &wish).is(201);
        // Ending a key is no danger, and may be urgent.
        ada.api.delete(&format!("{KEYS}/{id}")).is(204);
    }

    fn a_password_and_a_code_make_one_token_fresh(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let prove = |password: &str, code: Option<&str>| {
            let mut body = json!({"password": password});
            if let Some(code) = code {
                body["code"] = json!(code);
            }
            ada.api.post(STEP_UP, &body)
        };
        let wish = json!({"name": "a key", "scopes": ["models:read"]});
        server.advance(QUARTER + Duration::from_secs(60));
        asks_for_proof(ada.api.post(KEYS, &wish));
        prove("Wrong-horse-battery-9", None).refused(401, "invalid_credentials");
        prove("", None).refused(401, "invalid_credentials");
        let answer = prove(&ada.password, None).is(200);
        let members: Vec<String> = answer.json().as_object().expect("an object").keys().cloned().collect();
        assert_eq!(members, ["access_token", "expires_in", "token_type"]);
        let fresh = server.user(&answer.member("access_token"));
        fresh.post(KEYS, &wish).is(201);
        // Neither the old token nor a refreshed one is any fresher for it.
        asks_for_proof(ada.api.post(KEYS, &wish));
        let refreshed = Tokens::of(&server.refresh(&ada.tokens.refresh).is(200));
        asks_for_proof(server.user(&refreshed.access).post(KEYS, &wish));

        let (authenticator, codes) = {
            let mut ada = ada.clone();
            ada.api = fresh.clone();
            ada.enrol(&server)
        };
        let before = server.audited("session.stepped_up", "success");
        prove(&ada.password, None).refused(401, "invalid_code");
        prove(&ada.password, Some("000000")).refused(401, "invalid_code");
        let code = authenticator.next_code(&server);
        prove("Wrong-horse-battery-9", Some(&code)).refused(401, "invalid_credentials");
        assert_eq!(server.audited("session.stepped_up", "success"), before);
        prove(&ada.password, Some(&code)).is(200);
        prove(&ada.password, Some(&code)).refused(401, "invalid_code");
        let last = server.user(&prove(&ada.password, Some(&codes[0])).is(200).member("access_token"));
        assert_eq!(server.audited("session.stepped_up", "success") - before, 2);
        server.advance(QUARTER + Duration::from_secs(60));
        asks_for_proof(last.post(KEYS, &wish));
        // It is of the same session, and ends with it.
        ada.api.act("/api/v1/auth/logout").is(204);
        for client in [&fresh, &last] {
            client.get("/api/v1/me").refused(401, "invalid_token");
        }
    }

    fn a_stolen_token_neither_guesses_nor_locks_out(pair) {
        let server = Server::start(pair, &[("RATE_LIMIT_LOGIN_PER_MINUTE", "5"), ("PASSWORD_HASH_QUEUE", "100")]);
        let stolen = server.person("ada");
        let elsewhere = server.log_in(&stolen.email, &stolen.password);
        let key = server.key(&stolen.make_key(&["models:read"]));
        let guess = json!({"password": "Wrong-horse-battery-9"});
        let answers = at_once(40, |_| stolen.api.post(STEP_UP, &guess).status);
        assert_eq!(answers.iter().filter(|status| **status == 401).count(), 5, "{answers:?}");
        assert_eq!(server.audited("LOGIN_FAILURE", "failure"), 5);
        let right = json!({"password": stolen.password});
        stolen.api.post(STEP_UP, &right).refused(429, "rate_limited");
        elsewhere.api.post(STEP_UP, &right).is(200);
        server.log_in(&stolen.email, &stolen.password);
        key.post(STEP_UP, &right).refused(403, "forbidden");
        server.anon().post(STEP_UP, &right).refused(401, "authentication_required");
    }
}
