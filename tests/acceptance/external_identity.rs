//! A company's own login: access tokens of an OpenID Connect provider, here a real one, in place of ours.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Client, Pair, Person, Realm, Server, World, at_once, described, eventually, promise, sample,
};

const ME: &str = "/api/v1/me";
const MODELS: &str = "/api/v1/models";
const KEYS: &str = "/api/v1/api-keys";
const USERS: &str = "/api/v1/admin/users";
const LOGOUT: &str = "/api/v1/auth/logout";

/// A server that trusts one realm, with more members of its description and more settings.
fn trusting(world: &std::sync::Arc<World>, realm: &Realm, more: &str, settings: &[(&str, &str)]) -> Server {
    let file = world.issuers(&[realm.trusted(more)]);
    world.start(&[&[("OIDC_ISSUERS_FILE", &*file)], settings].concat())
}

fn scene(pair: Pair) -> (Realm, Server) {
    let realm = Realm::new();
    let server = trusting(&World::new(pair), &realm, "", &[]);
    (realm, server)
}

fn staff() -> Value {
    json!({"roles": ["other", "staff"], "email": "ada@example.com", "email_verified": true, "name": "Ada <Lovelace>"})
}

fn roles(role: &str) -> Value {
    json!({"roles": [role]})
}

fn role_of(client: &Client) -> String {
    client.get(ME).is(200).member("role")
}

/// The events of an action in the audit trail, as what else they tell.
fn told(server: &Server, action: &str) -> Vec<Value> {
    let events = server.world.audit_events().into_iter().filter(|event| event["action"] == action);
    events.map(|event| event["detail"].clone()).collect()
}

