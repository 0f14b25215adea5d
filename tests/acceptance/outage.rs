//! A store that is gone: the server says so, does what it can without it, forgets no revocation and recovers.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tonic::Code;

use crate::harness::grpc::digits;
use crate::harness::{OwnRedis, Pair, Person, Reply, Server, StoreProxy, World, at_once, eventually, sample};

const ME: &str = "/api/v1/me";
const MODELS: &str = "/api/v1/models";
const DEADLINE: Duration = Duration::from_secs(6);

/// Waits until the server says that exactly this is missing; it takes requests all the while.
#[track_caller]
fn is_degraded(server: &Server, missing: &[&str]) {
    eventually(&format!("missing: {missing:?}"), || {
        server.anon().get("/health/ready").is(200);
        let health = server.anon().get("/health").is(200).json();
        let expected = if missing.is_empty() { Value::Null } else { json!(missing) };
        (health["degraded"] == expected).then(|| {
            let status = if missing.is_empty() { "ok" } else { "degraded" };
            assert_eq!(health["status"], status, "{health}");
        })
    });
}

#[test]
fn without_redis_the_work_goes_on_and_limits_hold() {
    let mut redis = OwnRedis::start();
    let settings = [
        ("REDIS_URL", &*redis.url()),
        ("RATE_LIMIT_INFER_PER_MINUTE", "5"),
        ("RATE_LIMIT_LOGIN_PER_MINUTE", "5"),
    ];
    let server = World::new(Pair::Shared).start(&settings);
    let ada = server.person("ada");
    let key = server.key(&ada.make_key(&["models:infer", "models:read"]));
    is_degraded(&server, &[]);
    for _ in 0..5 {
        ada.api.predict(&sample("1-1")).is(200);
    }
    ada.api.predict(&sample("1-1")).is(429);

    redis.kill();
    let answers: Vec<u16> = (0..8).map(|_| key.predict(&sample("1-1")).status).collect();
    assert_eq!(answers, [200, 200, 200, 200, 200, 429, 429, 429], "counted in the process meanwhile");
    is_degraded(&server, &["redis"]);
    key.get(MODELS).is(200);
    let guesses = at_once(20, |_| server.try_log_in("nobody@example.com", "Wrong-horse-battery-9").status);
    assert_eq!(guesses.iter().filter(|status| **status == 401).count(), 5, "{guesses:?}");
    server.advance(Duration::from_secs(60));
    let laptop = server.log_in(&ada.email, &ada.password);
    laptop.api.predict(&sample("1-1")).is(200);
    laptop.api.act("/api/v1/auth/logout").is(204);
    laptop.api.get(ME).refused(401, "invalid_token");
    server.refresh(&ada.tokens.refresh).is(200);

    redis.resume();
    is_degraded(&server, &[]);
    ada.api.get(ME).is(200);
    laptop.api.get(ME).refused(401, "invalid_token");
    let refused =
        (0..6).map(|_| ada.api.predict(&sample("1-1")).status).filter(|status| *status == 429).count();
    assert_eq!(refused, 1, "Redis counts again");
}

#[test]
fn a_redis_that_does_not_answer_costs_a_moment_and_not_every_request() {
    let redis = OwnRedis::start();
    let settings =
        [("REDIS_URL", &*redis.url()), ("REDIS_TIMEOUT_MS", "100"), ("RATE_LIMIT_READ_PER_MINUTE", "1000")];
    let server = World::new(Pair::Shared).start(&settings);
    let ada = server.person("ada");
    redis.freeze(true);
    let started = Instant::now();
    for _ in 0..100 {
        ada.api.get(ME).is(200);
    }
    let took = started.elapsed();
    redis.freeze(false);
    assert!(took < Duration::from_secs(6), "100 requests took {took:?}");
    is_degraded(&server, &[]);
}

#[test]
fn the_server_starts_without_redis() {
    let mut redis = OwnRedis::start();
    redis.kill();
    let server =
        World::new(Pair::Shared).start(&[("REDIS_URL", &redis.url()), ("RATE_LIMIT_READ_PER_MINUTE", "100")]);
    is_degraded(&server, &["redis"]);
    let ada = server.person("ada");
    ada.api.predict(&sample("1-1")).is(200);
    redis.resume();
    is_degraded(&server, &[]);
    ada.api.get(ME).is(200);
}

