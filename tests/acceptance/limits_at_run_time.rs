//! Rate limits that administrators set at run time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Client, Pair, Person, Server, World, at_once, eventually, promise, sample};

const MINUTE: Duration = Duration::from_secs(60);

/// Says a limit.
#[track_caller]
fn say(admin: &Person, subject: &str, numbers: &Value) {
    admin.api.put(&format!("/api/v1/admin/limits/{subject}"), numbers).is(204);
}

/// How many of so many are served; the rest is refused.
#[track_caller]
fn served(client: &Client, asked: usize) -> usize {
    let answers: Vec<u16> = (0..asked).map(|_| client.predict(&sample("1-1")).status).collect();
    let served = answers.iter().filter(|status| **status == 200).count();
    assert!(answers[..served].iter().all(|status| *status == 200), "{answers:?}");
    assert!(answers[served..].iter().all(|status| *status == 429), "{answers:?}");
    served
}

promise! {
    fn the_limits_of_a_role_go_with_it(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let role = json!({"name": "guest", "permissions": ["models:infer"]});
        admin.api.post("/api/v1/admin/roles", &role).is(201);
        say(&admin, "role/guest", &json!({"per_minute": 1}));
        admin.api.delete("/api/v1/admin/roles/guest").is(204);
        admin.api.post("/api/v1/admin/roles", &role).is(201);
        let guest = server.person_with_role(&admin, "guest", "guest");
        assert_eq!(served(&guest.api, 3), 3);
    }

    fn the_more_particular_word_holds_and_keys_and_models_only_narrow(pair) {
        let server = Server::start(pair, &[("RATE_LIMIT_INFER_PER_MINUTE", "9")]);
        let (admin, ada, grace) = (server.admin(), server.person("ada"), server.person("grace"));
        let (id, text) = ada.make_key_with(json!({"name": "a key", "scopes": ["models:infer"]}));
        let key = server.key(&text);
        say(&admin, "class/infer", &json!({"per_minute": 2}));
        assert_eq!(served(&ada.api, 3), 2);
        say(&admin, "role/user", &json!({"per_minute": 4}));
        assert_eq!(served(&ada.api, 4), 2, "what was counted stays counted");
        assert_eq!(served(&admin.api, 3), 2, "another role");
        say(&admin, &format!("account/{}", ada.id), &json!({"per_minute": 0}));
        assert_eq!(ada.api.predict(&sample("1-1")).is(200).header("ratelimit"), None, "off");
        say(&admin, &format!("key/{id}"), &json!({"per_minute": 3, "per_hour": 5}));
        let told = key.predict(&sample("1-1")).is(200);
        assert_eq!(told.header("ratelimit-policy"), Some("\"key\";q=3;w=60, \"key-hour\";q=5;w=3600"));
        assert_eq!((told.number("x-ratelimit-limit"), told.number("x-ratelimit-remaining")), (3, 2));
        assert_eq!(served(&key, 3), 2);
        ada.api.predict(&sample("1-1")).is(200);
        server.advance(MINUTE);
        say(&admin, "model/digits", &json!({"per_minute": 1}));
        assert_eq!((served(&ada.api, 2), served(&grace.api, 2)), (1, 1), "each account for itself");
        ada.api.post("/v2/models/digits/infer", &json!({})).is(429);
        let listed = admin.api.get("/api/v1/admin/limits").is(200).items();
        assert_eq!(listed.len(), 5, "{listed:?}");
        for said in ["class/infer".to_owned(), "role/user".into(), format!("account/{}", ada.id), format!("key/{id}"), "model/digits".into()] {
            admin.api.delete(&format!("/api/v1/admin/limits/{said}")).is(204);
            admin.api.delete(&format!("/api/v1/admin/limits/{said}")).refused(404, "not_found");
        }
        server.advance(MINUTE);
        assert_eq!(served(&ada.api, 10), 9, "the setting");
        assert_eq!(server.audited("limits.changed", "success"), 10);

        // Of an account, beside what else is changed about it.
        let change = |limits: Value| admin.api.put(&format!("/api/v1/admin/users/{}", ada.id), &json!({"name": "Ada L", "limits": limits}));
        server.advance(MINUTE);
        change(json!({"requests_per_minute": 3})).is(200);
        assert_eq!(served(&ada.api, 4), 3);
        assert_eq!(admin.api.get("/api/v1/admin/limits").is(200).items()[0]["per_minute"], 3);
        for wrong in [json!({}), json!({"requests_per_minute": 0}), json!({"requests_per_hour": 1_000_001})] {
            change(wrong).invalid(&["limits"]);
        }
        change(Value::Null).is(200);
        change(Value::Null).is(200);
        assert_eq!(ada.api.predict(&sample("1-1")).is(200).number("x-ratelimit-limit"), 9);
        admin.api.post("/api/v1/admin/roles", &json!({"name": "staff", "permissions": ["models:read", "models:infer", "files:write", "users:read", "users:manage"]})).is(201);
        admin.api.put(&format!("/api/v1/admin/users/{}", grace.id), &json!({"role": "staff"})).is(200);
        let grace = server.log_in(&grace.email, &grace.password);
        let other = format!("/api/v1/admin/users/{}", ada.id);
        grace.api.put(&other, &json!({"name": "Ada B", "limits": {"requests_per_minute": 1}})).refused(403, "insufficient_permissions");
        assert_eq!(grace.api.get(&other).is(200).json()["name"], "Ada L", "all of it or nothing");
        grace.api.put(&other, &json!({"name": "Ada B"})).is(200);

        // Who limits the administrators too much comes back by the command line.
        say(&admin, "role/admin", &json!({"per_minute": 1, "per_hour": 1}));
        while admin.api.get("/api/v1/admin/limits").status != 429 {}
        admin.api.delete("/api/v1/admin/limits/role/admin").refused(429, "rate_limited");
        assert!(server.cli(&["limits", "list"], "").stdout.contains("role\tadmin\t1\t1"));
        assert_eq!(server.cli(&["limits", "set", "role", "admin", "--per-hour", "0"], "").code, Some(0));
        eventually("administrators are served again", || (admin.api.get("/api/v1/admin/limits").status == 200).then_some(()));
        assert_eq!(server.cli(&["limits", "remove", "role", "admin"], "").code, Some(0));
        for wrong in [&["remove", "role", "admin"][..], &["remove", "team", "a"], &["set", "role", "admin"], &["set", "class", "login", "--per-minute", "0"], &["set", "account", "ada", "--per-hour", "1"]] {
            assert_eq!(server.cli(&[&["limits"], wrong].concat(), "").code, Some(1), "{wrong:?}");
        }
    }

    fn nobody_opens_the_door_to_guessing_or_changes_limits_without_leave(pair) {
        let server = Server::start(pair, &[("RATE_LIMIT_LOGIN_PER_MINUTE", "5")]);
        let (admin, ada) = (server.admin(), server.person("ada"));
        let put = |path: &str, body: &Value| admin.api.put(&format!("/api/v1/admin/limits/{path}"), body);
        for guard in ["class/login", "class/register", "class/anonymous"] {
            for number in [0, 1_000_001] {
                put(guard, &json!({"per_minute": number})).invalid(&["per_minute"]);
            }
        }
        put("class/login", &json!({"per_minute": 61})).invalid(&["per_minute"]);
        put("class/mail", &json!({"per_hour": 0})).invalid(&["per_hour"]);
        put("class/login", &json!({"per_hour": 9})).invalid(&["per_hour"]);
        put("class/infer", &json!({})).invalid(&["per_minute"]);
        put("class/infer", &json!({"per_minute": -1})).is(400);
        put("class/infer", &json!({"per_minute": 5, "per_day": 1})).is(400);
        for unknown in ["class/everything", "role/none", "account/ada", "key/1", "team/a", "model/none"] {
            assert_eq!(put(unknown, &json!({"per_minute": 5})).status, 404, "{unknown}");
        }
        ada.api.put("/api/v1/admin/limits/class/infer", &json!({"per_minute": 0})).is(403);
        put("class/login", &json!({"per_minute": 2})).is(204);
        server.advance(MINUTE);
        let guesses: Vec<u16> =
            (0..3).map(|_| server.try_log_in("nobody@example.com", "Wrong-horse-battery-9").status).collect();
        assert_eq!(guesses, [401, 401, 429]);
    }

    fn whoever_was_refused_is_refused_again_without_a_trip(pair) {
        let server = Server::start(pair, &[("RATE_LIMIT_INFER_PER_MINUTE", "3"), ("RATE_LIMIT_PER_MINUTE", "3")]);
        let (admin, ada) = (server.admin(), server.person("ada"));
        assert_eq!(served(&ada.api, 4), 3);
        while server.anon().get("/api/v1/me").status != 429 {}
        let (before, begun) = (server.metric("ephemeral_round_trips_total"), Instant::now());
        for _ in 0..100 {
            let wait = ada.api.predict(&sample("1-1")).refused(429, "rate_limited").number("retry-after");
            assert!((1..=60).contains(&wait), "{wait}");
            server.anon().get("/api/v1/me").is(429);
        }
        let trips = server.metric("ephemeral_round_trips_total") - before;
        let seconds = begun.elapsed().as_secs_f64();
        assert!(trips <= 2.0 * (seconds + 1.0) + 2.0 * seconds + 2.0, "{trips} trips in {seconds} s");
        say(&admin, "class/infer", &json!({"per_minute": 4}));
        assert_eq!(served(&ada.api, 2), 1, "raised at once");
        server.advance(MINUTE);
        assert_eq!(served(&ada.api, 5), 4);
    }

    fn nobody_bounds_those_who_may_do_more_or_lifts_their_bounds(pair) {
        let server = Server::start(pair, &[]);
        let (admin, ada) = (server.admin(), server.person("ada"));
        let may = ["limits:manage", "models:read", "models:infer", "files:write"];
        admin.api.post("/api/v1/admin/roles", &json!({"name": "throttler", "permissions": may})).is(201);
        let throttler = server.person_with_role(&admin, "throttler", "throttler");
        let key_of = |person: &Person| person.make_key_with(json!({"name": "a key", "scopes": ["models:infer"]})).0;
        let subjects = |person: &Person, role: &str| {
            [format!("account/{}", person.id), format!("key/{}", key_of(person)), format!("role/{role}")]
        };
        let bounds = |subject: &str| {
            let limit = (format!("/api/v1/admin/limits/{subject}"), json!({"per_minute": 1000}));
            [limit, (format!("/api/v1/admin/quotas/{subject}/requests/day"), json!({"limit": 1000}))]
        };
        for (path, body) in subjects(&admin, "admin").iter().flat_map(|subject| bounds(subject)) {
            throttler.api.put(&path, &body).refused(403, "forbidden");
            admin.api.put(&path, &body).is(204);
            throttler.api.delete(&path).refused(403, "forbidden");
            admin.api.delete(&path).is(204);
        }
        for (path, body) in subjects(&ada, "user").iter().flat_map(|subject| bounds(subject)) {
            throttler.api.put(&path, &body).is(204);
            throttler.api.delete(&path).is(204);
        }
    }
}

