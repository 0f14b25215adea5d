//! Service accounts: programs with keys of their own, which outlive their makers and are no way up.

use serde_json::{Value, json};

use crate::harness::{Pair, Person, Server, World, eventually, promise, sample};

const ACCOUNTS: &str = "/api/v1/admin/service-accounts";
const USERS: &str = "/api/v1/admin/users";
const ROLES: &str = "/api/v1/admin/roles";
const GRANTS: &str = "/api/v1/admin/models/digits/grants";
const ME: &str = "/api/v1/me";
const MODELS: &str = "/api/v1/models";

/// Makes one; gives its path.
#[track_caller]
fn make(admin: &Person, name: &str, role: &str) -> String {
    let made = admin.api.post(ACCOUNTS, &json!({"name": name, "role": role})).is(201);
    format!("{ACCOUNTS}/{}", made.member("id"))
}

/// Makes a key of one; gives its path and its text.
#[track_caller]
fn make_key(admin: &Person, account: &str, scopes: &[&str]) -> (String, String) {
    let body = json!({"name": "a key", "scopes": scopes});
    let made = admin.api.post(&format!("{account}/api-keys"), &body).is(201);
    (format!("{account}/api-keys/{}", made.member("id")), made.member("key"))
}

fn id_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// One who may manage accounts and keys, and little else.
fn deputy(server: &Server, admin: &Person) -> Person {
    let permissions = ["models:read", "users:read", "users:manage", "keys:read", "keys:manage"];
    admin.api.post(ROLES, &json!({"name": "deputy", "permissions": permissions})).is(201);
    server.person_with_role(admin, "deputy", "deputy")
}

