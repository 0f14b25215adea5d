//! What a token of another issuer leads to here, and what no longer: keys, one's own account, roles that were taken away.

use serde_json::{Value, json};

use crate::harness::{Pair, Realm, Server, World, described, eventually, promise};
use crate::tokens::ME;

const KEYS: &str = "/api/v1/api-keys";
const MODELS: &str = "/api/v1/models";
const USERS: &str = "/api/v1/admin/users";
const INCIDENTS: &str = "/api/v1/admin/incidents";
const MAINTENANCE: &str = "/api/v1/admin/maintenance";

/// A realm and a server that trusts it, with more members of its description.
fn scene(pair: Pair, more: &str) -> (Realm, Server) {
    let (realm, world) = (Realm::new(), World::new(pair));
    let file = world.issuers(&[realm.trusted(more)]);
    let server = world.start(&[("OIDC_ISSUERS_FILE", &file)]);
    (realm, server)
}

fn roles(role: &str) -> Value {
    json!({"roles": [role]})
}

#[track_caller]
fn is_over(server: &Server, token: &str) {
    server.user(token).get(ME).refused(401, "invalid_token");
}

/// The next token that is let in: what ends tokens "until now" ends those of that second, too.
#[track_caller]
fn let_in_after(realm: &Realm, server: &Server, before: &str, sub: &str, role: &str) -> String {
    eventually("a token from after", || {
        let token = realm.log_in_after(before, sub, roles(role)).access;
        let answer = server.anon().with("Authorization", &format!("Bearer {token}")).get(ME);
        (answer.status == 200).then_some(token)
    })
}

/// A token that was issued in a later second than this one begins in.
#[track_caller]
fn from_now_on(realm: &Realm, before: &str, sub: &str, role: &str) -> String {
    let now = realm.log_in_after(before, sub, roles(role)).access;
    realm.log_in_after(&now, sub, roles(role)).access
}

