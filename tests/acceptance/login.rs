//! Making an account and logging in: nobody learns which addresses have accounts, no weak password is taken.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Reply, Server, at_once, promise};

const REGISTER: &str = "/api/v1/auth/register";
const LOGIN: &str = "/api/v1/auth/login";
const PASSWORD: &str = "Correct-horse-battery-9";

fn account(email: &str, password: &str, name: &str) -> Value {
    json!({"email": email, "password": password, "name": name})
}

/// An answer without what differs between any two.
fn shape(reply: &Reply) -> (u16, Value, BTreeMap<String, String>) {
    let mut body = reply.json();
    body["request_id"] = Value::Null;
    let headers = reply
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()));
    let varies = ["x-request-id", "date", "content-length"];
    (reply.status, body, headers.filter(|(name, _)| !varies.contains(&name.as_str())).collect())
}

promise! {
    fn a_login_answers_with_two_tokens_and_nothing_else(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let answer = server.try_log_in(&ada.email, &ada.password).is(200);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let answer = answer.json();
        let members: Vec<&String> = answer.as_object().expect("an object").keys().collect();
        assert_eq!(members, ["access_token", "expires_in", "refresh_token", "token_type"]);
        assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("Bearer"), &json!(3600)));
        let me = ada.api.get("/api/v1/me").is(200).json();
        let members: Vec<&String> = me.as_object().expect("an object").keys().collect();
        assert_eq!(members, ["active", "created_at", "email", "id", "last_login_at", "name", "role"]);
        assert!(me["last_login_at"].is_string(), "{me}");
    }

    fn an_address_is_the_same_in_any_spelling_and_a_password_only_in_one(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        server.try_log_in("  ADA@Example.COM ", &ada.password).is(200);
        for wrong in ["correct-horse-battery-9", "Correct-horse-battery-9 ", " Correct-horse-battery-9", ""] {
            server.try_log_in(&ada.email, wrong).refused(401, "invalid_credentials");
        }
        for taken in ["ada@example.com", "ADA@EXAMPLE.COM"] {
            let again = account(taken, PASSWORD, "Another Person");
            server.anon().post(REGISTER, &again).refused(409, "email_taken");
        }
    }

    fn wrong_password_unknown_address_and_disabled_account_look_alike(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let (ada, off) = (server.person("ada"), server.person("grace"));
        admin.api.put(&format!("/api/v1/admin/users/{}", off.id), &json!({"active": false})).is(200);
        let wrong = shape(&server.try_log_in(&ada.email, "Wrong-horse-battery-9"));
        assert_eq!(wrong.0, 401);
        assert_eq!(wrong, shape(&server.try_log_in("nobody@example.com", PASSWORD)));
        assert_eq!(wrong, shape(&server.try_log_in(&off.email, &off.password)));
        assert_eq!(wrong, shape(&server.try_log_in("' OR 1=1 --", PASSWORD)));
        assert_eq!(wrong, shape(&server.try_log_in("", "")));
        assert_eq!(wrong, shape(&server.try_log_in(&ada.email, &"A9-a".repeat(1000))));
    }

    fn an_account_needs_an_address_a_name_and_a_good_password(pair) {
        let server = Server::start(pair, &[]);
        let register = |email: &str, password: &str, name: &str| {
            server.anon().post(REGISTER, &account(email, password, name))
        };
        for email in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "a da@example.com",
            &format!("{}@example.com", "a".repeat(120)),
        ] {
            register(email, PASSWORD, "Ada Lovelace").invalid(&["email"]);
        }
        for password in [
            "",
            "Short-1a",
            "no-upper-case-9",
            "NO-LOWER-CASE-9",
            "No-digit-at-all",
            "NothingSpecial9",
            "Ada-Lovelace-99x",
            &"aB3-".repeat(33),
        ] {
            register("ada@example.com", password, "Ada Lovelace").invalid(&["password"]);
        }
        for name in ["", " ", "A", "<b>Ada</b>", "Ada\nLovelace", "Ada9", &"a".repeat(51)] {
            register("ada@example.com", PASSWORD, name).invalid(&["name"]);
        }
        register("ada", "short", "Ada Lovelace").is(400);
        register("ada@example.com", &"aB3-".repeat(32), "Åsa O’Brien-Müller Jr.").is(201);
        server.try_log_in("ada@example.com", &"aB3-".repeat(32)).is(200);
    }

    fn nobody_registers_a_role_or_an_id(pair) {
        let server = Server::start(pair, &[]);
        for extra in ["role", "id", "active", "is_admin", "ver"] {
            let mut body = account("ada@example.com", PASSWORD, "Ada Lovelace");
            body[extra] = json!("admin");
            server.anon().post(REGISTER, &body).refused(400, "malformed_request");
        }
        server.try_log_in("ada@example.com", PASSWORD).is(401);
        server.anon().post(LOGIN, &json!({"email": "ada@example.com"})).refused(400, "malformed_request");
        server
            .anon()
            .post(LOGIN, &json!({"email": 1, "password": PASSWORD}))
            .refused(400, "malformed_request");
        server
            .anon()
            .post(LOGIN, &json!({"email": "a@b.c", "password": {"$ne": ""}}))
            .refused(400, "malformed_request");
    }

    fn no_text_holds_a_nul(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        server.try_log_in("nul\u{0}@example.com", PASSWORD).refused(400, "malformed_request");
        let body = account("nul\u{0}@example.com", PASSWORD, "Ada Lovelace");
        server.anon().post(REGISTER, &body).refused(400, "malformed_request");
        admin.api.get("/api/v1/admin/users?search=a%00b").invalid(&["search"]);
        let path = format!("/api/v1/admin/users/{}", admin.id);
        admin.api.put(&path, &json!({"role": "nul\u{0}"})).refused(400, "malformed_request");
        let key = json!({"name": "a key", "scopes": ["models:read"], "models": ["nul\u{0}"]});
        admin.api.post("/api/v1/api-keys", &key).refused(400, "malformed_request");
        let backslash = json!({"name": "a \\u0000 key", "scopes": ["models:read"]});
        admin.api.post("/api/v1/api-keys", &backslash).is(201);
    }

    fn registration_can_be_closed(pair) {
        let server = Server::start(pair, &[("REGISTRATION", "closed")]);
        let body = account("ada@example.com", PASSWORD, "Ada Lovelace");
        server.anon().post(REGISTER, &body).refused(403, "registration_closed");
        server.try_log_in("ada@example.com", PASSWORD).is(401);
        server.admin();
    }

    fn of_many_who_register_one_address_at_once_one_gets_it(pair) {
        let server = Server::start(pair, &[]);
        let body = account("ada@example.com", PASSWORD, "Ada Lovelace");
        let answers = at_once(8, |_| server.anon().post(REGISTER, &body).status);
        assert_eq!(answers.iter().filter(|status| **status == 201).count(), 1, "{answers:?}");
        // A machine that has too much to do sheds those whose turn to be hashed does not come.
        assert!(answers.iter().all(|status| [201, 409, 503].contains(status)), "{answers:?}");
        server.anon().post(REGISTER, &body).refused(409, "email_taken");
    }

    fn a_flood_of_logins_is_shed_and_the_rest_is_answered(pair) {
        let server = Server::start(pair, &[("PASSWORD_HASH_QUEUE", "1"), ("PASSWORD_HASH_THREADS", "1")]);
        let ada = server.person("ada");
        let answers = at_once(24, |_| server.try_log_in(&ada.email, &ada.password).status);
        assert!(answers.iter().all(|status| [200, 503].contains(status)), "{answers:?}");
        assert!(answers.contains(&200) && answers.contains(&503), "{answers:?}");
        ada.api.get("/api/v1/me").is(200);
        server.try_log_in(&ada.email, &ada.password).is(200);
    }

    fn the_command_line_keeps_the_same_rules(pair) {
        let server = Server::start(pair, &[]);
        let create = |email: &str, password: &str| {
            server.cli(&["admin", "create", "--email", email, "--password-stdin"], password)
        };
        let weak = create("root@example.com", "admin\n");
        assert_eq!(weak.code, Some(1), "{weak:?}");
        assert!(weak.stderr.contains("password"), "{weak:?}");
        let made = create("root@example.com", "Correct-horse-battery-9\n");
        assert_eq!(made.code, Some(0), "{made:?}");
        assert!(!made.stdout.contains(PASSWORD), "{made:?}");
        assert_eq!(create("root@example.com", "Correct-horse-battery-9\n").code, Some(1));
        assert_eq!(
            create("not an address", "Correct-horse-battery-9\n").code,
            Some(1),
            "an address that cannot be one"
        );
        let root = server.log_in("root@example.com", PASSWORD);
        assert_eq!(root.api.get("/api/v1/me").json()["role"], "admin");
        assert_ne!(
            server.cli(&["admin", "create", "--email", "x@example.com"], "").code,
            Some(0),
            "no password"
        );
    }
}