#[test]
fn a_revocation_reaches_the_other_replica_without_redis_and_outlives_its_return() {
    let mut redis = OwnRedis::start();
    let url = redis.url();
    let world = World::new(Pair::Shared);
    let (first, second) = (world.start(&[("REDIS_URL", &url)]), world.start(&[("REDIS_URL", &url)]));
    let (ada, grace) = (first.person("ada"), first.person("grace"));
    let (id, text) = ada.make_key_with(json!({"name": "a key", "scopes": ["models:read"]}));
    let (key, there) = (second.key(&text), second.user(&grace.tokens.access));
    key.get(MODELS).is(200);
    there.get(ME).is(200);

    redis.kill();
    ada.api.delete(&format!("/api/v1/api-keys/{id}")).is(204);
    grace.api.act("/api/v1/auth/logout").is(204);
    first.key(&text).get(MODELS).refused(401, "invalid_token");
    let started = Instant::now();
    eventually("the other replica hears of it", || (key.get(MODELS).status == 401).then_some(()));
    eventually("the other replica hears of it", || (there.get(ME).status == 401).then_some(()));
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());

    // It comes back empty: what it does not know must not count as not revoked.
    redis.resume();
    is_degraded(&second, &[]);
    key.get(MODELS).refused(401, "invalid_token");
    there.get(ME).refused(401, "invalid_token");
    first.key(&text).get(MODELS).refused(401, "invalid_token");
}

#[test]
fn replicas_share_a_limit_and_one_without_stores_changes_nothing() {
    let mut redis = OwnRedis::start();
    let world = World::new(Pair::Shared);
    let (proxy, url) = StoreProxy::in_front_of(world.database_url().expect("Postgres"));
    let settings = [
        ("REDIS_URL", &*redis.url()),
        ("DATABASE_URL", &*url),
        ("RATE_LIMIT_INFER_PER_MINUTE", "6"),
        ("EXPECTED_REPLICAS", "2"),
        ("ISOLATION_SECONDS", "3"),
    ];
    let replicas = [
        world.start(&settings),
        world.start(&[&settings[..], &[("INFER_WHILE_ISOLATED", "false")]].concat()),
    ];
    let ada = replicas[0].person("ada");
    let callers = replicas.each_ref().map(|server| server.user(&ada.tokens.access));
    for caller in &callers {
        caller.predict(&sample("1-1")).is(200);
    }
    redis.kill();
    for caller in &callers {
        let statuses: Vec<u16> = (0..6).map(|_| caller.predict(&sample("1-1")).status).collect();
        assert_eq!(statuses, [200, 200, 200, 429, 429, 429], "half of the limit each");
    }
    world.advance(Duration::from_secs(61));
    for caller in &callers {
        caller.predict(&sample("1-1")).is(200);
    }
    proxy.shut();
    eventually("isolated", || (replicas[1].anon().get("/health/ready").status == 503).then_some(()));
    eventually("isolated", || (replicas[0].anon().get("/health/ready").status == 503).then_some(()));
    callers[0].predict(&sample("1-1")).is(200);
    callers[1].predict(&sample("1-1")).refused(503, "unavailable");
    for caller in &callers {
        caller.act("/api/v1/auth/logout").refused(503, "unavailable");
    }
    proxy.open();
    redis.resume();
    for (server, caller) in replicas.iter().zip(&callers) {
        eventually("ready, and nothing is missing", || {
            let health = server.anon().get("/health/ready");
            (health.status == 200 && health.json()["degraded"].is_null()).then_some(())
        });
        caller.predict(&sample("1-1")).is(200);
    }
}

#[test]
fn what_an_operator_reads_names_the_cause_and_no_password() {
    const PASSWORD: &str = "Never-to-be-read-4711";
    let world = World::new(Pair::Shared);
    world.remember(PASSWORD);
    let real = world.database_url().expect("Postgres").to_owned();
    let unknown = real.replacen("//postgres@", &format!("//nobody:{PASSWORD}@"), 1);
    assert_ne!(unknown, real);
    for (setting, url, cause) in [
        ("DATABASE_URL", unknown, "nobody"),
        ("DATABASE_URL", format!("postgres://someone:{PASSWORD}@127.0.0.1:1/database"), "refused"),
        ("DATABASE_URL", format!("postgres://someone:{PASSWORD}@127.0.0.1:port/database"), "address"),
        ("REDIS_URL", format!("redis://someone:{PASSWORD}@127.0.0.1:port"), "address"),
        ("REDIS_URL", format!("redis://someone:{PASSWORD}@127.0.0.1:1"), "refused"),
    ] {
        let checked = world.run(&["check"], &[(setting, &url)], "");
        let all = format!("{}{}", checked.stdout, checked.stderr);
        assert_eq!(checked.code, Some(1), "{setting}: {all}");
        assert!(all.contains(cause), "{setting}: {cause} is not in {all}");
        assert!(!all.contains(PASSWORD), "{setting}: {all}");
    }

    let (proxy, url) =
        StoreProxy::in_front_of(&real.replacen("//postgres@", &format!("//postgres:{PASSWORD}@"), 1));
    let server = world.start(&[("DATABASE_URL", &url)]);
    proxy.shut();
    server.try_log_in("nobody@example.com", "Wrong-horse-battery-9").refused(503, "unavailable");
    for what in ["a store is unavailable", "a background task failed and will be tried again"] {
        let line = server.wait_for_log(what, |entry| entry["message"] == what);
        assert!(line.to_string().contains("a store is not available: "), "{line}");
    }
}

