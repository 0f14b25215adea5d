//! Untrusted models, and files that change: neither reaches the server's process, and both are reported.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::onnx_file::{
    Dimension, FLOAT, bytes, external, graph, identity, model, node, number, value,
};
use crate::harness::{
    Client, Pair, Repository, Server, StoreProxy, eventually, promise, sample, sha256, workspace,
};

const ADMIN: &str = "/api/v1/admin/models";

/// A node with its domain.
fn of(domain: &str, node: Vec<u8>) -> Vec<u8> {
    [node, bytes(7, domain)].concat()
}

/// `y = operator(x)` over a vector.
fn one_node(node: Vec<u8>, constants: &[Vec<u8>]) -> Vec<u8> {
    let vector = |name| value(name, FLOAT, &[Dimension::Fixed(2)]);
    model(&graph(&[node], constants, &[vector("x")], &[vector("y")]))
}

/// Functions, each of which calls the next one twice: a file of few bytes that becomes more nodes than there is time.
fn nested_functions() -> Vec<u8> {
    const LEVELS: usize = 40;
    let call =
        |level: usize, from: &str, to: &str| of("bomb", node(&format!("f{level}"), &[from], &[to], &[]));
    let functions = (0..LEVELS).map(|level| {
        let body = if level + 1 == LEVELS {
            bytes(7, node("Identity", &["a"], &["b"], &[]))
        } else {
            [bytes(7, call(level + 1, "a", "m")), bytes(7, call(level + 1, "m", "b"))].concat()
        };
        let sets = [bytes(9, number(2, 17)), bytes(9, [bytes(1, "bomb"), number(2, 1)].concat())].concat();
        let names = [bytes(1, format!("f{level}")), bytes(4, "a"), bytes(5, "b"), bytes(10, "bomb")].concat();
        bytes(25, [names, body, sets].concat())
    });
    let functions: Vec<u8> = functions.flatten().collect();
    let set = bytes(8, [bytes(1, "bomb"), number(2, 1)].concat());
    [one_node(call(0, "x", "y"), &[]), set, functions].concat()
}

/// Puts a bare file into the repository.
fn put(repository: &Repository, name: &str, content: &[u8]) {
    let folder = repository.folder.join(name).join("1");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("model.onnx"), content).expect("a file");
}

fn status(admin: &Client, name: &str) -> Value {
    let models = admin.get(ADMIN).is(200).items();
    models.into_iter().find(|model| model["name"] == name).unwrap_or_else(|| panic!("{name} is not listed"))
}

/// Bytes of the server in memory, as it tells itself.
fn resident(server: &Server) -> f64 {
    server.metric("process_resident_memory_bytes")
}

#[track_caller]
fn works(client: &Client) {
    client.predict(&sample("7-1")).is(200);
}

/// Appends to a file, which changes what it is and not what it does: an unknown field of the format.
fn change(file: &Path) {
    let content = fs::read(file).expect("a file");
    fs::write(file, [content, bytes(3, "another")].concat()).expect("a file");
}

/// A library of operators, compiled from tests/operators/twice.c.
fn library(folder: &Path, name: &str, options: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC"]).args(options).arg("-o").arg(&path);
    let made = compiler.arg(workspace().join("tests/operators/twice.c")).status().expect("a C compiler");
    assert!(made.success(), "{made}");
    path
}