promise! {
    fn a_token_held_to_its_scopes_gets_no_wider_key_and_is_not_the_whole_person(pair) {
        let (realm, server) = scene(pair, "scopes_limit = true");
        let with = |scope: &str| server.user(&realm.log_in_with("tim", roles("staff"), json!({"scope": scope})).access);
        let whole = with("openid models:read models:infer files:write");
        let made = whole.post(KEYS, &json!({"name": "wide", "scopes": ["models:read", "models:infer"]})).is(201);
        let (path, key) = (format!("{KEYS}/{}", made.member("id")), server.key(&made.member("key")));
        let reader = with("openid models:read");
        reader.get(MODELS).is(200);
        reader.act(&format!("{path}/rotate")).refused(403, "insufficient_permissions");
        for change in [json!({"name": "mine"}), json!({"allowed_ips": null}), json!({"limits": null})] {
            reader.put(&path, &change).refused(403, "insufficient_permissions");
        }
        reader.put(&path, &json!({"scopes": ["models:infer"]})).invalid(&["scopes"]);
        key.get(MODELS).is(200);
        reader.delete(ME).refused(403, "forbidden");
        reader.put(ME, &json!({"name": "Somebody"})).refused(403, "forbidden");
        reader.get("/api/v1/me/export").refused(403, "forbidden");
        reader.act("/api/v1/me/mfa/totp").refused(403, "forbidden");
        // To look, to narrow and to end is nobody's way up.
        reader.get(ME).is(200);
        reader.put(&path, &json!({"scopes": ["models:read"]})).is(200);
        reader.act(&format!("{path}/rotate")).is(200);
        let made = whole.post(KEYS, &json!({"name": "wide", "scopes": ["models:infer"]})).is(201);
        reader.delete(&format!("{KEYS}/{}", made.member("id"))).is(204);
        // A token with all scopes of the role is the person's.
        whole.act(&format!("{path}/rotate")).is(200);
        whole.put(ME, &json!({"name": "Tim"})).is(200);
        whole.get("/api/v1/me/export").is(200);
        whole.act("/api/v1/me/mfa/totp").is(200);
        whole.delete(ME).is(204);
    }

    fn whoever_loses_every_role_there_is_off_here_until_they_have_one_again(pair) {
        let (realm, server) = scene(pair, "");
        let (admin, cy) = (server.admin(), server.person("cy"));
        let account = format!("{USERS}/{}", cy.id);
        admin.api.post(&format!("{account}/identities"), &json!({"issuer": realm.issuer, "subject": "cy"})).is(201);
        let first = realm.log_in("cy", roles("bosses")).access;
        server.user(&first).get(USERS).is(200);
        let key = server.key(&cy.make_key(&["users:read"]));
        key.get(USERS).is(200);
        let second = realm.log_in_after(&first, "cy", roles("other")).access;
        for _ in 0..2 {
            server.user(&second).get(ME).refused(403, "forbidden");
        }
        for gone in [&cy.api, &server.user(&first), &key] {
            gone.get(ME).refused(401, "invalid_token");
        }
        server.try_log_in(&cy.email, &cy.password).refused(401, "invalid_credentials");
        assert_eq!(admin.api.get(&account).is(200).json()["active"], json!(false));
        let mut events = server.world.audit_events().into_iter();
        let last = events.rfind(|event| event["action"] == "account.changed").expect("an event");
        assert_eq!(last["detail"], json!({"active": false, "reason": "role_lost", "issuer": realm.issuer}));
        // The next one without a role changes nothing; one with a role brings the account back, and with that role.
        let third = from_now_on(&realm, &second, "cy", "other");
        server.user(&third).get(ME).refused(403, "forbidden");
        let fourth = let_in_after(&realm, &server, &third, "cy", "staff");
        is_over(&server, &first);
        key.get(ME).is(200);
        key.get(USERS).refused(403, "insufficient_permissions");
        server.log_in(&cy.email, &cy.password);
        // What an administrator says of it no token takes back.
        let fifth = realm.log_in_after(&fourth, "cy", roles("other")).access;
        server.user(&fifth).get(ME).refused(403, "forbidden");
        admin.api.put(&account, &json!({"active": false})).is(200);
        let sixth = from_now_on(&realm, &fifth, "cy", "staff");
        is_over(&server, &sixth);
        key.get(ME).refused(401, "invalid_token");
        admin.api.put(&account, &json!({"active": true})).is(200);
        key.get(ME).is(200);
        let_in_after(&realm, &server, &sixth, "cy", "staff");
    }

    fn what_an_incident_wants_off_no_role_brings_back(pair) {
        let (realm, server) = scene(pair, "");
        let admin = server.admin();
        let first = realm.log_in("eva", roles("staff")).access;
        let id = server.user(&first).get(ME).is(200).member("id");
        let second = realm.log_in_after(&first, "eva", roles("other")).access;
        server.user(&second).get(ME).refused(403, "forbidden");
        let incident = admin.api.post(INCIDENTS, &json!({"kind": "other", "accounts": [id]})).is(201).member("id");
        let answer = json!({"answer": "disable_accounts"});
        let done = admin.api.post(&format!("{INCIDENTS}/{incident}/answers"), &answer).is(201).json();
        assert_eq!(done["detail"]["skipped"][0]["reason"], "it was switched off already");
        is_over(&server, &from_now_on(&realm, &second, "eva", "staff"));
    }

    fn the_last_administrator_stays_one_without_a_role_there(pair) {
        let (realm, server) = scene(pair, "");
        let first = realm.log_in("ada", roles("bosses")).access;
        server.user(&first).get(USERS).is(200);
        let second = realm.log_in_after(&first, "ada", roles("other")).access;
        let answer = server.user(&second).get(ME).refused(403, "forbidden");
        assert!(answer.member("detail").contains("last one"), "{}", answer.text());
        server.user(&first).get(USERS).is(200);
        server.admin();
        server.user(&second).get(ME).refused(403, "forbidden");
        is_over(&server, &first);
    }

    fn tokens_that_ended_stay_ended_when_their_identity_comes_again(pair) {
        let (realm, server) = scene(pair, "");
        let admin = server.admin();
        let first = realm.log_in("eve", roles("staff")).access;
        let id = server.user(&first).get(ME).is(200).member("id");
        admin.api.delete(&format!("{USERS}/{id}/sessions")).is(204);
        is_over(&server, &first);
        let identities = format!("{USERS}/{id}/identities");
        let identity = admin.api.get(&identities).is(200).items()[0]["id"].as_str().expect("an id").to_owned();
        admin.api.delete(&format!("{identities}/{identity}")).is(204);
        admin.api.post(&identities, &json!({"issuer": realm.issuer, "subject": "eve"})).is(201);
        for _ in 0..2 {
            is_over(&server, &first);
        }
        let second = let_in_after(&realm, &server, &first, "eve", "staff");
        assert_eq!(server.user(&second).get(ME).is(200).member("id"), id);
        // Nor do they lead to the account of somebody new.
        server.user(&second).delete(ME).is(204);
        let third = let_in_after(&realm, &server, &second, "eve", "staff");
        assert_ne!(server.user(&third).get(ME).is(200).member("id"), id);
        for old in [&first, &second] {
            is_over(&server, old);
        }
    }

    fn while_the_service_is_closed_a_token_makes_no_account(pair) {
        let (realm, server) = scene(pair, "");
        let admin = server.admin();
        admin.api.put(MAINTENANCE, &json!({"mode": "maintenance"})).is(200);
        let (nia, identities) = (realm.log_in("nia", roles("staff")).access, "SELECT COUNT(*) FROM external_identities");
        for _ in 0..2 {
            server.user(&nia).get(ME).refused(503, "maintenance");
        }
        assert_eq!(server.world.sql(identities).trim(), "0");
        // Who runs it is let in, also for the first time.
        server.user(&realm.log_in("bo", roles("bosses")).access).get(ME).is(200);
        assert_eq!(server.world.sql(identities).trim(), "1");
        admin.api.put(MAINTENANCE, &json!({"mode": "off"})).is(200);
        server.user(&nia).get(ME).is(200);
    }

    fn who_was_linked_by_somebody_for_less_does_not_come_in_for_more(pair) {
        let (realm, world) = (Realm::new(), World::new(pair));
        let file = world.issuers(&[described(&realm.issuer, "default_role = \"user\"")]);
        let server = world.start(&[("OIDC_ISSUERS_FILE", &file)]);
        let admin = server.admin();
        let may = ["users:read", "users:manage", "models:read", "models:infer", "files:write"];
        admin.api.post("/api/v1/admin/roles", &json!({"name": "helpdesk", "permissions": may})).is(201);
        let (helper, ada) = (server.person_with_role(&admin, "helper", "helpdesk"), server.person("ada"));
        let account = format!("{USERS}/{}", ada.id);
        let identities = format!("{account}/identities");
        let wish = json!({"issuer": realm.issuer, "subject": "eve"});
        let linked = helper.api.post(&identities, &wish).is(201).member("id");
        let eve = realm.log_in("eve", roles("staff")).access;
        let change = |role: &str| admin.api.put(&account, &json!({"role": role})).is(200);
        server.user(&eve).get(ME).is(200);
        change("helpdesk");
        server.user(&eve).get(ME).is(200);
        change("admin");
        server.user(&eve).get(ME).refused(403, "forbidden");
        let later = realm.log_in_after(&eve, "eve", roles("staff")).access;
        server.user(&later).get(ME).refused(403, "forbidden");
        assert_eq!(server.audited("identity.refused", "failure"), 1);
        // Linked anew by somebody who may touch the account as it is, they come in.
        admin.api.delete(&format!("{identities}/{linked}")).is(204);
        admin.api.post(&identities, &wish).is(201);
        let_in_after(&realm, &server, &later, "eve", "staff");
    }
}
