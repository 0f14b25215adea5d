//! Floods, key changes under load, and what an outsider can learn from the parts meant for operators.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Server, at_once, eventually, promise, sample};

const ME: &str = "/api/v1/me";
const JWKS: &str = "/.well-known/jwks.json";

promise! {
    fn a_flood_of_logins_leaves_inference_alone(pair) {
        let server = Server::start(pair, &[("PASSWORD_HASH_THREADS", "1"), ("PASSWORD_HASH_QUEUE", "64")]);
        let ada = server.person("ada");
        ada.api.predict(&sample("1-1")).is(200);
        std::thread::scope(|scope| {
            let flood = scope.spawn(|| at_once(60, |_| server.try_log_in(&ada.email, "Wrong-horse-battery-9").status));
            let mut slowest = Duration::ZERO;
            while !flood.is_finished() {
                let asked = Instant::now();
                ada.api.predict(&sample("1-1")).is(200);
                slowest = slowest.max(asked.elapsed());
            }
            let answers = flood.join().expect("the flood");
            assert!(answers.iter().all(|status| [401, 503].contains(status)), "{answers:?}");
            assert!(slowest < Duration::from_secs(1), "{slowest:?}");
        });
    }

    fn made_up_callers_do_not_fill_the_memory(pair) {
        let limits = [("RATE_LIMIT_PER_MINUTE", "30"), ("RATE_LIMIT_LOGIN_PER_MINUTE", "5"), ("TRUSTED_PROXIES", "127.0.0.1")];
        let server = Server::start(pair, &limits);
        let call = |number: usize| {
            let address = format!("2001:db8:{:x}:{:x}::1", number / 65_536, number % 65_536);
            let there = server.anon().with("X-Forwarded-Proto", "https").with("X-Forwarded-For", &address);
            there.with("X-API-Key", &format!("mg_test_{number}")).get(ME).is(401);
            there.with("Authorization", &format!("Bearer {number}")).get(ME).is(401);
        };
        (0..500).for_each(call);
        let before = server.metric("process_resident_memory_bytes");
        (500..2_000).for_each(call);
        let grown = server.metric("process_resident_memory_bytes") - before;
        assert!(grown < 16e6, "{grown} bytes for 1500 addresses");
    }

    fn a_new_signing_key_under_load_refuses_nobody(pair) {
        // As many as log in here at a time: none of them waits for another's hash, however slow the machine.
        let server = Server::start(pair, &[("PASSWORD_HASH_THREADS", "4")]);
        let ada = server.person("ada");
        let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
        let published = || server.anon().get(JWKS).is(200).json()["keys"].as_array().expect("keys").len();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut tokens = vec![ada.tokens.access.clone()];
                    while !over.load(Ordering::Relaxed) {
                        tokens.push(server.try_log_in(&ada.email, &ada.password).is(200).member("access_token"));
                        for token in tokens.iter().rev().take(3).chain([&ada.tokens.access]) {
                            server.user(token).get(ME).is(200);
                            asked.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
            let rotated = server.cli(&["keys", "rotate"], "");
            assert_eq!(rotated.code, Some(0), "{rotated:?}");
            eventually("both keys are published", || (published() == 2).then_some(()));
            server.advance(Duration::from_secs(601));
            let old = signed_by(&ada.tokens.access);
            eventually("the new key signs", || {
                let fresh = server.try_log_in(&ada.email, &ada.password).is(200).member("access_token");
                (signed_by(&fresh) != old).then_some(())
            });
            let so_far = asked.load(Ordering::Relaxed);
            eventually("some more were asked", || (asked.load(Ordering::Relaxed) > so_far + 20).then_some(()));
            over.store(true, Ordering::Relaxed);
        });
        let events = server.world.audit_events();
        let changes = events.iter().filter(|event| event["action"] == "signing_key.changed");
        let changes: Vec<&str> = changes.filter_map(|event| event["detail"]["change"].as_str()).collect();
        assert!(changes.ends_with(&["published", "activated"]), "{changes:?}");
    }

    fn outsiders_learn_nothing_of_the_inside(pair) {
        let server = Server::start(pair, &[("API_DOCS_ENABLED", "false")]);
        let anon = server.anon();
        let health = anon.get("/health").is(200).json();
        let members: BTreeSet<&str> = health.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(members, BTreeSet::from(["model_loaded", "status", "timestamp", "version"]));
        anon.get("/metrics").refused(401, "authentication_required");
        for path in ["/docs", "/docs/", "/openapi.json", "/debug", "/debug/pprof", "/actuator/env", "/env", "/server-status",
            "/.env", "/.git/HEAD", "/config", "/api/v1/admin", "/api/v1/repository", "/swagger-ui", "/data/modelgate.db"] {
            anon.get(path).refused(404, "not_found");
        }
        for reply in [anon.get(ME), anon.get("/nothing"), anon.post("/api/v1/auth/login", &json!([]))] {
            for inside in ["sqlx", "postgres", "sqlite", "redis", "actix", ".rs", "/home", "/tmp"] {
                assert!(!reply.text().to_lowercase().contains(inside), "{inside}: {}", reply.text());
            }
        }
    }

    fn a_fault_tells_its_cause_to_the_log_alone(pair) {
        let server = Server::start(pair, &[]);
        server.expect_faults();
        let ada = server.person("ada");
        server.world.sql("ALTER TABLE sessions RENAME TO elsewhere");
        let credentials = json!({"email": ada.email, "password": ada.password}).to_string();
        let answer = server.raw(
            format!(
                "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{credentials}",
                credentials.len()
            )
            .as_bytes(),
        );
        let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
        assert!(head.starts_with("HTTP/1.1 500 ") && head.contains("application/problem+json"), "{answer}");
        let problem: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(problem["code"], "internal_error");
        for inside in ["sessions", "elsewhere", "relation", "table", "INSERT", "SELECT", "sqlx", ".rs", "ada@"] {
            assert!(!body.contains(inside), "{inside}: {body}");
        }
        let id = problem["request_id"].as_str().expect("an id").to_owned();
        let told = server.wait_for_log("cause", |entry| entry["level"] == "ERROR" && entry["request_id"] == *id);
        assert!(told.to_string().contains("sessions"), "the operator is told: {told}");
        server.world.sql("ALTER TABLE elsewhere RENAME TO sessions");
        server.log_in(&ada.email, &ada.password);
    }
}

/// The key that signed a token.
fn signed_by(token: &str) -> String {
    let header = token.split('.').next().expect("a header");
    let header = data_encoding::BASE64URL_NOPAD.decode(header.as_bytes()).expect("base64url");
    let header: Value = serde_json::from_slice(&header).expect("JSON");
    header["kid"].as_str().expect("a kid").to_owned()
}