promise! {
    fn a_companys_people_come_in_with_its_tokens(pair) {
        let (realm, server) = scene(pair);
        let login = realm.log_in("ada", staff());
        // Of many first requests at once, one makes the account.
        let ids = at_once(8, |_| server.user(&login.access).get(ME).is(200).member("id"));
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        let ada = server.user(&login.access);
        let profile = ada.get(ME).is(200).json();
        assert_eq!((&profile["email"], &profile["name"], &profile["role"]),
            (&json!("ada@example.com"), &json!("Ada Lovelace"), &json!("user")));
        assert!(profile["last_login_at"].is_string());
        ada.get(MODELS).is(200);
        ada.predict(&sample("7-1")).is(200);
        ada.get(USERS).refused(403, "insufficient_permissions");
        let later = realm.log_in_after(&login.access, "ada", staff());
        assert_eq!(server.user(&later.access).get(ME).is(200).member("id"), ids[0]);
        ada.get(ME).is(200);
        // Another subject is another person, with an address or without.
        let grace = server.user(&realm.log_in("grace", roles("guests")).access).get(ME).is(200).json();
        assert_eq!((&grace["email"], &grace["name"], &grace["role"]), (&Value::Null, &json!("Unnamed"), &json!("readonly")));
        assert_eq!(server.audited("account.created", "success"), 2);
        assert_eq!(server.audited("LOGIN_SUCCESS", "success"), 3);
        assert_eq!(told(&server, "account.created")[0], json!({"role": "user", "issuer": realm.issuer}));
        // Whoever has no role there has none here.
        for claims in [json!({}), roles("other"), json!({"roles": "other staff"}), json!({"roles": {"staff": true}})] {
            server.user(&realm.log_in("eve", claims).access).get(ME).refused(403, "forbidden");
        }
        // Our own logins are what they were.
        server.person("zoe").api.get(ME).is(200);
    }

    fn the_provider_decides_the_role_and_the_newest_token_counts(pair) {
        let (realm, server) = scene(pair);
        let boss = server.admin();
        let first = realm.log_in("ada", roles("staff"));
        let ada = server.user(&first.access);
        assert_eq!(role_of(&ada), "user");
        let key = ada.post(KEYS, &json!({"name": "a key", "scopes": ["models:read", "models:infer"]})).is(201);
        let key = server.key(&key.member("key"));
        key.predict(&sample("7-1")).is(200);
        let second = realm.log_in_after(&first.access, "ada", json!({"roles": ["staff", "bosses"]}));
        let promoted = server.user(&second.access);
        assert_eq!(role_of(&promoted), "admin", "the rule that stands first");
        promoted.get(USERS).is(200);
        // The token from before is no second way in, and least of all back.
        ada.get(ME).refused(401, "invalid_token");
        let third = realm.log_in_after(&second.access, "ada", roles("guests"));
        assert_eq!(role_of(&server.user(&third.access)), "readonly");
        for _ in 0..2 {
            promoted.get(USERS).refused(401, "invalid_token");
            assert_eq!(role_of(&server.user(&third.access)), "readonly");
        }
        key.get(MODELS).is(200);
        key.predict(&sample("7-1")).refused(403, "insufficient_permissions");
        let changes = told(&server, "account.changed");
        assert_eq!(changes.len(), 2, "{changes:?}");
        assert_eq!(changes[1], json!({"role": "readonly", "before": "admin", "issuer": realm.issuer}));
        // A newest token without a role takes what was left.
        let fourth = realm.log_in_after(&third.access, "ada", roles("other"));
        for _ in 0..2 {
            server.user(&fourth.access).get(ME).refused(403, "forbidden");
            server.user(&third.access).get(ME).refused(401, "invalid_token");
        }
        assert_eq!(server.audited("identity.refused", "failure"), 1);
        let third = eventually("a token from after", || {
            let login = realm.log_in_after(&fourth.access, "ada", roles("guests"));
            let answer = server.anon().with("Authorization", &format!("Bearer {}", login.access)).get(ME);
            (answer.status == 200).then_some(login)
        });
        // Here it is not decided, or the next token would take it back.
        let id = server.user(&third.access).get(ME).is(200).member("id");
        let change = json!({"role": "admin"});
        boss.api.put(&format!("{USERS}/{id}"), &change).refused(403, "forbidden");
        boss.api.put(&format!("{USERS}/{id}"), &json!({"role": "readonly", "name": "Ada King"})).is(200);
    }

    /// Attack case 74.
    fn the_last_administrator_stays_one_whatever_a_token_says(pair) {
        let (realm, server) = scene(pair);
        let first = realm.log_in("ada", roles("bosses"));
        let ada = server.user(&first.access);
        assert_eq!(role_of(&ada), "admin");
        let second = realm.log_in_after(&first.access, "ada", roles("guests"));
        let demoted = server.user(&second.access);
        for _ in 0..2 {
            let answer = demoted.get(ME).refused(403, "forbidden");
            assert!(answer.member("detail").contains("last one"), "{}", answer.text());
        }
        assert_eq!(role_of(&ada), "admin");
        assert_eq!(server.audited("identity.refused", "failure"), 1, "once an hour");
        server.admin();
        assert_eq!(role_of(&demoted), "readonly");
        ada.get(ME).refused(401, "invalid_token");
    }

    /// Attack case 77.
    fn whoever_is_switched_off_or_logged_out_is_out_at_once(pair) {
        let (realm, server) = scene(pair);
        let admin = server.admin();
        let first = realm.log_in("ada", roles("staff"));
        let ada = server.user(&first.access);
        let account = format!("{USERS}/{}", ada.get(ME).is(200).member("id"));
        admin.api.put(&account, &json!({"active": false})).is(200);
        ada.get(ME).refused(401, "invalid_token");
        let meanwhile = realm.log_in_after(&first.access, "ada", roles("staff"));
        server.user(&meanwhile.access).get(ME).refused(401, "invalid_token");
        admin.api.put(&account, &json!({"active": true})).is(200);
        for token in [&first.access, &meanwhile.access] {
            server.user(token).get(ME).refused(401, "invalid_token");
        }
        let second = realm.log_in_after(&meanwhile.access, "ada", roles("staff"));
        let back = eventually("a token from after", || {
            let token = realm.log_in_after(&second.access, "ada", roles("staff")).access;
            (server.anon().with("Authorization", &format!("Bearer {token}")).get(ME).status == 200).then_some(token)
        });
        admin.api.delete(&format!("{account}/sessions")).is(204);
        server.user(&back).get(ME).refused(401, "invalid_token");
        let again = eventually("a token from after", || {
            let token = realm.log_in_after(&back, "ada", roles("staff")).access;
            (server.anon().with("Authorization", &format!("Bearer {token}")).get(ME).status == 200).then_some(token)
        });
        server.user(&again).act("/api/v1/auth/logout-all").is(204);
        server.user(&again).get(ME).refused(401, "invalid_token");
    }

    fn one_token_can_be_ended_and_no_other(pair) {
        let (realm, server) = scene(pair);
        let (one, other) = (realm.log_in("ada", roles("staff")), realm.log_in("ada", roles("staff")));
        let (client, second) = (server.user(&one.access), server.user(&other.access));
        for client in [&client, &second] {
            client.get(ME).is(200);
        }
        let introspect = |token: &str| {
            second.send("POST", "/api/v1/auth/introspect", Some("application/x-www-form-urlencoded"), format!("token={token}").as_bytes())
                .is(200).json()
        };
        let status = introspect(&one.access);
        assert_eq!((&status["active"], &status["token_type"]), (&json!(true), &json!("access_token")), "{status}");
        client.act(LOGOUT).is(204);
        client.get(ME).refused(401, "invalid_token");
        assert_eq!(introspect(&one.access), json!({"active": false}));
        second.get(ME).is(200);
        // Whoever finds one can end it, too.
        let form = format!("token={}", other.access);
        server.anon().send("POST", "/api/v1/auth/revoke", Some("application/x-www-form-urlencoded"), form.as_bytes()).is(200);
        second.get(ME).refused(401, "invalid_token");
        assert_eq!(server.audited("session.ended", "success"), 2);
        // What is about our password is not for those who log in elsewhere.
        let third = server.user(&realm.log_in_after(&other.access, "ada", roles("staff")).access);
        third.post("/api/v1/auth/step-up", &json!({"password": "Wrong-horse-battery-9"})).refused(403, "forbidden");
        let change = json!({"current_password": "Wrong-horse-battery-9", "new_password": "Right-horse-battery-9"});
        third.post("/api/v1/auth/password", &change).refused(403, "forbidden");
        third.get("/api/v1/auth/sessions").is(200);
        third.get("/api/v1/me/notices").is(200);
        third.put(ME, &json!({"name": "Ada King"})).is(200);
    }

    /// Attack case 59.
    fn a_second_factor_counts_where_the_issuer_says_so_and_nowhere_else(pair) {
        let realm = Realm::new();
        let more = "second_factor_amr = [\"otp\"]\nsecond_factor_acr = [\"gold\"]";
        let server = trusting(&World::new(pair), &realm, more, &[("MFA_REQUIRED_ROLES", "admin")]);
        for (sub, how, is_in) in [
            ("ada", json!({"amr": ["pwd"]}), false),
            ("bea", json!({"amr": ["pwd", "otp"]}), true),
            ("eva", json!({"acr": "gold"}), true),
            ("ida", json!({"acr": "silver"}), false),
        ] {
            let client = server.user(&realm.log_in_with(sub, roles("bosses"), how).access);
            client.get(ME).is(200);
            if is_in {
                client.get(USERS).is(200);
                client.predict(&sample("7-1")).is(200);
            } else {
                client.get(USERS).refused(403, "mfa_required_at_provider");
                client.predict(&sample("7-1")).refused(403, "mfa_required_at_provider");
                assert_eq!(client.get("/v2/models/digits").status, 403);
                let wish = json!({"name": "a key", "scopes": ["models:read"]});
                client.post(KEYS, &wish).refused(403, "mfa_required_at_provider");
            }
        }
        // A role that needs none is no matter of it.
        server.user(&realm.log_in("uwe", roles("staff")).access).get(MODELS).is(200);
    }

    fn sensitive_acts_need_a_login_not_long_ago(pair) {
        let (realm, server) = scene(pair);
        let now = server.now().as_secs();
        let wish = json!({"name": "a key", "scopes": ["models:read"]});
        let long_ago = realm.log_in_with("ada", roles("staff"), json!({"at": now - 3600}));
        let answer = server.user(&long_ago.access).post(KEYS, &wish).refused(401, "step_up_required");
        let challenge = answer.header("www-authenticate").expect("a challenge");
        assert!(challenge.contains("error=\"insufficient_user_authentication\", max_age=900"), "{challenge}");
        let fresh = realm.log_in_with("ada", roles("staff"), json!({"at": now - 60}));
        server.user(&fresh.access).post(KEYS, &wish).is(201);
        server.advance(Duration::from_secs(900));
        server.user(&fresh.access).post(KEYS, &wish).refused(401, "step_up_required");
        server.user(&fresh.access).get(MODELS).is(200);
    }

    fn a_token_can_be_held_to_its_scopes(pair) {
        let realm = Realm::new();
        let server = trusting(&World::new(pair), &realm, "scopes_limit = true\nrequired_scopes = [\"gate\"]", &[]);
        let with = |scope: &str| {
            server.user(&realm.log_in_with("ada", roles("staff"), json!({"scope": format!("openid {scope}")})).access)
        };
        let reader = with("gate models:read");
        reader.get(MODELS).is(200);
        reader.predict(&sample("7-1")).refused(403, "insufficient_permissions");
        let key = json!({"name": "a key", "scopes": ["models:infer"]});
        reader.post(KEYS, &key).invalid(&["scopes"]);
        with("gate models:read models:infer").predict(&sample("7-1")).is(200);
        with("models:read models:infer").get(ME).refused(401, "invalid_token");
    }

    fn who_somebody_is_elsewhere_is_theirs_to_see_and_goes_with_them(pair) {
        let (realm, server) = scene(pair);
        let subject = "ada-at-the-provider-0123456789";
        let first = realm.log_in(subject, staff());
        let ada = server.user(&first.access);
        let id = ada.get(ME).is(200).member("id");
        let export = ada.get("/api/v1/me/export").is(200).json();
        let identity = &export["identities"][0];
        assert_eq!((&identity["issuer"], &identity["subject"]), (&json!(realm.issuer), &json!(subject)));
        assert_eq!(ada.get("/api/v1/me/identities").is(200).items().len(), 1);
        assert!(!server.world.has_stored(subject) && !server.world.has_stored("ada@example.com"), "both are sealed");
        assert!(!server.world.sql("SELECT lookup FROM external_identities").contains(subject));
        ada.delete(ME).is(204);
        assert_eq!(server.world.sql("SELECT COUNT(*) FROM external_identities").trim(), "0");
        // The token outlives the account, and makes no other one.
        for _ in 0..2 {
            ada.get(ME).refused(401, "invalid_token");
        }
        assert_eq!(server.audited("account.created", "success"), 1);
        let back = eventually("a token from after", || {
            let token = realm.log_in_after(&first.access, subject, staff()).access;
            let answer = server.anon().with("Authorization", &format!("Bearer {token}")).get(ME);
            (answer.status == 200).then(|| answer.member("id"))
        });
        assert_ne!(back, id, "whoever comes again is somebody new");
    }

    fn without_provision_only_those_come_in_who_were_linked(pair) {
        let (realm, other) = (Realm::new(), Realm::new());
        let world = World::new(pair);
        let tables = [&realm, &other].map(|realm| described(&realm.issuer, "default_role = \"user\""));
        let file = world.issuers(&tables);
        let server = world.start(&[("OIDC_ISSUERS_FILE", &file)]);
        let (admin, ada) = (server.admin(), server.person("ada"));
        let token = realm.log_in("ada", staff()).access;
        let stranger = server.user(&token);
        for _ in 0..3 {
            stranger.get(ME).refused(403, "forbidden");
        }
        assert_eq!(server.audited("identity.refused", "failure"), 1, "once an hour");
        let path = format!("{USERS}/{}/identities", ada.id);
        let link = |client: &Client, issuer: &str, subject: &str| {
            client.post(&path, &json!({"issuer": issuer, "subject": subject}))
        };
        link(&ada.api, &realm.issuer, "ada").refused(403, "insufficient_permissions");
        link(&admin.api, "https://elsewhere.example.com", "ada").invalid(&["issuer"]);
        link(&admin.api, &realm.issuer, "").invalid(&["subject"]);
        let linked = link(&admin.api, &realm.issuer, "ada").is(201).json();
        link(&admin.api, &realm.issuer, "ada").refused(409, "identity_taken");
        assert_eq!(stranger.get(ME).is(200).member("id"), ada.id);
        assert_eq!(role_of(&stranger), "user", "an issuer that gives no roles changes none");
        // Neither the same name at another issuer nor the same address is the same person.
        server.user(&other.log_in("ada", staff()).access).get(ME).refused(403, "forbidden");
        let notices = ada.api.get("/api/v1/me/notices").is(200).items();
        assert_eq!(notices[0]["kind"], "identity_linked");
        assert_eq!(admin.api.get(&path).is(200).items()[0]["subject"], "ada");
        // Whose role is not the issuer's to give can be given one here.
        admin.api.put(&format!("{USERS}/{}", ada.id), &json!({"role": "readonly"})).is(200);
        assert_eq!(role_of(&stranger), "readonly");
        let identity = format!("{path}/{}", linked["id"].as_str().expect("an id"));
        admin.api.delete(&identity).is(204);
        admin.api.delete(&identity).refused(404, "not_found");
        stranger.get(ME).is(401);
        ada.api.get(ME).is(200);
    }

    fn a_known_token_costs_no_statement(pair) {
        let (realm, server) = scene(pair);
        let ada = server.user(&realm.log_in("ada", roles("staff")).access);
        ada.get(MODELS).is(200);
        let before = (server.metric("storage_queries_total"), server.metric("ephemeral_round_trips_total"), realm.asked());
        for _ in 0..100 {
            ada.predict(&sample("1-1")).is(200);
        }
        assert_eq!(server.metric("storage_queries_total") - before.0, 0.0);
        let trips = server.metric("ephemeral_round_trips_total") - before.1;
        assert!(trips <= 120.0, "{trips}");
        assert!(realm.asked() <= before.2 + 2, "the provider is not asked about tokens");
    }
}

