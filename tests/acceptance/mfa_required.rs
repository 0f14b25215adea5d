//! Where a second factor is required, nothing but getting one is open until it is there; and only another administrator
//! takes one away.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Client, Person, Server, Tokens, promise, sample};

const ME: &str = "/api/v1/me";
const MFA: &str = "/api/v1/me/mfa";
const MODELS: &str = "/api/v1/models";
const USERS: &str = "/api/v1/admin/users";

#[track_caller]
fn is_shut_out(client: &Client) {
    client.get(MODELS).refused(403, "mfa_enrolment_required");
    client.predict(&sample("7-1")).refused(403, "mfa_enrolment_required");
    assert_eq!(client.get("/v2/models/digits").status, 403);
}

/// Where a person's second factor is administered.
fn factor(person: &Person) -> String {
    format!("{USERS}/{}/mfa", person.id)
}

promise! {
    fn who_needs_a_second_factor_does_nothing_but_get_one(pair) {
        let server = Server::start(pair, &[("MFA_REQUIRED_ROLES", "moderator, admin")]);
        let admin = server.admin();
        is_shut_out(&admin.api);
        for path in [USERS, "/api/v1/admin/roles"] {
            admin.api.get(path).refused(403, "mfa_enrolment_required");
        }
        admin.api.delete(&factor(&admin)).refused(403, "mfa_enrolment_required");
        for scopes in [json!([]), json!(["models:read"])] {
            let wish = json!({"name": "a key", "scopes": scopes});
            assert_ne!(admin.api.post("/api/v1/api-keys", &wish).status, 201);
        }
        admin.api.post("/api/v1/api-keys", &json!({"name": "a key", "scopes": ["models:read"]}))
            .refused(403, "mfa_enrolment_required");
        admin.api.get(ME).is(200);
        assert_eq!(admin.api.get(MFA).is(200).json()["must_enrol"], true);
        admin.enrol(&server);
        admin.api.get(USERS).is(200);
        admin.api.predict(&sample("7-1")).is(200);
        assert_eq!(admin.api.get(MFA).is(200).json()["must_enrol"], false);
        // Whoever has another role needs none.
        let ada = server.person("ada");
        ada.api.get(MODELS).is(200);
    }

    fn a_role_that_needs_it_shuts_out_what_was_there_before(pair) {
        let server = Server::start(pair, &[("MFA_REQUIRED_ROLES", "moderator")]);
        let (admin, ada) = (server.admin(), server.person("ada"));
        let key = server.key(&ada.make_key(&["models:read", "models:infer"]));
        ada.api.predict(&sample("7-1")).is(200);
        key.predict(&sample("7-1")).is(200);
        admin.api.put(&format!("{USERS}/{}", ada.id), &json!({"role": "moderator"})).is(200);
        is_shut_out(&ada.api);
        is_shut_out(&key);
        let refreshed = Tokens::of(&server.refresh(&ada.tokens.refresh).is(200));
        is_shut_out(&server.user(&refreshed.access));
        is_shut_out(&server.log_in(&ada.email, &ada.password).api);
        ada.enrol(&server);
        ada.api.predict(&sample("7-1")).is(200);
        key.predict(&sample("7-1")).is(200);
        ada.api.get(USERS).is(200);
    }

    fn a_service_account_has_nobody_who_could_enrol(pair) {
        let server = Server::start(pair, &[("MFA_REQUIRED_ROLES", "user")]);
        let admin = server.admin();
        let path = "/api/v1/admin/service-accounts";
        let robot = admin.api.post(path, &json!({"name": "Robot", "role": "user"})).is(201).member("id");
        let wish = json!({"name": "a key", "scopes": ["models:read", "models:infer"]});
        let key = admin.api.post(&format!("{path}/{robot}/api-keys"), &wish).is(201).member("key");
        server.key(&key).predict(&sample("7-1")).is(200);
        admin.api.delete(&format!("{USERS}/{robot}/mfa")).refused(404, "not_found");
        is_shut_out(&server.person("ada").api);
    }

    fn an_administrator_takes_the_factor_of_one_who_lost_it(pair) {
        let server = Server::start(pair, &[]);
        let (admin, ada) = (server.admin(), server.person("ada"));
        let key = server.key(&ada.make_key(&["models:read", "models:infer"]));
        let (_, codes) = ada.enrol(&server);
        let waiting = server.challenge(&ada);
        admin.api.delete(&factor(&ada)).is(204);
        assert_eq!(server.audited("mfa.reset", "success"), 1);
        ada.api.get(ME).refused(401, "invalid_token");
        server.refresh(&ada.tokens.refresh).refused(401, "invalid_token");
        server.second_step(&waiting, &codes[0]).refused(401, "invalid_code");
        is_shut_out(&key);
        let ada = server.log_in(&ada.email, &ada.password);
        is_shut_out(&ada.api);
        assert_eq!(ada.api.get(MFA).json()["must_enrol"], true);
        let (authenticator, _) = ada.enrol(&server);
        ada.api.predict(&sample("7-1")).is(200);
        key.predict(&sample("7-1")).is(200);
        server.second_step(&server.challenge(&ada), &codes[1]).refused(401, "invalid_code");
        server.second_step(&server.challenge(&ada), &authenticator.next_code(&server)).is(200);
    }

    fn nobody_takes_a_factor_that_is_not_theirs_to_take(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let role = json!({"name": "desk", "permissions": ["users:read", "users:manage"]});
        admin.api.post("/api/v1/admin/roles", &role).is(201);
        let desk = server.person_with_role(&admin, "desk", "desk");
        let ada = server.person("ada");
        admin.enrol(&server);
        ada.api.delete(&factor(&admin)).refused(403, "insufficient_permissions");
        desk.api.delete(&factor(&admin)).refused(403, "forbidden");
        admin.api.delete(&factor(&admin)).refused(403, "forbidden");
        let key = server.key(&admin.make_key(&["users:manage"]));
        key.delete(&factor(&ada)).refused(403, "forbidden");
        let missing = format!("{USERS}/01890000-0000-7000-8000-000000000000/mfa");
        admin.api.delete(&missing).refused(404, "not_found");
        server.advance(Duration::from_secs(16 * 60));
        admin.api.delete(&factor(&ada)).refused(401, "step_up_required");
        assert_eq!(server.audited("mfa.reset", "success"), 0);
        ada.api.get(MODELS).is(200);
        server.challenge(&admin);
    }

    fn a_required_role_that_does_not_exist_is_told(pair) {
        let server = Server::start(pair, &[("MFA_REQUIRED_ROLES", "admn")]);
        let told = server.wait_for_log("a misspelt role", |line| line["role"] == "admn");
        assert_eq!(told["level"], "WARN");
    }
}