#[test]
fn what_is_said_on_one_replica_holds_on_the_other_within_two_seconds() {
    let world = World::new(Pair::Shared);
    let (first, second) = (world.start(&[]), world.start(&[]));
    let (admin, ada) = (first.admin(), first.person("ada"));
    let there = second.user(&ada.tokens.access);
    there.predict(&sample("1-1")).is(200);
    let said = Instant::now();
    say(&admin, &format!("account/{}", ada.id), &json!({"per_minute": 10}));
    eventually("the other knows", || there.predict(&sample("1-1")).header("ratelimit").map(drop));
    assert!(said.elapsed() < Duration::from_secs(4), "{:?}, on a busy machine", said.elapsed());
    let clients = [ada.api.clone(), there];
    let answers = at_once(40, |index| clients[index % 2].predict(&sample("1-1")).status);
    assert_eq!(answers.iter().filter(|status| **status == 200).count(), 9, "counted together: {answers:?}");

    // Rights that change one after another hold up nobody.
    let grace = first.person("grace");
    let clients = [second.user(&grace.tokens.access), grace.api];
    let staff = json!({"name": "staff", "permissions": ["models:read"]});
    admin.api.post("/api/v1/admin/roles", &staff).is(201);
    let statuses = at_once(12, |index| -> BTreeSet<u16> {
        let changed =
            |_| admin.api.put("/api/v1/admin/roles/staff", &json!({"permissions": ["models:read"]})).status;
        let asked = |_| clients[index % 2].get("/api/v1/models").status;
        if index < 3 { (0..15).map(changed).collect() } else { (0..15).map(asked).collect() }
    });
    assert!(statuses.iter().all(|statuses| *statuses == BTreeSet::from([200])), "{statuses:?}");
}
