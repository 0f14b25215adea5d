//! What administrators do to accounts holds from the next request, and there is always one of them left.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Person, Reply, Server, at_once, promise};

const ME: &str = "/api/v1/me";
const MODELS: &str = "/api/v1/models";
const USERS: &str = "/api/v1/admin/users";

fn path(person: &Person) -> String {
    format!("{USERS}/{}", person.id)
}

#[track_caller]
fn change(admin: &Person, person: &Person, change: Value) -> Reply {
    admin.api.put(&path(person), &change)
}

fn emails(reply: &Reply) -> Vec<String> {
    reply.items().iter().map(|user| user["email"].as_str().expect("an address").to_owned()).collect()
}

promise! {
    fn a_disabled_account_is_refused_at_the_next_request_and_comes_back_without_its_sessions(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let (ada, grace) = (server.person("ada"), server.person("grace"));
        let key = server.key(&ada.make_key(&["models:read"]));
        ada.api.get(ME).is(200);
        key.get(MODELS).is(200);
        let answer = change(&admin, &ada, json!({"active": false})).is(200).json();
        assert_eq!((&answer["active"], &answer["id"]), (&json!(false), &json!(ada.id)));
        ada.api.get(ME).refused(401, "invalid_token");
        key.get(MODELS).refused(401, "invalid_token");
        server.try_log_in(&ada.email, &ada.password).refused(401, "invalid_credentials");
        grace.api.get(ME).is(200);
        change(&admin, &ada, json!({"active": true})).is(200);
        ada.api.get(ME).refused(401, "invalid_token");
        key.get(MODELS).is(200);
        server.log_in(&ada.email, &ada.password);
    }

    fn a_role_holds_from_the_next_request_with_the_same_token(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let ada = server.person("ada");
        ada.api.get(USERS).refused(403, "insufficient_permissions");
        change(&admin, &ada, json!({"role": "moderator"})).is(200);
        ada.api.get(USERS).is(200);
        ada.api.delete(&path(&admin)).refused(403, "insufficient_permissions");
        change(&admin, &ada, json!({"role": "admin"})).is(200);
        change(&ada, &admin, json!({"role": "user"})).is(200);
        admin.api.get(USERS).refused(403, "insufficient_permissions");
        change(&admin, &admin, json!({"role": "admin"})).refused(403, "insufficient_permissions");
        change(&ada, &ada, json!({"role": "wizard"})).invalid(&["role"]);
    }

    fn the_last_administrator_stays(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        for loss in
            [json!({"role": "user"}), json!({"active": false}), json!({"role": "moderator", "active": true})]
        {
            change(&admin, &admin, loss).refused(409, "last_administrator");
        }
        admin.api.delete(&path(&admin)).refused(409, "last_administrator");
        change(&admin, &admin, json!({"name": "Chief Librarian", "role": "admin", "active": true})).is(200);
        let invited = json!({"email": "later@example.com", "name": "Later", "role": "admin"});
        admin.api.post(USERS, &invited).is(201);
        change(&admin, &admin, json!({"role": "user"})).refused(409, "last_administrator");
        let other = server.admin_called("other");
        change(&admin, &other, json!({"active": false})).is(200);
        change(&admin, &admin, json!({"role": "user"})).refused(409, "last_administrator");
        change(&admin, &other, json!({"active": true})).is(200);
        change(&admin, &admin, json!({"role": "user"})).is(200);
        let other = server.log_in(&other.email, &other.password);
        other.api.delete(&path(&other)).refused(409, "last_administrator");
    }

    fn two_administrators_do_not_remove_each_other(pair) {
        for loss in [json!({"role": "user"}), json!({"active": false}), Value::Null] {
            let server = Server::start(pair, &[]);
            let both = [server.admin_called("ada"), server.admin_called("grace")];
            let statuses = at_once(2, |index| {
                let (actor, target) = (&both[index], &both[1 - index]);
                let reply = if loss.is_null() {
                    actor.api.delete(&path(target))
                } else {
                    change(actor, target, loss.clone())
                };
                reply.status
            });
            let done = statuses.iter().filter(|status| [200, 204].contains(*status)).count();
            assert_eq!(done, 1, "{loss}: {statuses:?}");
            let left = both.iter().filter(|person| person.api.get(USERS).status == 200).count();
            assert_eq!(left, 1, "{loss}: {statuses:?}");
        }
    }

    fn a_deleted_account_is_gone(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let ada = server.person("ada");
        let key = server.key(&ada.make_key(&["models:read"]));
        key.get(MODELS).is(200);
        admin.api.delete(&path(&ada)).is(204);
        ada.api.get(ME).refused(401, "invalid_token");
        key.get(MODELS).refused(401, "invalid_token");
        admin.api.get(&path(&ada)).refused(404, "not_found");
        admin.api.delete(&path(&ada)).refused(404, "not_found");
        change(&admin, &ada, json!({"active": true})).refused(404, "not_found");
        admin.api.delete(&format!("{}/sessions", path(&ada))).refused(404, "not_found");
        server.try_log_in(&ada.email, &ada.password).is(401);
        let again = server.person("ada");
        assert_ne!(again.id, ada.id);
        ada.api.get(ME).refused(401, "invalid_token");
        admin.api.get(&format!("{USERS}/no-uuid")).refused(404, "not_found");
    }

    fn an_administrator_ends_anyones_sessions(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let ada = server.person("ada");
        let laptop = server.log_in(&ada.email, &ada.password);
        let key = server.key(&ada.make_key(&["models:read"]));
        admin.api.delete(&format!("{}/sessions", path(&ada))).is(204);
        for session in [&ada, &laptop] {
            session.api.get(ME).refused(401, "invalid_token");
            server.refresh(&session.tokens.refresh).refused(401, "invalid_token");
        }
        key.get(MODELS).is(200);
        admin.api.get(ME).is(200);
        server.log_in(&ada.email, &ada.password);
    }

    fn people_are_found_by_a_part_of_address_or_name(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let ada = server.person("ada");
        server.person("grace");
        server.person("under_score");
        change(&admin, &ada, json!({"name": "Augusta Ada King"})).is(200);
        let search = |text: &str| emails(&admin.api.get(&format!("{USERS}?search={text}")).is(200));
        assert_eq!(search("GRACE"), ["grace@example.com"]);
        assert_eq!(search("augusta"), ["ada@example.com"]);
        assert_eq!(search("example.com").len(), 4);
        assert_eq!(search("_"), ["under_score@example.com"], "no wildcard");
        server.person("xada");
        assert_eq!(search("Ada@Example.com"), ["ada@example.com"], "a whole address is one account's");
        assert_eq!(search("ada@example").len(), 2);
        admin.api.delete(&format!("{USERS}/{}", server.log_in("xada@example.com", &ada.password).id)).is(204);
        change(&admin, &ada, json!({"name": "Åsa Öberg"})).is(200);
        for name in ["%C3%A5SA%20%C3%B6", "A%CC%8Asa", "%EF%BC%A1%CC%8A"] {
            assert_eq!(search(name), ["ada@example.com"], "{name}: any case, any form");
        }
        for nothing in ["%25", "nobody", "%27%20OR%201%3D1", "*", "a%25a"] {
            assert_eq!(search(nothing), Vec::<String>::new(), "{nothing}");
        }
        let first = admin.api.get(&format!("{USERS}?search=EXAMPLE&limit=3")).is(200);
        assert_eq!(emails(&first), ["under_score", "grace", "ada"].map(|name| format!("{name}@example.com")));
        let rest = format!("{USERS}?search=EXAMPLE&limit=3&cursor={}", first.member("next_cursor"));
        let rest = admin.api.get(&rest).is(200);
        assert_eq!(emails(&rest), ["admin@example.com"]);
        assert!(rest.json()["next_cursor"].is_null());
        let of_length = |length| admin.api.get(&format!("{USERS}?search={}", "%C3%A4".repeat(length)));
        of_length(200).is(200);
        for length in [201, 10_000] {
            of_length(length).invalid(&["search"]);
        }
    }

    fn names_are_kept_without_the_space_around_them(pair) {
        let server = Server::start(pair, &[]);
        let (admin, ada) = (server.admin(), server.person("ada"));
        let padded = |space: usize| json!({"name": format!("{0}Ada King{0}", " ".repeat(space))});
        assert_eq!(change(&admin, &ada, padded(5)).is(200).member("name"), "Ada King");
        assert_eq!(ada.api.put(ME, &padded(6)).is(200).member("name"), "Ada King");
        change(&admin, &ada, padded(100)).invalid(&["name"]);
        ada.api.put(ME, &padded(100)).invalid(&["name"]);
        let account = json!({"email": "grace@example.com", "password": "Correct-horse-battery-9", "name": padded(100)["name"]});
        server.anon().post("/api/v1/auth/register", &account).invalid(&["name"]);
        let key = |space| json!({"name": padded(space)["name"], "scopes": ["models:read"]});
        let made = ada.api.post("/api/v1/api-keys", &key(5)).is(201);
        assert_eq!(made.member("name"), "Ada King");
        ada.api.post("/api/v1/api-keys", &key(100)).invalid(&["name"]);
        let path = format!("/api/v1/api-keys/{}", made.member("id"));
        assert_eq!(ada.api.put(&path, &padded(6)).is(200).member("name"), "Ada King");
        ada.api.put(&path, &padded(100)).invalid(&["name"]);
    }

    fn the_list_comes_in_pages_newest_first_and_without_secrets(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        for name in ["ada", "grace", "edsger", "barbara"] {
            server.person(name);
        }
        let first = admin.api.get(&format!("{USERS}?limit=2")).is(200);
        assert_eq!(emails(&first), ["barbara@example.com", "edsger@example.com"]);
        let second =
            admin.api.get(&format!("{USERS}?limit=2&cursor={}", first.member("next_cursor"))).is(200);
        server.person("newer");
        let third =
            admin.api.get(&format!("{USERS}?limit=2&cursor={}", second.member("next_cursor"))).is(200);
        assert_eq!(emails(&second), ["grace@example.com", "ada@example.com"]);
        assert_eq!(emails(&third), ["admin@example.com"]);
        assert!(third.json()["next_cursor"].is_null());
        let members: BTreeSet<String> =
            first.items()[0].as_object().expect("a user").keys().cloned().collect();
        let expected = ["active", "created_at", "email", "id", "last_login_at", "name", "role"];
        assert_eq!(members, expected.map(str::to_owned).into());
        for odd in ["limit=0", "limit=101", "limit=-1", "limit=ten"] {
            admin.api.get(&format!("{USERS}?{odd}")).invalid(&["limit"]);
        }
        admin.api.get(&format!("{USERS}?cursor=nonsense")).invalid(&["cursor"]);
        admin.api.get(&format!("{USERS}?sort=email")).invalid(&["sort"]);
    }

    fn a_change_says_nothing_it_may_not_say(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let ada = server.person("ada");
        for member in ["email", "id", "password", "created_at", "security_version"] {
            change(&admin, &ada, json!({member: "x"})).refused(400, "malformed_request");
        }
        change(&admin, &ada, json!({"name": "<script>"})).invalid(&["name"]);
        change(&admin, &ada, json!({"active": "no"})).refused(400, "malformed_request");
        change(&admin, &ada, json!({"name": "Ada King", "role": "wizard"})).invalid(&["role"]);
        assert_ne!(ada.api.get(ME).json()["name"], "Ada King", "nothing of a refused change is kept");
        ada.api.put(ME, &json!({"name": "Ada King"})).is(200);
        assert_eq!(admin.api.get(&path(&ada)).is(200).json()["name"], "Ada King");
        ada.api.put(ME, &json!({"name": "Ada King", "role": "admin"})).refused(400, "malformed_request");
        assert_eq!(ada.api.get(ME).json()["role"], "user");
    }
}
