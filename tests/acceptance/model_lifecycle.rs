//! What is served changes while the server runs: on every replica, over restarts, and without a call that fails.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Client, Pair, Reply, Repository, configure, eventually, promise, sample};

const ADMIN: &str = "/api/v1/admin/models";
/// The demo model's.
const SHA256: &str = "98078db761259dfe598a69ddd5ffc38d1c943e9cfb0f433fbcdef62d86cea1e2";

/// Gives a model one more version, a copy of the first.
fn copy_version(model: &Path, version: &str) {
    fs::create_dir(model.join(version)).expect("a folder");
    fs::copy(model.join("1/model.onnx"), model.join(version).join("model.onnx")).expect("a copy");
}

/// A repository with `digits` in the versions 1 and 2, of which the latest is served.
fn two_versions(pair: Pair) -> Repository {
    let repository = Repository::new(pair);
    copy_version(&repository.add("digits"), "2");
    repository
}

/// The version that answers a call which names none.
#[track_caller]
fn version(client: &Client) -> String {
    client.predict(&sample("7-1")).is(200).member("model_version")
}

#[track_caller]
fn change(admin: &Client, what: &str) -> u16 {
    admin.act(&format!("{ADMIN}/digits/{what}")).status
}

#[track_caller]
fn activate(admin: &Client, version: &str) {
    admin.post(&format!("{ADMIN}/digits/activate"), &json!({"version": version})).is(204);
}

/// How the administrator sees `digits`.
#[track_caller]
fn managed(admin: &Client) -> Value {
    let models = admin.get(ADMIN).is(200).items();
    models.into_iter().find(|model| model["name"] == "digits").expect("digits")
}

/// The state of a version in the index, and why.
#[track_caller]
fn index(client: &Client, version: &str) -> Option<(String, String)> {
    let lines = client.act("/v2/repository/index").is(200).json();
    let line = lines.as_array().expect("a list").iter().find(|line| line["version"] == version)?;
    let text = |member: &str| line[member].as_str().expect("a text").to_owned();
    Some((text("state"), text("reason")))
}