promise! {
    fn a_service_account_works_by_its_keys_and_says_who_it_is(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let account = make(&admin, " nightly batch ", "user");
        let (_, text) = make_key(&admin, &account, &["models:read", "models:infer"]);
        let key = server.key(&text);
        key.predict(&sample("1-1")).is(200);
        let me = key.get(ME).is(200).json();
        assert_eq!((&me["id"], &me["email"], &me["last_login_at"]), (&json!(id_of(&account)), &Value::Null, &Value::Null));
        assert_eq!((&me["name"], &me["role"], &me["active"]), (&json!("nightly batch"), &json!("user"), &json!(true)));
        eventually("its usage is told", || {
            let usage = key.get("/api/v1/me/usage").is(200).items();
            (usage.first()?["requests"] == 1).then_some(())
        });
        assert_eq!(admin.api.get(&account).is(200).json(), admin.api.get(ACCOUNTS).is(200).items()[0]);
        // It is no person: no login, no profile to change, not in the list of people.
        server.try_log_in(id_of(&account), "Correct-horse-battery-9").is(401);
        server.try_log_in("nightly batch", "").is(401);
        key.put(ME, &json!({"name": "Somebody Else"})).refused(403, "forbidden");
        key.get("/api/v1/api-keys").refused(403, "forbidden");
        assert_eq!(admin.api.get(USERS).items().len(), 1);
        for (method, path) in [("GET", ""), ("DELETE", ""), ("POST", "/unlock")] {
            let path = format!("{USERS}/{}{path}", id_of(&account));
            admin.api.send(method, &path, None, b"").refused(404, "not_found");
        }
        admin.api.put(&format!("{USERS}/{}", id_of(&account)), &json!({"role": "admin"})).refused(404, "not_found");
        admin.api.get(&format!("{ACCOUNTS}/{}", admin.id)).refused(404, "not_found");
        admin.api.delete(&format!("{ACCOUNTS}/{}", admin.id)).refused(404, "not_found");
        let body = json!({"name": "a key", "scopes": ["models:read"]});
        admin.api.post(&format!("{ACCOUNTS}/{}/api-keys", admin.id), &body).refused(404, "not_found");
        key.get(ME).is(200);
    }

    fn its_keys_end_with_it_and_while_it_is_off(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let account = make(&admin, "ci", "user");
        let (path, text) = make_key(&admin, &account, &["models:read"]);
        let (_, other) = make_key(&admin, &account, &["models:read"]);
        let (key, other) = (server.key(&text), server.key(&other));
        for client in [&key, &other] {
            client.get(MODELS).is(200);
        }
        admin.api.put(&account, &json!({"active": false})).is(200);
        for client in [&key, &other] {
            client.get(MODELS).refused(401, "invalid_token");
        }
        admin.api.put(&account, &json!({"active": true, "name": "build"})).is(200);
        key.get(MODELS).is(200);
        admin.api.delete(&path).is(204);
        key.get(MODELS).refused(401, "invalid_token");
        other.get(MODELS).is(200);
        admin.api.delete(&account).is(204);
        other.get(MODELS).refused(401, "invalid_token");
        admin.api.get(&account).refused(404, "not_found");
        admin.api.delete(&account).refused(404, "not_found");
    }

    fn it_outlives_its_maker_and_keeps_what_it_may(pair) {
        let server = Server::start(pair, &[]);
        let (admin, maker) = (server.admin(), server.admin_called("maker"));
        let account = make(&maker, "ci", "user");
        let (path, text) = make_key(&maker, &account, &["models:read", "models:infer"]);
        let key = server.key(&text);
        admin.api.put(&format!("{USERS}/{}", maker.id), &json!({"role": "readonly"})).is(200);
        key.predict(&sample("1-1")).is(200);
        admin.api.delete(&format!("{USERS}/{}", maker.id)).is(204);
        key.predict(&sample("1-1")).is(200);
        // A role holds at once, and a key never has more than its account.
        admin.api.put(&account, &json!({"role": "readonly"})).is(200);
        key.predict(&sample("1-1")).refused(403, "insufficient_permissions");
        key.get(MODELS).is(200);
        admin.api.put(&account, &json!({"role": "user"})).is(200);
        key.predict(&sample("1-1")).is(200);
        let rotated = admin.api.act(&format!("{path}/rotate?overlap_seconds=0")).is(200).member("key");
        key.get(MODELS).refused(401, "invalid_token");
        server.key(&rotated).predict(&sample("1-1")).is(200);
        admin.api.put(&path, &json!({"scopes": ["models:read"], "limits": {"requests_per_minute": 50}})).is(200);
        server.key(&rotated).predict(&sample("1-1")).refused(403, "insufficient_permissions");
        assert_eq!(admin.api.get(&format!("{account}/api-keys")).is(200).items().len(), 1);
    }

    fn nobody_makes_one_that_may_more_than_they_may(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let deputy = deputy(&server, &admin);
        let post = |role: &str| deputy.api.post(ACCOUNTS, &json!({"name": "ci", "role": role}));
        post("admin").refused(403, "forbidden");
        post("user").refused(403, "forbidden");
        post("wizard").invalid(&["role"]);
        let own = make(&deputy, "reader", "readonly");
        deputy.api.put(&own, &json!({"role": "user"})).refused(403, "forbidden");
        let keys = format!("{own}/api-keys");
        for scopes in [["models:infer"], ["keys:manage"], ["users:manage"]] {
            deputy.api.post(&keys, &json!({"name": "a key", "scopes": scopes})).invalid(&["scopes"]);
        }
        // One that may more is not theirs to touch, nor is it to act through.
        let strong = make(&admin, "strong", "admin");
        let (path, text) = make_key(&admin, &strong, &["models:read"]);
        for change in [json!({"active": false}), json!({"role": "readonly"}), json!({"name": "mine"})] {
            deputy.api.put(&strong, &change).refused(403, "forbidden");
        }
        deputy.api.delete(&strong).refused(403, "forbidden");
        let body = json!({"name": "a key", "scopes": ["models:read"]});
        deputy.api.post(&format!("{strong}/api-keys"), &body).refused(403, "forbidden");
        deputy.api.put(&path, &json!({"scopes": ["users:manage"]})).refused(403, "forbidden");
        deputy.api.act(&format!("{path}/rotate")).refused(403, "forbidden");
        deputy.api.delete(&path).refused(403, "forbidden");
        server.key(&text).get(MODELS).is(200);
        assert_eq!(admin.api.get(&format!("{strong}/api-keys")).items().len(), 1);
        // Nor is another account's key reached through one's own.
        let astray = format!("{own}/api-keys/{}", id_of(&path));
        admin.api.delete(&astray).refused(404, "not_found");
        admin.api.act(&format!("{astray}/rotate")).refused(404, "not_found");
        // A program with users:manage makes accounts within its own rights, and no key at all.
        let (_, text) = make_key(&admin, &strong, &["users:manage", "keys:manage", "models:read"]);
        let program = server.key(&text);
        program.post(ACCOUNTS, &json!({"name": "child", "role": "admin"})).refused(403, "forbidden");
        let child = program.post(ACCOUNTS, &json!({"name": "child", "role": "readonly"})).is(201).member("id");
        let keys = format!("{ACCOUNTS}/{child}/api-keys");
        program.post(&keys, &json!({"name": "a key", "scopes": ["models:read"]})).refused(403, "forbidden");
        assert!(admin.api.get(&keys).is(200).items().is_empty());
    }

    fn it_is_no_last_administrator(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let account = make(&admin, "terraform", "admin");
        let (_, text) = make_key(&admin, &account, &["users:manage"]);
        let own = format!("{USERS}/{}", admin.id);
        admin.api.delete(&own).refused(409, "last_administrator");
        admin.api.put(&own, &json!({"active": false})).refused(409, "last_administrator");
        // The program lacks the other rights of an administrator through this key.
        server.key(&text).delete(&own).refused(403, "forbidden");
        admin.api.get(USERS).is(200);
        admin.api.delete(&account).is(204);
    }

    fn models_are_granted_to_it(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let account = make(&admin, "ci", "user");
        let (_, text) = make_key(&admin, &account, &["models:read", "models:infer"]);
        let key = server.key(&text);
        admin.api.put("/api/v1/admin/models/digits/access", &json!({"access": "granted"})).is(204);
        key.predict(&sample("1-1")).refused(404, "model_not_found");
        admin.api.put(GRANTS, &json!({"account": id_of(&account)})).is(204);
        key.predict(&sample("1-1")).is(200);
        admin.api.delete(&account).is(204);
        let policy = admin.api.get("/api/v1/admin/models/digits/access").is(200).json();
        assert_eq!(policy["grants"], json!([]));
    }

    fn what_it_is_called_is_checked(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        for name in ["", "  ", "two\nlines", &"x".repeat(101)] {
            admin.api.post(ACCOUNTS, &json!({"name": name, "role": "user"})).invalid(&["name"]);
        }
        admin.api.post(ACCOUNTS, &json!({"name": "ci"})).refused(400, "malformed_request");
        for extra in ["email", "password", "id", "active"] {
            let mut body = json!({"name": "ci", "role": "user"});
            body[extra] = json!("x");
            admin.api.post(ACCOUNTS, &body).refused(400, "malformed_request");
        }
        assert!(admin.api.get(ACCOUNTS).is(200).items().is_empty());
    }
}

#[test]
fn what_one_replica_switches_off_the_other_refuses() {
    let world = World::new(Pair::Shared);
    let (first, second) = (world.start(&[]), world.start(&[]));
    let admin = first.admin();
    let account = make(&admin, "ci", "user");
    let (_, text) = make_key(&admin, &account, &["models:read"]);
    let there = second.key(&text);
    for _ in 0..3 {
        there.get(MODELS).is(200);
        admin.api.put(&account, &json!({"active": false})).is(200);
        there.get(MODELS).refused(401, "invalid_token");
        admin.api.put(&account, &json!({"active": true})).is(200);
    }
    there.get(MODELS).is(200);
    admin.api.delete(&account).is(204);
    there.get(MODELS).refused(401, "invalid_token");
}