/// The same of a call over gRPC, in the status that HTTP has for it.
fn over_grpc(server: &Server, token: &str, asked: Instant) -> (u16, Option<Reply>, Duration) {
    let status = match server.grpc_user(token).infer(digits(&[0.0; 64])) {
        Ok(_) => 200,
        Err(status) if status.code() == Code::Unavailable => 503,
        Err(status) if status.code() == Code::DeadlineExceeded => 504,
        Err(status) => panic!("{status:?}"),
    };
    (status, None, asked.elapsed())
}

/// Two seconds late with every answer: what needs it is given up in time, whole, and says what that leaves open.
#[track_caller]
fn a_slow_database_holds_nobody_beyond_the_deadline(server: &Server, proxy: &StoreProxy, ada: &Person) {
    let admin = server.admin();
    let unseen = server.try_log_in(&ada.email, &ada.password).is(200).member("access_token");
    let role = json!({"name": "auditor", "permissions": ["audit:read"]});
    proxy.hold(Duration::from_secs(2));
    let answers = at_once(5, |number| {
        let asked = Instant::now();
        let reply = match number {
            0 => server.try_log_in(&ada.email, &ada.password),
            1 => admin.api.post("/api/v1/admin/roles", &role),
            2 => server.refresh(&ada.tokens.refresh),
            4 => return over_grpc(server, &unseen, asked),
            _ => ada.api.predict(&sample("1-1")),
        };
        (reply.status, Some(reply), asked.elapsed())
    });
    for (status, reply, took) in &answers {
        assert!(*took < DEADLINE + Duration::from_secs(2), "{took:?}");
        assert!(matches!(status, 200 | 503 | 504), "{status}");
        let waits = reply.as_ref().is_none_or(|reply| reply.header("retry-after").is_some());
        assert!(*status == 200 || waits, "{status}");
    }
    assert_eq!(answers[3].0, 200, "who needs no database is not held up");
    // Whoever got no connection in five seconds was told so then, with 503.
    let late = answers.into_iter().filter_map(|(_, reply, _)| reply).find(|reply| reply.status == 504);
    if let Some(late) = late {
        assert!(late.refused(504, "deadline_exceeded").member("detail").contains("is not known"));
    }

    proxy.open();
    // Not half: the role is there with its permission, or it is not there and can be made.
    let again = eventually("the database answers", || {
        let reply = admin.api.post("/api/v1/admin/roles", &role);
        matches!(reply.status, 201 | 409).then_some(reply.status)
    });
    let roles = admin.api.get("/api/v1/admin/roles").is(200).items();
    let made: Vec<_> = roles.iter().filter(|role| role["name"] == "auditor").collect();
    assert!(made.len() == 1 && made[0]["permissions"] == json!(["audit:read"]), "{again}: {made:?}");
    for status in at_once(20, |_| ada.api.get(ME).status) {
        assert_eq!(status, 200, "no connection was left in the middle of something");
    }
}

#[test]
fn without_the_database_known_callers_are_served_and_others_told_to_wait() {
    let world = World::new(Pair::Shared);
    let (proxy, url) = StoreProxy::in_front_of(world.database_url().expect("Postgres"));
    let deadline = DEADLINE.as_secs().to_string();
    let server =
        world.start(&[("DATABASE_URL", &url), ("REQUEST_TIMEOUT_SECONDS", &deadline), ("GRPC_PORT", "0")]);
    let ada = server.person("ada");
    let unseen = server.try_log_in(&ada.email, &ada.password).is(200).member("access_token");
    ada.api.predict(&sample("1-1")).is(200);

    proxy.shut();
    for _ in 0..5 {
        ada.api.predict(&sample("1-1")).is(200);
    }
    is_degraded(&server, &["database"]);
    ada.api.predict(&sample("1-1")).is(200);
    for answer in
        [server.try_log_in(&ada.email, &ada.password), server.user(&unseen).get(ME), ada.api.get(ME)]
    {
        let id = answer.refused(503, "unavailable").member("request_id");
        let told =
            server.wait_for_log("cause", |entry| entry["level"] == "ERROR" && entry["request_id"] == *id);
        assert_eq!(told["code"], "unavailable", "{told}");
        assert!(told["cause"].as_str().is_some_and(|cause| !cause.is_empty()), "{told}");
    }
    ada.api.act("/api/v1/auth/logout").refused(503, "unavailable");
    server.anon().get("/.well-known/jwks.json").is(200);
    server.anon().get("/v2/health/ready").is(200);

    proxy.open();
    is_degraded(&server, &[]);
    server.user(&unseen).get(ME).is(200);
    let usage = eventually("what was used meanwhile is written", || {
        let items = ada.api.get("/api/v1/me/usage").is(200).items();
        let requests: i64 = items.iter().filter_map(|item| item["requests"].as_i64()).sum();
        (requests >= 7).then_some(requests)
    });
    assert_eq!(usage, 7, "once");
    a_slow_database_holds_nobody_beyond_the_deadline(&server, &proxy, &ada);
    ada.api.act("/api/v1/auth/logout").is(204);
    ada.api.get(ME).is(401);
}