promise! {
    fn a_model_follows_a_database_that_went_back(pair) {
        let repository = Repository::new(pair);
        repository.add("digits");
        let (server, client) = repository.start(&[]);
        let becomes = |status: u16| {
            eventually(&format!("it follows: {status}"), || (client.predict(&sample("7-1")).status == status).then_some(()));
        };
        let unload = || assert_eq!(server.cli(&["model", "unload", "digits"], "").code, Some(0));
        unload();
        becomes(503);
        // What a standby has that lacks the last change.
        for lost in [
            "DELETE FROM desired_models",
            "DELETE FROM changes WHERE seq = (SELECT seq FROM change_head)",
            "UPDATE change_head SET seq = seq - 1",
        ] {
            server.world.sql(lost);
        }
        becomes(200);
        unload();
        becomes(503);
    }

    fn a_required_model_is_ready_while_its_versions_change(pair) {
        let repository = two_versions(pair);
        configure(&repository.folder.join("digits"), "required = true");
        let (server, _) = repository.start(&[]);
        let admin = server.admin().api;
        let (done, anon) = (AtomicBool::new(false), server.anon());
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| {
                let mut answers = Vec::new();
                while !done.load(Ordering::SeqCst) {
                    answers.push(anon.get("/health/ready").status);
                }
                answers
            });
            for turn in 0..10 {
                activate(&admin, ["1", "2"][turn % 2]);
            }
            done.store(true, Ordering::SeqCst);
            let answers = asked.join().expect("answers");
            assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
        });
        admin.act(&format!("{ADMIN}/digits/unload")).is(204);
        anon.get("/health/ready").is(503);
    }

    fn versions_are_activated_and_rolled_back(pair) {
        let repository = two_versions(pair);
        let (mut server, client) = repository.start(&[]);
        let admin = server.admin().api;
        assert_eq!(version(&client), "2");
        admin.act(&format!("{ADMIN}/digits/rollback")).refused(409, "no_previous_version");
        activate(&admin, "1");
        assert_eq!(version(&client), "1");
        assert_eq!(client.get("/v2/models/digits").is(200).json()["versions"], json!(["1"]));
        assert_eq!(change(&admin, "rollback"), 204);
        assert_eq!(version(&client), "2");
        assert_eq!(change(&admin, "rollback"), 204);
        assert_eq!(version(&client), "1");
        let seen = managed(&admin);
        assert_eq!((&seen["active_version"], &seen["previous_version"]), (&json!("1"), &json!("2")));
        assert_eq!(seen["versions"][0]["active"], true, "{seen}");
        assert_eq!(seen["versions"][0]["state"], "ready", "{seen}");

        assert_eq!(server.stop(), Some(0));
        let folder = repository.folder.display().to_string();
        let server = repository.world.start(&[("MODEL_DIR", &folder)]);
        let client = server.log_in("ada@example.com", "Correct-horse-battery-9").api;
        assert_eq!(version(&client), "1", "what is wanted outlives a restart");
        let told: Vec<Value> = server.world.audit_events();
        let told = |action: &str| told.iter().filter(|event| event["action"] == action).count();
        assert_eq!((told("model.activated"), told("model.rolled_back")), (1, 2));
    }

    fn a_model_is_unloaded_and_loaded_over_the_protocol(pair) {
        let repository = two_versions(pair);
        let (mut server, client) = repository.start(&[]);
        let admin = server.admin().api;
        assert_eq!(admin.act("/v2/repository/models/digits/unload").is(200).json()["name"], "digits");
        client.predict(&sample("7-1")).refused(503, "model_unavailable");
        let (state, reason) = eventually("unloaded", || {
            index(&client, "2").filter(|(state, _)| state == "UNAVAILABLE")
        });
        assert!(state == "UNAVAILABLE" && reason.contains("unloaded"), "{reason}");
        assert_eq!(managed(&admin)["unloaded"], true);
        assert_eq!(server.stop(), Some(0));

        let folder = repository.folder.display().to_string();
        let server = repository.world.start(&[("MODEL_DIR", &folder)]);
        let client = server.log_in("ada@example.com", "Correct-horse-battery-9").api;
        client.predict(&sample("7-1")).refused(503, "model_unavailable");
        let admin = server.admin_called("other").api;
        admin.post("/v2/repository/models/digits/load", &json!({"parameters": {"unload_dependents": true}})).is(200);
        assert_eq!(version(&client), "2");
        assert_eq!(index(&client, "2"), Some(("READY".to_owned(), String::new())));
    }

    fn what_cannot_be_loaded_changes_nothing(pair) {
        let repository = two_versions(pair);
        let (server, client) = repository.start(&[]);
        let admin = server.admin().api;
        let model = repository.folder.join("digits");
        fs::create_dir(model.join("3")).expect("a folder");
        fs::write(model.join("3/model.onnx"), b"no model at all").expect("a file");
        let wish = |version: &str| admin.post(&format!("{ADMIN}/digits/activate"), &json!({"version": version}));
        let refused = wish("3").refused(409, "model_not_loadable").text();
        assert!(refused.contains("not a valid ONNX file") && !refused.contains("/tmp"), "{refused}");
        assert!(wish("4").refused(409, "model_not_loadable").text().contains("no folder 4/"));
        admin.act(&format!("{ADMIN}/digits/load")).refused(409, "model_not_loadable");
        assert_eq!(admin.act("/v2/repository/models/digits/load").status, 409);
        assert_eq!(version(&client), "2");
        assert_eq!(managed(&admin)["active_version"], Value::Null);
        let events = server.world.audit_events();
        let failed = events.iter().filter(|event| event["outcome"] == "failure" && event["action"] == "model.activated");
        assert_eq!(failed.count(), 2);
    }

    fn versions_are_counted_whatever_becomes_of_the_active_one(pair) {
        let repository = two_versions(pair);
        let model = repository.folder.join("digits");
        let manifest = fs::read_to_string(model.join("model.toml")).expect("model.toml");
        fs::write(model.join("model.toml"), manifest.replace("\"latest\"", "\"all\"")).expect("model.toml");
        let (mut server, _) = repository.start(&[]);
        copy_version(&model, "3");
        activate(&server.admin().api, "3");
        assert_eq!(server.stop(), Some(0));
        fs::write(model.join("3/model.onnx"), b"no model at all").expect("a file");

        let folder = repository.folder.display().to_string();
        let server = repository.world.start(&[("MODEL_DIR", &folder)]);
        let client = server.log_in("ada@example.com", "Correct-horse-battery-9").api;
        client.predict(&sample("7-1")).refused(503, "model_unavailable");
        for path in ["/v2/models/stats", "/v2/models/digits/stats"] {
            let counted = client.get(path).is(200).json();
            let versions = counted["model_stats"].as_array().expect("a list").iter().map(|stats| &stats["version"]);
            assert_eq!(versions.collect::<Vec<_>>(), ["1", "2"], "{path}");
        }
        client.get("/v2/models/digits/versions/2/stats").is(200);
        assert_eq!(client.get("/v2/models/digits/versions/3/stats").status, 503);
        assert_eq!(client.get("/v2/models/digits/versions/4/stats").status, 404);
        assert_eq!(client.get("/v2/models/nothing/stats").status, 404);
    }

    fn a_load_brings_nothing_along_and_leaves_the_repository_for_nothing(pair) {
        let repository = two_versions(pair);
        let (server, client) = repository.start(&[]);
        let admin = server.admin().api;
        let load = "/v2/repository/models/digits/load";
        for name in ["config", "file:1/model.onnx", "file:../../etc/passwd"] {
            let told = admin.post(load, &json!({"parameters": {name: "e30="}})).is(400).text();
            assert!(told.contains("repository"), "{told}");
        }
        admin.send("POST", load, Some("application/json"), b"{\"parameters\": 3}").is(400);
        admin.send("POST", load, Some("application/json"), &vec![b' '; 100_000]).is(413);
        for name in ["..", "%2e%2e", "..%2f..%2fetc", "digits%2f1", ".hidden", "nothing", "%00"] {
            let reply = admin.act(&format!("/v2/repository/models/{name}/load"));
            assert!(matches!(reply.status, 400 | 404), "{name}: {}", reply.text());
            let reply = admin.act(&format!("{ADMIN}/{name}/unload"));
            assert!(matches!(reply.status, 400 | 404), "{name}: {}", reply.text());
        }
        for version in ["../1", "..", "1/", "/etc", "a\nb", ""] {
            let reply = admin.post(&format!("{ADMIN}/digits/activate"), &json!({"version": version}));
            assert!(matches!(reply.status, 400 | 409), "{version}: {}", reply.text());
        }
        for path in [load, "/v2/repository/models/digits/unload"] {
            client.act(path).is(403);
        }
        client.act(&format!("{ADMIN}/digits/unload")).refused(403, "insufficient_permissions");
        assert_eq!(version(&client), "2");
    }

    fn the_command_line_changes_what_a_running_server_serves(pair) {
        let repository = two_versions(pair);
        let (server, client) = repository.start(&[]);
        let run = |arguments: &[&str], code: i32| {
            let finished = server.cli(&[&["model"], arguments].concat(), "");
            assert_eq!(finished.code, Some(code), "{finished:?}");
        };
        let follows = |wanted: &str| eventually(wanted, || (version(&client) == wanted).then_some(()));
        run(&["activate", "digits", "1"], 0);
        follows("1");
        run(&["rollback", "digits"], 0);
        follows("2");
        run(&["activate", "digits", "9"], 1);
        run(&["load", "nothing"], 1);
        run(&["unload", "digits"], 0);
        eventually("unloaded", || (client.predict(&sample("7-1")).status == 503).then_some(()));
        run(&["load", "digits"], 0);
        eventually("loaded", || (client.predict(&sample("7-1")).status == 200).then_some(()));
        assert_eq!(version(&client), "2");
    }

    fn what_many_ask_at_once_ends_in_what_is_asked_last(pair) {
        let repository = two_versions(pair);
        let model = repository.folder.join("digits");
        let free = ["GUARD_PER_SECOND", "RATE_LIMIT_PER_MINUTE", "RATE_LIMIT_INFER_PER_MINUTE", "RATE_LIMIT_PER_HOUR"].map(|name| (name, "0"));
        let (server, client) = repository.start(&[&free[..], &[("MODEL_POLL_SECONDS", "1")]].concat());
        let admin = server.admin().api;
        let content = fs::read(model.join("1/model.onnx")).expect("the model");
        let act = |number: usize, round: usize| match (number + round) % 6 {
            0 => ("load", admin.act(&format!("{ADMIN}/digits/load"))),
            1 => ("unload", admin.act(&format!("{ADMIN}/digits/unload"))),
            2 => ("rollback", admin.act(&format!("{ADMIN}/digits/rollback"))),
            3 => ("upload", admin.send("PUT", &format!("{ADMIN}/digits/versions/{}?sha256={SHA256}", 3 + round % 3), Some("application/octet-stream"), &content)),
            _ => ("activate", admin.post(&format!("{ADMIN}/digits/activate"), &json!({"version": (1 + (number + round) % 5).to_string()}))),
        };
        let done = std::thread::scope(|scope| {
            let acts = (0..4).map(|number| scope.spawn(move || (0..12).map(|round| act(number, round)).collect::<Vec<_>>()));
            let acts: Vec<_> = acts.collect();
            for round in 0..12 {
                // What lies there changes meanwhile: half a file, a link, a model.toml that is none.
                let hostile = model.join("9");
                fs::create_dir_all(&hostile).expect("a folder");
                fs::write(hostile.join("model.onnx"), &content[..content.len() * (round % 3) / 2]).expect("a file");
                let status = client.predict(&sample("7-1")).status;
                assert!(matches!(status, 200 | 503), "a call was answered {status}");
                fs::remove_dir_all(&hostile).expect("no folder");
            }
            acts.into_iter().flat_map(|acts| acts.join().expect("a thread")).collect::<Vec<_>>()
        });
        for (what, reply) in &done {
            assert!(matches!(reply.status, 200 | 201 | 204 | 404 | 409), "{what}: {} {}", reply.status, reply.text());
        }
        assert!(done.iter().filter(|(_, reply)| reply.status < 300).count() > 12);
        // Of two that contradict each other the later one holds, from the moment on that both are answered.
        for _ in 0..6 {
            let both = ["load", "unload"];
            std::thread::scope(|scope| both.iter().for_each(|what| drop(scope.spawn(|| change(&admin, what)))));
            let (unloaded, status) = (managed(&admin)["unloaded"] == true, client.predict(&sample("7-1")).status);
            assert_eq!(status, if unloaded { 503 } else { 200 }, "{}", managed(&admin));
        }
        admin.act(&format!("{ADMIN}/digits/load")).is(204);
        for wanted in ["2", "1"] {
            activate(&admin, wanted);
            assert_eq!(version(&client), wanted);
        }
        let seen = managed(&admin);
        assert_eq!((&seen["active_version"], &seen["unloaded"]), (&json!("1"), &json!(false)), "{seen}");
        assert!(!repository.folder.join(".incoming").exists() || fs::read_dir(repository.folder.join(".incoming")).expect("a folder").next().is_none());
        // Each change is told once as what it was: made, or refused because the version does not load.
        let events = server.world.audit_events();
        for (action, what, more) in [("model.activated", "activate", 2), ("model.rolled_back", "rollback", 0)] {
            let told = |outcome| events.iter().filter(|event| event["action"] == action && event["outcome"] == outcome).count();
            let answered = |is: fn(&Reply) -> bool| done.iter().filter(|(name, reply)| *name == what && is(reply)).count();
            assert_eq!(told("success"), answered(|reply| reply.status == 204) + more, "{action}");
            assert_eq!(told("failure"), answered(|reply| reply.text().contains("model_not_loadable")), "{action}");
        }
    }

    fn no_call_fails_while_versions_come_and_go(pair) {
        let repository = two_versions(pair);
        configure(&repository.folder.join("digits"), "description = \"busy\"");
        let (server, client) = repository.start(&[]);
        let admin = server.admin().api;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let calls: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let (mut calls, until) = (0, Instant::now() + Duration::from_secs(60));
                        while !stop.load(Ordering::SeqCst) && Instant::now() < until {
                            version(&client);
                            calls += 1;
                        }
                        calls
                    })
                })
                .collect();
            for round in 0..8 {
                activate(&admin, if round % 2 == 0 { "1" } else { "2" });
                assert_eq!(change(&admin, "load"), 204);
                assert_eq!(change(&admin, "rollback"), 204);
            }
            stop.store(true, Ordering::SeqCst);
            let calls: i32 = calls.into_iter().map(|thread| thread.join().expect("no call failed")).sum();
            assert!(calls > 20, "{calls} calls");
        });
    }
}

#[test]
fn what_is_changed_on_one_replica_is_changed_on_all() {
    let repository = two_versions(Pair::Shared);
    let (first, client) = repository.start(&[]);
    let folder = repository.folder.display().to_string();
    let second = repository.world.start(&[("MODEL_DIR", &folder)]);
    let there = second.log_in("ada@example.com", "Correct-horse-battery-9").api;
    let admin = first.admin().api;
    let follows = |wanted: &str| {
        assert_eq!(version(&client), wanted);
        eventually(wanted, || (version(&there) == wanted).then_some(()));
    };
    activate(&admin, "1");
    follows("1");
    assert_eq!(change(&admin, "rollback"), 204);
    follows("2");
    assert_eq!(change(&admin, "unload"), 204);
    eventually("unloaded there", || (there.predict(&sample("7-1")).status == 503).then_some(()));
    assert_eq!(change(&admin, "load"), 204);
    eventually("loaded there", || (there.predict(&sample("7-1")).status == 200).then_some(()));
    follows("2");
}