#[test]
fn what_one_replica_ends_or_changes_holds_on_the_other() {
    let (world, realm) = (World::new(Pair::Shared), Realm::new());
    let (first, second) = (trusting(&world, &realm, "", &[]), trusting(&world, &realm, "", &[]));
    let admin: Person = first.admin();
    let token = realm.log_in("ada", roles("bosses")).access;
    let ids = at_once(8, |number| [&first, &second][number % 2].user(&token).get(ME).is(200).member("id"));
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let (here, there) = (first.user(&token), second.user(&token));
    there.get(USERS).is(200);
    let demoted = realm.log_in_after(&token, "ada", roles("guests")).access;
    assert_eq!(role_of(&first.user(&demoted)), "readonly");
    there.get(USERS).refused(401, "invalid_token");
    let (here_too, there_too) = (first.user(&demoted), second.user(&demoted));
    assert_eq!(role_of(&there_too), "readonly");
    here_too.act(LOGOUT).is(204);
    there_too.get(ME).refused(401, "invalid_token");
    here.get(ME).refused(401, "invalid_token");
    let last = realm.log_in_after(&demoted, "ada", roles("guests")).access;
    second.user(&last).get(ME).is(200);
    admin.api.put(&format!("{USERS}/{}", ids[0]), &json!({"active": false})).is(200);
    second.user(&last).get(ME).refused(401, "invalid_token");
}

