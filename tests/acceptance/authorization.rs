//! Roles of one's own, and models that are not everyone's: both hold from the next request, and neither is a way up.

use serde_json::{Value, json};

use crate::harness::{Pair, Person, Repository, Server, World, configure, promise, sample};

const ROLES: &str = "/api/v1/admin/roles";
const USERS: &str = "/api/v1/admin/users";
const ACCESS: &str = "/api/v1/admin/models/digits/access";
const GRANTS: &str = "/api/v1/admin/models/digits/grants";
const MODEL: &str = "/api/v1/models/digits";

#[track_caller]
fn make_role(admin: &Person, name: &str, permissions: &[&str]) {
    admin.api.post(ROLES, &json!({"name": name, "permissions": permissions})).is(201);
}

fn user(person: &Person) -> String {
    format!("{USERS}/{}", person.id)
}

fn names(models: &Value) -> Vec<&str> {
    models["items"].as_array().expect("a list").iter().filter_map(|model| model["name"].as_str()).collect()
}

promise! {
    fn a_role_of_ones_own_gives_what_it_says_and_changes_at_once(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        make_role(&admin, "auditor", &["users:read"]);
        let ada = server.person_with_role(&admin, "ada", "auditor");
        ada.api.get(USERS).is(200);
        ada.api.get(MODEL).refused(403, "insufficient_permissions");
        admin.api.put(&format!("{ROLES}/auditor"), &json!({"permissions": ["models:read"]})).is(200);
        ada.api.get(USERS).refused(403, "insufficient_permissions");
        ada.api.get(MODEL).is(200);
        admin.api.delete(&format!("{ROLES}/auditor")).refused(409, "role_in_use");
        admin.api.put(&user(&ada), &json!({"role": "user"})).is(200);
        admin.api.delete(&format!("{ROLES}/auditor")).is(204);
        admin.api.put(&user(&ada), &json!({"role": "auditor"})).invalid(&["role"]);
    }

    fn roles_that_cannot_be_are_refused(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        make_role(&admin, "auditor", &["users:read"]);
        let post = |name: &str, permissions: &[&str]| admin.api.post(ROLES, &json!({"name": name, "permissions": permissions}));
        post("auditor", &[]).refused(409, "role_taken");
        post("admin", &[]).refused(409, "role_taken");
        post("x", &["models:everything"]).invalid(&["permissions"]);
        for name in ["", "Auditor", "9x", "a b", "a\u{e9}", &"a".repeat(65)] {
            post(name, &[]).invalid(&["name"]);
        }
        for built_in in ["admin", "user"] {
            admin.api.put(&format!("{ROLES}/{built_in}"), &json!({"permissions": []})).refused(403, "forbidden");
            admin.api.delete(&format!("{ROLES}/{built_in}")).refused(403, "forbidden");
        }
        admin.api.delete(&format!("{ROLES}/nobody")).refused(404, "not_found");
        admin.api.delete(&format!("{ROLES}/a%00b")).refused(404, "not_found");
        let listed = admin.api.get(ROLES).is(200).items();
        assert_eq!(listed.len(), 5, "{listed:?}");
    }

    fn managing_users_or_roles_is_no_way_to_more(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        make_role(&admin, "helpdesk", &["users:read", "users:manage", "roles:manage", "models:read"]);
        make_role(&admin, "reader", &["models:read"]);
        let helper = server.person_with_role(&admin, "helper", "helpdesk");
        let (ada, reader) = (server.person("ada"), server.person_with_role(&admin, "reader", "reader"));
        for role in ["admin", "moderator", "user"] {
            helper.api.put(&user(&helper), &json!({"role": role})).refused(403, "forbidden");
            helper.api.put(&user(&reader), &json!({"role": role})).refused(403, "forbidden");
        }
        helper.api.put(&user(&admin), &json!({"active": false})).refused(403, "forbidden");
        helper.api.delete(&user(&ada)).refused(403, "forbidden");
        helper.api.delete(&format!("{}/sessions", user(&admin))).refused(403, "forbidden");
        helper.api.post(ROLES, &json!({"name": "root", "permissions": ["system:manage"]})).invalid(&["permissions"]);
        helper.api.put(&format!("{ROLES}/helpdesk"), &json!({"permissions": ["system:manage"]})).invalid(&["permissions"]);
        make_role(&admin, "vault", &["system:manage"]);
        helper.api.put(&format!("{ROLES}/vault"), &json!({"permissions": []})).invalid(&["permissions"]);
        helper.api.delete(&format!("{ROLES}/vault")).invalid(&["permissions"]);
        helper.api.put(&user(&reader), &json!({"active": false})).is(200);
        reader.api.get("/api/v1/me").refused(401, "invalid_token");
        admin.api.get("/api/v1/me").is(200);
    }

    fn a_model_that_is_not_everyones_does_not_exist_for_the_others(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let (ada, grace) = (server.person("ada"), server.person("grace"));
        let key = server.key(&ada.make_key(&["models:read", "models:infer"]));
        ada.api.get(MODEL).is(200);
        admin.api.put(ACCESS, &json!({"access": "granted"})).is(204);
        for caller in [&ada.api, &key] {
            caller.get(MODEL).refused(404, "model_not_found");
            caller.predict(&sample("3-1")).refused(404, "model_not_found");
            caller.get("/v2/models/digits").is(404);
            assert_eq!(names(&caller.get("/api/v1/models").is(200).json()), Vec::<&str>::new());
        }
        admin.api.predict(&sample("3-1")).is(200);
        admin.api.put(GRANTS, &json!({"account": ada.id})).is(204);
        admin.api.put(GRANTS, &json!({"account": ada.id})).is(204);
        ada.api.predict(&sample("3-1")).is(200);
        key.predict(&sample("3-1")).is(200);
        grace.api.get(MODEL).refused(404, "model_not_found");
        admin.api.put(GRANTS, &json!({"role": "user"})).is(204);
        grace.api.get(MODEL).is(200);
        let policy = admin.api.get(ACCESS).is(200).json();
        let grants = json!([{"account": ada.id}, {"role": "user"}]);
        assert_eq!(policy, json!({"access": "granted", "overridden": true, "grants": grants}));
        admin.api.delete(&format!("{GRANTS}/roles/user")).is(204);
        grace.api.get(MODEL).refused(404, "model_not_found");
        ada.api.get(MODEL).is(200);
        admin.api.delete(&format!("{GRANTS}/accounts/{}", ada.id)).is(204);
        admin.api.delete(&format!("{GRANTS}/accounts/{}", ada.id)).refused(404, "not_found");
        ada.api.get(MODEL).refused(404, "model_not_found");
        admin.api.put(ACCESS, &json!({"access": "everyone"})).is(204);
        ada.api.get(MODEL).is(200);
    }

    fn a_key_narrows_what_its_owner_was_granted(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let ada = server.person("ada");
        admin.api.put(ACCESS, &json!({"access": "granted"})).is(204);
        admin.api.put(GRANTS, &json!({"account": ada.id})).is(204);
        let (_, other) = ada.make_key_with(json!({"name": "k", "scopes": ["models:read"], "models": ["another"]}));
        server.key(&other).get(MODEL).refused(404, "model_not_found");
    }

    fn a_grant_says_nothing_about_everyone_else(pair) {
        let repository = Repository::new(pair);
        let folder = repository.add("digits");
        let server = repository.start(&[]).0;
        let (admin, ada, grace) = (server.admin(), server.person("ida"), server.person("grace"));
        admin.api.put(GRANTS, &json!({"account": ada.id})).is(204);
        let policy = |access: &str, overridden: bool| {
            json!({"access": access, "overridden": overridden, "grants": [{"account": ada.id}]})
        };
        assert_eq!(admin.api.get(ACCESS).is(200).json(), policy("everyone", false));
        configure(&folder, "access = \"granted\"");
        admin.api.act("/api/v1/admin/models/digits/load").is(204);
        assert_eq!(admin.api.get(ACCESS).is(200).json(), policy("granted", false));
        grace.api.get(MODEL).refused(404, "model_not_found");
        ada.api.get(MODEL).is(200);
        admin.api.put(ACCESS, &json!({"access": "everyone"})).is(204);
        assert_eq!(admin.api.get(ACCESS).is(200).json(), policy("everyone", true));
        grace.api.get(MODEL).is(200);
        admin.api.put(ACCESS, &json!({"access": null})).is(204);
        assert_eq!(admin.api.get(ACCESS).is(200).json(), policy("granted", false));
        grace.api.get(MODEL).refused(404, "model_not_found");
        admin.api.put(ACCESS, &json!({})).refused(400, "malformed_request");
    }

    fn access_is_set_before_a_model_is_loaded_and_taken_back_after_it_is_gone(pair) {
        let repository = Repository::new(pair);
        let (server, ada) = repository.start(&[]);
        let person = server.admin();
        let admin = &person.api;
        admin.put(ACCESS, &json!({"access": "granted"})).refused(404, "model_not_found");
        let folder = repository.add("digits");
        admin.put(ACCESS, &json!({"access": "granted"})).is(204);
        admin.act("/api/v1/admin/models/digits/load").is(204);
        ada.get(MODEL).refused(404, "model_not_found");
        drop(server);
        std::fs::remove_dir_all(folder).expect("a folder");
        let server = repository.world.start(&[("MODEL_DIR", &repository.folder.display().to_string())]);
        let admin = server.log_in(&person.email, &person.password).api;
        assert_eq!(admin.get(ACCESS).is(200).member("access"), "granted");
        admin.put(ACCESS, &json!({"access": null})).is(204);
        assert_eq!(admin.get(ACCESS).is(200).json()["overridden"], false);
    }

    fn grants_that_cannot_be_are_refused(pair) {
        let server = Server::start(pair, &[]);
        let (admin, ada) = (server.admin(), server.person("ada"));
        admin.api.put(GRANTS, &json!({})).invalid(&["account"]);
        admin.api.put(GRANTS, &json!({"account": ada.id, "role": "user"})).invalid(&["account"]);
        admin.api.put(GRANTS, &json!({"role": "nobody"})).invalid(&["subject"]);
        admin.api.put(GRANTS, &json!({"account": "01890000-0000-7000-8000-000000000000"})).invalid(&["subject"]);
        admin.api.put(&GRANTS.replace("digits", "nothing"), &json!({"role": "user"})).refused(404, "model_not_found");
        ada.api.put(GRANTS, &json!({"account": ada.id})).refused(403, "insufficient_permissions");
    }
}

#[test]
fn what_is_granted_on_one_replica_holds_on_the_other_at_the_next_request() {
    let world = World::new(Pair::Shared);
    let (one, other) = (world.start(&[]), world.start(&[]));
    let admin = one.admin();
    let ada = one.person("ada");
    let elsewhere = other.user(&ada.tokens.access);
    elsewhere.get(MODEL).is(200);
    admin.api.put(ACCESS, &json!({"access": "granted"})).is(204);
    elsewhere.get(MODEL).refused(404, "model_not_found");
    admin.api.put(GRANTS, &json!({"account": ada.id})).is(204);
    elsewhere.get(MODEL).is(200);
}