#[test]
fn a_library_of_operators_is_loaded_only_where_the_settings_name_its_file() {
    let repository = Repository::new(Pair::Embedded);
    let folder = repository.world.folder();
    let (twice, empty) = (library(&folder, "twice.so", &[]), library(&folder, "empty.so", &["-DNOTHING"]));
    let set = bytes(8, [bytes(1, "test.ops"), number(2, 1)].concat());
    let double = of("test.ops", node("Twice", &["x"], &["y"], &[]));
    let unknown = of("test.ops", node("Thrice", &["x"], &["y"], &[]));
    let [doubled, tripled] = [double, unknown].map(|node| [one_node(node, &[]), set.clone()].concat());
    for (name, content, asks) in [
        ("twice", &doubled, "custom_operators = [\"twice.so\"]"),
        ("silent", &doubled, ""),
        ("other", &doubled, "custom_operators = [\"twice.so\", \"other.so\"]"),
        ("path", &doubled, "custom_operators = [\"/lib/twice.so\"]"),
        ("changed", &doubled, "custom_operators = [\"changed.so\"]"),
        ("empty", &doubled, "custom_operators = [\"empty.so\"]"),
        ("lacking", &tripled, "custom_operators = [\"twice.so\"]"),
    ] {
        put(&repository, name, content);
        fs::write(repository.folder.join(name).join("model.toml"), asks).expect("a file");
    }
    let digest = sha256(&fs::read(&twice).expect("a library"));
    let changed = library(&folder, "changed.so", &[]);
    let allowed =
        format!("{}={digest},{}={},{}", twice.display(), changed.display(), "0".repeat(64), empty.display());
    let (server, client) = repository.start(&[("CUSTOM_OPERATORS", &allowed)]);
    let admin = server.admin().api;
    let input = json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1.5, -2.0]}]});
    let doubles = |name: &str| {
        let answer = client.post(&format!("/v2/models/{name}/infer"), &input).is(200).json();
        assert_eq!(answer["outputs"][0]["data"], json!([3.0, -4.0]));
    };
    doubles("twice");
    for (name, told) in [
        ("silent", "names no library of operators"),
        ("other", "which CUSTOM_OPERATORS does not allow"),
        ("changed", "is not the file that CUSTOM_OPERATORS allows"),
        ("empty", "ONNX Runtime refused"),
        ("lacking", ""),
        ("path", "names of files"),
    ] {
        let seen = status(&admin, name).to_string();
        assert!(seen.contains("unavailable") && seen.contains(told), "{name}: {seen}");
        assert!(!seen.contains(&folder.display().to_string()), "{name} tells a path: {seen}");
        // Of one whose model.toml cannot be read nobody knows who may see it.
        let expected = if name == "path" { 404 } else { 503 };
        client.post(&format!("/v2/models/{name}/infer"), &input).is(expected);
    }
    // An upload gets what the model's folder asks for, and asks for nothing itself.
    let upload = |name: &str| {
        let path = format!("{ADMIN}/{name}/versions/2?sha256={}", sha256(&doubled));
        admin.send("PUT", &path, Some("application/octet-stream"), &doubled)
    };
    upload("twice").is(201);
    let refused = upload("fresh").refused(400, "invalid_model").text();
    assert!(refused.contains("test.ops"), "{refused}");
    // Another file in its place: what was loaded goes on, and nothing of the new one is run.
    fs::remove_file(&twice).and_then(|()| fs::copy(&empty, &twice).map(drop)).expect("a file");
    let refused = admin.act(&format!("{ADMIN}/twice/load")).refused(409, "model_not_loadable").text();
    assert!(refused.contains("is not the file"), "{refused}");
    doubles("twice");

    let two = format!("{},/elsewhere/empty.so", empty.display());
    for (wrong, told) in
        [("twice.so", "absolute"), ("/opt/twice.so=12", "64 hexadecimal"), (&two, "two files")]
    {
        let refused = repository.world.run(&["serve"], &[("CUSTOM_OPERATORS", wrong)], "");
        let stderr = &refused.stderr;
        assert!(
            refused.code == Some(1) && stderr.contains("CUSTOM_OPERATORS") && stderr.contains(told),
            "{refused:?}"
        );
    }
}