#[test]
fn a_file_of_issuers_that_is_wrong_stops_the_start_and_says_where() {
    let world = World::new(Pair::Embedded);
    let good = described("https://id.example.com", "default_role = \"user\"");
    for (tables, part) in [
        (vec![format!("{good}\nsecret = \"x\"")], "unknown field `secret`"),
        (vec![good.replace("https", "http")], "https://"),
        (vec![good.replace("default_role = \"user\"", "")], "default_role"),
        (vec![format!("{good}\nalgorithms = [\"HS256\"]")], "HS256"),
        (vec![good.clone(), good.clone()], "described twice"),
        (vec!["[[issuer]".into()], "line 1"),
        (vec![described("modelgate", "default_role = \"user\"")], "https://"),
    ] {
        let file = world.issuers(&tables);
        for command in ["serve", "check"] {
            let refused = world.run(&[command], &[("OIDC_ISSUERS_FILE", &file)], "");
            let said = format!("{}{}", refused.stdout, refused.stderr);
            assert_eq!(refused.code, Some(1), "{tables:?}: {said}");
            assert!(said.contains("OIDC_ISSUERS_FILE") && said.contains(part), "{part}: {said}");
        }
    }
    let refused = world.run(&["check"], &[("OIDC_ISSUERS_FILE", "/nowhere/issuers.toml")], "");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    // To this machine plain HTTP will do, in development.
    let file = world.issuers(&[described("http://127.0.0.1:1", "default_role = \"user\"")]);
    let good = world.run(&["check"], &[("OIDC_ISSUERS_FILE", &file)], "");
    assert_eq!(good.code, Some(0), "{good:?}");
}
