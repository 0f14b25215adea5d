//! People get everything that is kept about them, and can have it erased; the audit trail stays as it was.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Client, MailServer, Person, Server, World, at_once, eventually, promise};

const EXPORT: &str = "/api/v1/me/export";
const ME: &str = "/api/v1/me";
const HOME: &str = "203.0.113.77";
const AGENT: &str = "ada's-own-browser";
const PASSWORD: &str = "Correct-horse-battery-9";

/// What the trail vouches for, byte for byte and in its order.
fn trail(server: &Server) -> Vec<String> {
    server
        .world
        .sql("SELECT CAST(canonical AS TEXT) FROM audit_events ORDER BY id")
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Insists that nothing of Ada is left in any table, file or key.
#[track_caller]
fn nothing_is_left(server: &mut Server) {
    // SQLite's log has a copy until it is emptied.
    server.advance(Duration::from_secs(3601));
    for trace in ["ada@example.com", "countess@example.com", "Augusta", HOME, AGENT] {
        eventually(trace, || (!server.world.has_stored(trace)).then_some(()));
    }
    assert_eq!(server.stop(), Some(0));
    let keys = server.world.redis_keys();
    for trace in ["ada@example.com", "countess@example.com", "augusta"] {
        assert!(!keys.to_lowercase().contains(trace), "{keys}");
    }
}

/// Ada, who came from `HOME` and left traces everywhere.
fn ada(server: &Server) -> Person {
    let from_home = |client: Client| {
        client.with("X-Forwarded-Proto", "https").with("X-Forwarded-For", HOME).with("User-Agent", AGENT)
    };
    let body = json!({"email": "ada@example.com", "password": PASSWORD, "name": "Augusta King"});
    from_home(server.anon()).post("/api/v1/auth/register", &body).is(201);
    let body = json!({"email": "ada@example.com", "password": PASSWORD});
    let tokens = from_home(server.anon()).post("/api/v1/auth/login", &body).is(200);
    let wrong = json!({"email": "ada@example.com", "password": "Wrong-horse-battery-9"});
    from_home(server.anon()).post("/api/v1/auth/login", &wrong).is(401);
    let mut ada = server.log_in("ada@example.com", PASSWORD);
    ada.api = from_home(server.user(&tokens.member("access_token")));
    ada.make_key(&["models:read"]);
    ada.api.put(ME, &json!({"name": "Augusta Ada King"})).is(200);
    ada
}

promise! {
    fn an_export_has_everything_of_mine_and_nothing_of_others_and_no_secret(pair) {
        let server = Server::start(pair, &[("TRUSTED_PROXIES", "127.0.0.1")]);
        let admin = server.admin();
        let grace = server.person("grace");
        grace.make_key(&["models:read"]);
        let ada = ada(&server);
        let key = ada.make_key(&["models:infer"]);
        let path = format!("/api/v1/admin/users/{}", ada.id);
        admin.api.put(&path, &json!({"name": "Ada King"})).is(200);
        admin.api.put("/api/v1/admin/models/digits/grants", &json!({"account": ada.id})).is(204);
        let change = json!({"current_password": PASSWORD, "new_password": "Another-horse-battery-9"});
        ada.api.post("/api/v1/auth/password", &change).is(204);
        let reply = ada.api.get(EXPORT).is(200);
        let export = reply.json();
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!((&export["profile"]["email"], &export["profile"]["name"]), (&json!(ada.email), &json!("Ada King")));
        let count = |part: &str| export[part].as_array().expect("a list").len();
        assert_eq!((count("sessions"), count("api_keys"), count("notices")), (2, 2, 2), "{export}");
        assert_eq!(export["granted_models"], json!(["digits"]));
        assert_eq!(export["second_factor"]["enrolled"], false);
        assert!(export["sessions"].as_array().expect("a list").iter().any(|session| session["address"] == HOME));
        let actions: BTreeSet<&str> =
            export["events"].as_array().expect("a list").iter().filter_map(|event| event["action"].as_str()).collect();
        for action in ["LOGIN_SUCCESS", "LOGIN_FAILURE", "PASSWORD_CHANGE", "account.created", "account.changed", "api_key.created", "DATA_ACCESS"] {
            assert!(actions.contains(action), "{action}: {actions:?}");
        }
        // What the administrator did is there; who and where they are is not.
        let by_others: Vec<&Value> =
            export["events"].as_array().expect("a list").iter().filter(|event| event["own"] == false).collect();
        assert!(by_others.iter().any(|event| event["action"] == "account.changed"), "{export}");
        let text = reply.text();
        for foreign in [&admin.id, &admin.email, &grace.id, &grace.email] {
            assert!(!text.contains(foreign.as_str()), "{foreign}: {text}");
        }
        for secret in [&key, &ada.tokens.access, &ada.tokens.refresh] {
            assert!(!text.contains(secret.as_str()), "{text}");
        }
        for word in ["argon2", "otpauth", "hash", "family_key", "mgr_", "security_version"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
    }

    fn an_export_needs_the_person_now_and_not_too_often(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        server.key(&ada.make_key(&["models:read"])).get(EXPORT).refused(403, "forbidden");
        for _ in 0..5 {
            ada.api.get(EXPORT).is(200);
        }
        ada.api.get(EXPORT).refused(429, "rate_limited");
        server.person("grace").api.get(EXPORT).is(200);
        assert_eq!(server.audited("DATA_ACCESS", "success"), 6);
        server.advance(Duration::from_secs(901));
        ada.api.get(EXPORT).refused(401, "step_up_required");
        server.advance(Duration::from_secs(3600));
        server.log_in(&ada.email, &ada.password).api.get(EXPORT).is(200);
    }

    fn whoever_erases_themselves_is_gone_and_the_trail_stays(pair) {
        // Whatever is mailed waits, the notice of a new network and what is asked for by address.
        let mail = MailServer::start();
        mail.refuse(451);
        let settings = [("TRUSTED_PROXIES", "127.0.0.1"), ("EMAIL_VERIFICATION", "off")];
        let world = World::new(pair);
        let mut server = mail.join(&world, &settings);
        let admin = server.admin();
        let ada = ada(&server);
        let key = server.key(&ada.make_key(&["models:read"]));
        admin.api.put("/api/v1/admin/models/digits/grants", &json!({"account": ada.id})).is(204);
        ada.api.post("/api/v1/auth/email/change", &json!({"email": "countess@example.com"})).is(202);
        let events = trail(&server);
        assert!(server.world.has_stored(HOME) && server.world.has_stored(AGENT), "there is something to erase");
        ada.api.delete(ME).is(204);
        ada.api.get(ME).refused(401, "invalid_token");
        key.get("/api/v1/models").refused(401, "invalid_token");
        server.refresh(&ada.tokens.refresh).refused(401, "invalid_token");
        server.try_log_in(&ada.email, PASSWORD).refused(401, "invalid_credentials");
        admin.api.get(&format!("/api/v1/admin/users/{}", ada.id)).refused(404, "not_found");
        assert_eq!(trail(&server)[..events.len()], events, "what was recorded is as it was");
        assert_eq!(server.audited("account.deleted", "success"), 1);
        nothing_is_left(&mut server);
        mail.refuse(0);
        let server = mail.join(&world, &settings);
        server.advance(Duration::from_secs(120));
        std::thread::sleep(Duration::from_millis(1500));
        assert!(mail.mails().is_empty(), "{:?}", mail.mails());
        // The address is free again, for somebody new.
        assert_ne!(server.person("ada").id, ada.id);
    }

    fn an_address_goes_from_events_that_name_somebody_only_by_their_matter(pair) {
        let server = Server::start(pair, &[("TRUSTED_PROXIES", "127.0.0.1")]);
        let admin = server.admin();
        let (ada, grace) = (server.person("ada"), server.person("grace"));
        let guess = |email: &str, address: &str| {
            let client = server.anon().with("X-Forwarded-Proto", "https").with("X-Forwarded-For", address);
            client.post("/api/v1/auth/login", &json!({"email": email, "password": "Wrong-horse-battery-9"})).is(401);
        };
        // Five each: suspicious by account and by address, and an incident of each; of one of them not by the same failure.
        guess(&ada.email, "198.51.100.10");
        for _ in 0..5 {
            guess(&ada.email, HOME);
            guess(&grace.email, "198.51.100.9");
        }
        let kept = |address: &str| {
            let count = server.world.sql(&format!("SELECT count(*) FROM audit_subjects WHERE address = '{address}'"));
            count.trim().parse::<u32>().expect("a number")
        };
        let of_grace = kept("198.51.100.9");
        assert_eq!((kept(HOME), of_grace), (9, 9), "five failures, two suspicions, two incidents");
        let events = trail(&server);
        admin.api.delete(&format!("/api/v1/admin/users/{}", ada.id)).is(204);
        assert_eq!(trail(&server)[..events.len()], events);
        assert_eq!((kept(HOME), kept("198.51.100.10"), kept("198.51.100.9")), (0, 0, of_grace));
    }

    fn an_administrator_erases_in_the_same_way(pair) {
        let mut server = Server::start(pair, &[("TRUSTED_PROXIES", "127.0.0.1")]);
        let admin = server.admin();
        let ada = ada(&server);
        let events = trail(&server);
        admin.api.delete(&format!("/api/v1/admin/users/{}", ada.id)).is(204);
        assert_eq!(trail(&server)[..events.len()], events);
        nothing_is_left(&mut server);
    }

    fn erasing_oneself_needs_the_person_now_and_another_administrator(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        admin.api.delete(ME).refused(409, "last_administrator");
        let ada = server.person("ada");
        server.key(&ada.make_key(&["models:read"])).delete(ME).refused(403, "forbidden");
        server.advance(Duration::from_secs(901));
        ada.api.delete(ME).refused(401, "step_up_required");
        ada.api.get(ME).is(200);
        let admin = server.log_in(&admin.email, &admin.password);
        server.admin_called("other");
        admin.api.delete(ME).is(204);
        admin.api.get(ME).refused(401, "invalid_token");
    }

    fn two_administrators_do_not_both_leave(pair) {
        let server = Server::start(pair, &[]);
        let both = [server.admin_called("ada"), server.admin_called("grace")];
        let mut statuses = at_once(2, |index| both[index].api.delete(ME).status);
        statuses.sort_unstable();
        assert_eq!(statuses, [204, 409]);
    }
}
