//! Operators close and open the service: over HTTP, on the command line, on every replica, and never without a way
//! back.

use std::time::{Duration, Instant};

use serde_json::json;
use tonic::Code;

use crate::harness::grpc::{digits, refused};
use crate::harness::{Pair, Person, Reply, Server, World, eventually, promise, sample};

const MAINTENANCE: &str = "/api/v1/admin/maintenance";
const INFER: &str = "/v2/models/digits/infer";

#[track_caller]
fn set(person: &Person, mode: &str) -> Reply {
    person.api.put(MAINTENANCE, &json!({"mode": mode}))
}

#[track_caller]
fn cli(server: &Server, arguments: &[&str]) -> String {
    let finished = server.cli(&[&["maintenance"], arguments].concat(), "");
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished.stdout
}

#[track_caller]
fn within_two_seconds(what: &str, ask: impl Fn() -> bool) {
    let start = Instant::now();
    while !ask() {
        assert!(start.elapsed() < Duration::from_secs(2), "{what}: not within two seconds");
        std::thread::sleep(Duration::from_millis(25));
    }
}

promise! {
    fn the_mode_is_that_of_a_database_that_went_back(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        cli(&server, &["on"]);
        eventually("it is closed", || (ada.api.predict(&sample("1-1")).status == 503).then_some(()));
        // What a standby has that lacks the last change.
        for lost in [
            "DELETE FROM settings WHERE key = 'operation'",
            "DELETE FROM changes WHERE seq = (SELECT seq FROM change_head)",
            "UPDATE change_head SET seq = seq - 1",
        ] {
            server.world.sql(lost);
        }
        server.world.flush_redis();
        eventually("it is open", || (ada.api.predict(&sample("1-1")).status == 200).then_some(()));
    }

    fn while_it_is_maintained_only_those_who_run_it_get_in(pair) {
        let contact = ("SECURITY_CONTACT", "mailto:security@example.com");
        let server = Server::start(pair, &[("GRPC_PORT", "0"), contact]);
        let (admin, ada) = (server.admin(), server.person("ada"));
        let key = ada.make_key(&["models:read", "models:infer"]);
        let tensor = json!({"inputs": [{"name": "x", "shape": [1, 64], "datatype": "FP32", "data": vec![0.0; 64]}]});
        ada.api.predict(&sample("1-1")).is(200);
        set(&ada, "off").refused(403, "insufficient_permissions");

        let words = json!({"mode": "maintenance", "message": "New disks until noon.", "retry_after": 120});
        let set_to = admin.api.put(MAINTENANCE, &words).is(200).json();
        assert_eq!((&set_to["mode"], &set_to["retry_after"]), (&json!("maintenance"), &json!(120)));
        assert_eq!(admin.api.get(MAINTENANCE).is(200).json(), set_to);
        // From the very next request on, whichever way it comes.
        let predicted = ada.api.predict(&sample("1-1")).refused(503, "maintenance");
        assert_eq!(predicted.number("retry-after"), 120);
        assert_eq!(predicted.member("detail"), "New disks until noon.");
        let inferred = server.key(&key).post(INFER, &tensor).is(503);
        assert_eq!(inferred.json()["error"], "New disks until noon.");
        let called = server.grpc_key(&key).infer(digits(&[0.0; 64]));
        assert_eq!(refused(called, Code::Unavailable, "maintenance"), "New disks until noon.");
        ada.api.get("/api/v1/me").refused(503, "maintenance");
        server.refresh(&ada.tokens.refresh).refused(503, "maintenance");
        server.try_log_in(&ada.email, &ada.password).refused(503, "maintenance");
        server.try_log_in(&ada.email, "Another-horse-9").refused(401, "invalid_credentials");
        let forgotten = json!({"email": ada.email});
        server.anon().post("/api/v1/auth/password/forgot", &forgotten).refused(503, "maintenance");
        // A leaked key can be ended, a hole reported, and probes are answered, also by those who may do everything.
        server.anon().get("/.well-known/security.txt").is(200);
        for health in ["/health", "/health/live", "/health/ready", "/v2/health/ready", "/.well-known/jwks.json"] {
            server.anon().get(health).is(200);
        }
        assert_eq!(server.anon().get("/health/ready").member("mode"), "maintenance");
        let form = format!("token={key}");
        let kind = Some("application/x-www-form-urlencoded");
        server.anon().send("POST", "/api/v1/auth/revoke", kind, form.as_bytes()).is(200);
        admin.api.predict(&sample("1-1")).is(200);
        server.log_in(&admin.email, &admin.password);
        server.refresh(&admin.tokens.refresh).is(200);

        // Draining refuses nobody; only readiness says so.
        set(&admin, "draining").is(200);
        ada.api.predict(&sample("1-1")).is(200);
        let ready = server.anon().get("/health/ready").is(503).json();
        assert_eq!((&ready["status"], &ready["mode"]), (&json!("unavailable"), &json!("draining")));
        assert_eq!(server.anon().get("/health").is(200).member("mode"), "draining");
        server.anon().get("/health/live").is(200);
        assert!(cli(&server, &["status"]).starts_with("draining\n"));

        // The command line reaches a server that runs, and what it set outlives it.
        cli(&server, &["on", "--message", "Back soon."]);
        within_two_seconds("closed", || ada.api.get("/api/v1/me").status == 503);
        assert_eq!(ada.api.get("/api/v1/me").member("detail"), "Back soon.");
        let world = server.world.clone();
        drop(server);
        let server = world.start(&[("GRPC_PORT", "0")]);
        server.user(&ada.tokens.access).get("/api/v1/me").refused(503, "maintenance");
        cli(&server, &["off"]);
        within_two_seconds("open", || server.user(&ada.tokens.access).get("/api/v1/me").status == 200);
        for wrong in [
            json!({"mode": "maintenance", "retry_after": 0}),
            json!({"mode": "maintenance", "retry_after": 86_401}),
        ] {
            server.user(&admin.tokens.access).put(MAINTENANCE, &wrong).invalid(&["retry_after"]);
        }
        for message in ["", "a\nb", &"x".repeat(501)] {
            let wrong = json!({"mode": "off", "message": message});
            server.user(&admin.tokens.access).put(MAINTENANCE, &wrong).invalid(&["message"]);
        }
    }

    fn an_emergency_stop_ends_everything_and_there_is_a_way_back(pair) {
        let server = Server::start(pair, &[("GRPC_PORT", "0")]);
        let (admin, ada) = (server.admin(), server.person("ada"));
        let (key, master) = (ada.make_key(&["models:infer"]), admin.make_key(&["system:manage"]));
        server.grpc_key(&key).infer(digits(&[0.0; 64])).expect("an answer");
        server.key(&master).get(MAINTENANCE).is(200);

        set(&admin, "emergency_stop").is(200);
        // Every session, of the one who did it too, and every key, whatever it may do.
        for gone in [&admin, &ada] {
            gone.api.get("/api/v1/me").refused(401, "invalid_token");
        }
        server.refresh(&admin.tokens.refresh).refused(401, "invalid_token");
        server.refresh(&ada.tokens.refresh).refused(503, "emergency_stop");
        server.key(&key).predict(&sample("1-1")).refused(503, "emergency_stop");
        server.key(&master).get(MAINTENANCE).refused(503, "emergency_stop");
        server.key(&master).get("/metrics").refused(503, "emergency_stop");
        refused(server.grpc_key(&key).infer(digits(&[0.0; 64])), Code::Unavailable, "emergency_stop");
        server.try_log_in(&ada.email, &ada.password).refused(503, "emergency_stop");
        assert_eq!(server.anon().get("/health/ready").is(200).member("mode"), "emergency_stop");
        assert!(server.metric("security_events_total") > 0.0, "its own token still reads the metrics");

        // The way back: somebody with a password and system:manage, or the command line.
        let back = server.log_in(&admin.email, &admin.password);
        back.api.predict(&sample("1-1")).is(200);
        // An incident that closes the service opens nothing that was stopped.
        let opened = server.cli(&["incident", "open", "system_compromise"], "");
        let timeline = format!("/api/v1/admin/incidents/{}/timeline", opened.stdout.trim());
        let answer = eventually("the answer", || {
            let entries = back.api.get(&timeline).is(200).items();
            entries.into_iter().find(|entry| entry["kind"] == "answer" && entry["detail"]["answer"] == "maintenance")
        });
        assert_eq!(answer["detail"]["skipped"], "the service is closed already");
        assert_eq!(back.api.get(MAINTENANCE).is(200).member("mode"), "emergency_stop");
        let undo = timeline.replace("timeline", &format!("answers/{}", answer["id"].as_str().expect("an id")));
        back.api.delete(&undo).refused(409, "nothing_to_undo");
        server.key(&master).get(MAINTENANCE).refused(503, "emergency_stop");
        set(&back, "off").is(200);
        back.api.get("/api/v1/me").is(200);
        server.key(&key).predict(&sample("1-1")).is(200);
        ada.api.get("/api/v1/me").refused(401, "invalid_token");
        let ada = server.log_in(&ada.email, &ada.password);
        cli(&server, &["stop"]);
        within_two_seconds("stopped", || server.key(&key).get("/api/v1/models").status == 503);
        ada.api.get("/api/v1/me").refused(401, "invalid_token");
        cli(&server, &["off"]);
        within_two_seconds("open", || server.key(&key).predict(&sample("1-1")).status == 200);
        server.refresh(&ada.tokens.refresh).refused(401, "invalid_token");
    }
}

#[test]
fn every_replica_closes_and_opens_within_two_seconds() {
    let world = World::new(Pair::Shared);
    let (first, second) = (world.start(&[]), world.start(&[]));
    let (admin, ada) = (first.admin(), first.person("ada"));
    let there = second.user(&ada.tokens.access);
    there.get("/api/v1/me").is(200);
    set(&admin, "maintenance").is(200);
    within_two_seconds("closed there", || there.get("/api/v1/me").status == 503);
    set(&admin, "draining").is(200);
    within_two_seconds("draining there", || second.anon().get("/health/ready").status == 503);
    there.get("/api/v1/me").is(200);
    set(&admin, "emergency_stop").is(200);
    // What Redis tells needs no second.
    there.get("/api/v1/me").refused(401, "invalid_token");
    within_two_seconds("stopped there", || second.try_log_in(&ada.email, &ada.password).status == 503);
}