#[test]
fn a_file_that_changes_while_the_database_is_away_is_told_once_it_is_back() {
    let repository = Repository::new(Pair::Shared);
    let digits = repository.add("digits");
    let (proxy, url) = StoreProxy::in_front_of(repository.world.database_url().expect("Postgres"));
    let settings = [("DATABASE_URL", url.as_str()), ("MODEL_VERIFY_INTERVAL_SECONDS", "600")];
    let (server, client) = repository.start(&settings);
    let remembered = || server.world.sql("SELECT count(*) FROM model_files").trim().to_owned();
    eventually("remembered", || (remembered() == "1").then_some(()));
    proxy.shut();
    change(&digits.join("1/model.onnx"));
    server.advance(Duration::from_secs(601));
    server.wait_for_log("found", |line| {
        line["message"].as_str().is_some_and(|text| text.starts_with("a file of a model"))
    });
    proxy.open();
    eventually("told", || {
        server.world.audit_events().into_iter().find(|event| event["action"] == "model.file_changed")
    });
    works(&client);
}

promise! {
    fn what_is_hostile_is_refused_with_a_reason_and_harms_nobody(pair) {
        let repository = Repository::new(pair);
        repository.add("digits");
        let outside = external("w", 2, "../../../../../etc/passwd");
        let huge = [number(1, 1 << 40), number(2, FLOAT), bytes(8, "w")].concat();
        let add = || node("Add", &["x", "w"], &["y"], &[]);
        for (name, content) in [
            ("functions", nested_functions()),
            ("outside", one_node(add(), &[outside])),
            ("absolute", one_node(add(), &[external("w", 2, "/etc/passwd")])),
            ("huge", one_node(add(), &[huge])),
            ("library", one_node(of("com.example.evil", add()), &[])),
            ("garbage", vec![0xff; 4096]),
            ("length", vec![0x3a, 0xff, 0xff, 0xff, 0xff, 0x7f]),
            ("cut", identity(FLOAT)[..40].to_vec()),
        ] {
            put(&repository, name, &content);
        }
        let own = repository.world.folder().join("trials").display().to_string();
        let (server, client) = repository.start(&[("MODEL_TRIAL_SECONDS", "3"), ("MODEL_TRIAL_DIR", &own)]);
        let admin = server.admin().api;
        for (name, told) in [
            ("functions", "did not finish"),
            ("outside", "not a file in the version's folder"),
            ("absolute", "not a file in the version's folder"),
            ("huge", ""),
            ("library", "com.example.evil"),
            ("garbage", "not a valid ONNX file"),
            ("length", "not a valid ONNX file"),
            ("cut", "not a valid ONNX file"),
        ] {
            let seen = status(&admin, name);
            let (state, reason) = (&seen["versions"][0]["state"], seen["versions"][0]["reason"].to_string());
            assert!(*state == "unavailable" && reason.contains(told), "{name}: {seen}");
            assert!(!reason.contains("/tmp"), "{name} tells a path: {reason}");
        }
        works(&client);
        assert!(resident(&server) < f64::from(1 << 30), "{} bytes", resident(&server));
        assert_eq!(admin.act(&format!("{ADMIN}/functions/load")).status, 409);
    }

    fn a_model_is_tried_once_and_again_when_it_changes(pair) {
        let repository = Repository::new(pair);
        repository.add("digits");
        let own = repository.world.folder().join("trials");
        let marks = || fs::read_dir(&own).map_or(0, Iterator::count);
        let settings = [("MODEL_TRIAL_DIR", own.to_str().expect("a path")), ("LOG_LEVEL", "debug")];
        let folder = repository.folder.display().to_string();
        let start = || repository.world.start(&[&[("MODEL_DIR", folder.as_str())], &settings[..]].concat());
        let tried = |server: &Server| server.log().matches("a model was tried").count();
        for round in 0..2 {
            let mut server = start();
            assert_eq!((tried(&server), marks()), (usize::from(round == 0), 1));
            assert_eq!(server.stop(), Some(0));
        }
        put(&repository, "other", &identity(FLOAT));
        put(&repository, "same", &identity(FLOAT));
        let server = start();
        assert!((1..=2).contains(&tried(&server)), "{}", tried(&server));
        assert_eq!(marks(), 2);
    }

    fn a_file_that_changes_is_told_and_not_loaded(pair) {
        let repository = Repository::new(pair);
        let digits = repository.add("digits");
        fs::create_dir(digits.join("2")).expect("a folder");
        fs::copy(digits.join("1/model.onnx"), digits.join("2/model.onnx")).expect("a copy");
        let (mut server, client) = repository.start(&[("MODEL_VERIFY_INTERVAL_SECONDS", "600")]);
        let admin = server.admin().api;
        let remembered = || server.world.sql("SELECT count(*) FROM model_files").trim().to_owned();
        eventually("remembered", || (remembered() == "1").then_some(()));

        change(&digits.join("2/model.onnx"));
        server.advance(Duration::from_secs(601));
        let told = || {
            let events = server.world.audit_events();
            events.into_iter().find(|event| event["action"] == "model.file_changed")
        };
        let event = eventually("told", told);
        assert_eq!((&event["detail"]["model"], &event["detail"]["version"]), (&json!("digits"), &json!("2")));
        assert_eq!(event["outcome"], "failure");
        eventually("counted", || (server.metric("security_events_total{event_type=\"model.file_changed\"}") >= 1.0).then_some(()));
        assert!(status(&admin, "digits")["setback"].as_str().is_some_and(|text| text.contains("changed on disk")));
        works(&client);
        let refused = admin.act(&format!("{ADMIN}/digits/load")).refused(409, "model_not_loadable").text();
        assert!(refused.contains("served first"), "{refused}");
        works(&client);
        server.advance(Duration::from_secs(601));

        assert_eq!(server.stop(), Some(0));
        let folder = repository.folder.display().to_string();
        let server = repository.world.start(&[("MODEL_DIR", &folder)]);
        let client = server.log_in("ada@example.com", "Correct-horse-battery-9").api;
        client.predict(&sample("7-1")).refused(503, "model_unavailable");
        let admin = server.admin_called("other").api;
        client.act(&format!("{ADMIN}/digits/load?accept_changes=true")).is(403);
        admin.act(&format!("{ADMIN}/digits/load?accept_changes=true")).is(204);
        works(&client);
        admin.act(&format!("{ADMIN}/digits/load")).is(204);
        let told = server.world.audit_events();
        assert_eq!(told.iter().filter(|event| event["action"] == "model.file_changed").count(), 1, "told once");
    }

    fn a_file_that_changes_right_after_it_was_loaded_is_noticed(pair) {
        let repository = Repository::new(pair);
        let (server, _) = repository.start(&[]);
        let admin = server.admin().api;
        put(&repository, "same", &identity(FLOAT));
        admin.act(&format!("{ADMIN}/same/load")).is(204);
        for _ in 0..2 {
            change(&repository.folder.join("same/1/model.onnx"));
            admin.act(&format!("{ADMIN}/same/load")).refused(409, "model_not_loadable");
            admin.act(&format!("{ADMIN}/same/load?accept_changes=true")).is(204);
        }
    }

    fn the_command_line_says_what_a_file_is(pair) {
        let repository = Repository::new(pair);
        let digits = repository.add("digits").join("1/model.onnx").display().to_string();
        let told = repository.world.run(&["model", "inspect", &digits], &[], "");
        assert_eq!(told.code, Some(0), "{told:?}");
        for part in ["ai.onnx version", "[-1, 64]", "probabilities FP32 [-1, 10]", "loads       yes"] {
            assert!(told.stdout.contains(part), "{part} is not in {told:?}");
        }
        put(&repository, "bad", &one_node(of("com.example\x1b[31m", node("Evil", &["x"], &["y"], &[])), &[]));
        let bad = repository.folder.join("bad/1/model.onnx").display().to_string();
        let told = repository.world.run(&["model", "inspect", &bad], &[], "");
        assert!(told.code == Some(1) && told.stdout.contains("loads       no: it needs the operator"), "{told:?}");
        assert!(!told.stdout.contains('\x1b'), "a name in a file must not steer a terminal");
    }
}
