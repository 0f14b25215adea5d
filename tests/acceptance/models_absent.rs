//! What is missing or broken among the models never stops the server: it says so and answers 503.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Client, Pair, Repository, Server, configure, promise, sample, workspace};

/// The model's line of the index, of `/api/v1/models` and what its calls give.
#[track_caller]
fn unavailable(client: &Client, name: &str, reason: &str) {
    let index = client.act("/v2/repository/index").is(200).json();
    let line = index.as_array().expect("a list").iter().find(|line| line["name"] == name).cloned();
    let line = line.unwrap_or_else(|| panic!("{name} is not in {index}"));
    assert_eq!(line["state"], "UNAVAILABLE", "{line}");
    assert!(line["reason"].as_str().is_some_and(|text| text.contains(reason)), "{reason:?} is not in {line}");
    assert!(!line["reason"].to_string().contains("/tmp"), "a path is told: {line}");
    let listed = client.get("/api/v1/models").is(200).items();
    assert!(
        listed.iter().any(|model| model["name"] == name && model["state"] == "unavailable"),
        "{listed:?}"
    );

    let predict = format!("/api/v1/models/{name}/predict");
    client.send("POST", &predict, Some("image/png"), &sample("7-1")).refused(503, "model_unavailable");
    let input = json!({"name": "x", "datatype": "FP32", "shape": [1, 64], "data": vec![0; 64]});
    client.post(&format!("/v2/models/{name}/infer"), &json!({"inputs": [input]})).is(503);
    client.get(&format!("/v2/models/{name}")).is(503);
    assert_eq!(client.get(&format!("/v2/models/{name}/ready")).is(503).json()["ready"], false);
}

#[track_caller]
fn works(client: &Client, name: &str) {
    let predict = format!("/api/v1/models/{name}/predict");
    let answer = client.send("POST", &predict, Some("image/png"), &sample("7-1")).is(200).json();
    assert_eq!(answer["results"][0]["predictions"][0]["label"], "7", "{answer}");
}

#[track_caller]
fn health(server: &Server, loaded: bool) -> Value {
    let health = server.anon().get("/health").is(200).json();
    assert_eq!(health["model_loaded"], loaded, "{health}");
    health
}

promise! {
    fn without_the_runtime_the_server_starts_and_says_so(pair) {
        let repository = Repository::new(pair);
        repository.add("digits");
        let (server, client) = repository.start(&[("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so")]);
        let health = health(&server, false);
        assert_eq!((&health["status"], &health["degraded"]), (&json!("degraded"), &json!(["models"])));
        server.anon().get("/health/ready").is(200);
        server.anon().get("/v2/health/ready").is(200);
        unavailable(&client, "digits", "ONNX Runtime");
        server.wait_for_log("missing library", |entry| {
            entry["level"] == "ERROR" && entry.to_string().contains("ONNX Runtime")
        });
        client.get("/api/v1/me").is(200);
    }

    fn a_library_that_is_none_is_like_a_missing_one(pair) {
        let repository = Repository::new(pair);
        let library = repository.add("digits").join("labels.txt").display().to_string();
        let (server, client) = repository.start(&[("ORT_DYLIB_PATH", &library)]);
        health(&server, false);
        unavailable(&client, "digits", "ONNX Runtime");
    }

    fn a_broken_model_leaves_the_others_alone(pair) {
        let repository = Repository::new(pair);
        repository.add("whole");
        for (name, bytes) in [("empty", &b""[..]), ("text", b"not a model at all")] {
            let model = repository.add(name);
            configure(&model, "\"1/model.onnx\" =");
            fs::write(model.join("model.toml"), "").expect("model.toml");
            fs::write(model.join("1/model.onnx"), bytes).expect("a file");
        }
        let half = repository.add("half");
        let whole = fs::read(half.join("1/model.onnx")).expect("a model");
        fs::write(half.join("model.toml"), "").expect("model.toml");
        fs::write(half.join("1/model.onnx"), &whole[..whole.len() / 2]).expect("a file");
        let (server, client) = repository.start(&[]);
        for name in ["empty", "text", "half"] {
            unavailable(&client, name, "");
        }
        works(&client, "whole");
        assert_eq!(health(&server, false)["degraded"], json!(["models"]));
        server.anon().get("/health/ready").is(200);
    }

    fn a_file_that_is_not_the_one_named_is_not_served(pair) {
        let repository = Repository::new(pair);
        let changed = repository.add("changed");
        let labels = repository.add("labels");
        fs::OpenOptions::new()
            .append(true)
            .open(changed.join("1/model.onnx"))
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"\0"))
            .expect("a longer file");
        let text = fs::read_to_string(labels.join("model.toml")).expect("model.toml");
        let text =
            text.replace("[checksums]", &format!("[checksums]\n\"labels.txt\" = \"{}\"", "0".repeat(64)));
        fs::write(labels.join("model.toml"), text).expect("model.toml");
        let (_server, client) = repository.start(&[]);
        unavailable(&client, "changed", "checksum mismatch for 1/model.onnx");
        unavailable(&client, "labels", "checksum mismatch for labels.txt");
    }

    fn a_model_toml_with_a_mistake_is_shown_to_those_who_manage(pair) {
        let repository = Repository::new(pair);
        let model = repository.add("digits");
        configure(&model, "colour = \"grey\"");
        let (server, client) = repository.start(&[]);
        // Whom it is meant for cannot be known.
        client.get("/v2/models/digits").is(404);
        assert_eq!(client.act("/v2/repository/index").is(200).json(), json!([]));
        unavailable(&server.admin().api, "digits", "colour");
    }

    fn no_model_at_all_is_told_and_borne(pair) {
        let repository = Repository::new(pair);
        let (mut server, client) = repository.start(&[]);
        health(&server, false);
        server.anon().get("/health/ready").is(200);
        assert_eq!(client.act("/v2/repository/index").is(200).json(), json!([]));
        assert_eq!(client.get("/api/v1/models").is(200).items(), [] as [Value; 0]);
        client.predict(&sample("7-1")).refused(404, "model_not_found");
        assert_eq!(server.stop(), Some(0));
        let missing = repository.folder.join("nowhere").display().to_string();
        let server = repository.world.start(&[("MODEL_DIR", &missing)]);
        health(&server, false);
    }

    fn a_required_model_decides_on_readiness(pair) {
        let repository = Repository::new(pair);
        let model = repository.add("digits");
        configure(&model, "required = true");
        let (mut server, _) = repository.start(&[]);
        server.anon().get("/health/ready").is(200);
        assert_eq!(server.stop(), Some(0));

        fs::remove_file(model.join("1/model.onnx")).expect("a file");
        let folder = repository.folder.display().to_string();
        let server = repository.world.start(&[("MODEL_DIR", &folder)]);
        assert_eq!(server.anon().get("/health/ready").is(503).json()["status"], "unavailable");
        assert_eq!(server.anon().get("/v2/health/ready").is(503).json()["ready"], false);
        server.anon().get("/health/live").is(200);
        assert_eq!(health(&server, false)["status"], "unavailable");
        let client = server.log_in("ada@example.com", "Correct-horse-battery-9").api;
        unavailable(&client, "digits", "no version");
    }

    fn a_bare_file_is_a_model(pair) {
        let repository = Repository::new(pair);
        let model = repository.add("bare");
        for file in ["model.toml", "labels.txt"] {
            fs::remove_file(model.join(file)).expect("a file");
        }
        let (server, client) = repository.start(&[]);
        health(&server, true);
        let input = json!({"name": "x", "datatype": "FP32", "shape": [1, 64], "data": vec![0; 64]});
        client.post("/v2/models/bare/infer", &json!({"inputs": [input]})).is(200);
        let predict = client.send("POST", "/api/v1/models/bare/predict", Some("image/png"), &sample("7-1"));
        assert!(predict.refused(400, "invalid_input").text().contains("takes tensors"));
        assert_eq!(client.get("/api/v1/models/bare").is(200).json()["takes_images"], false);
    }

    fn the_highest_version_is_served_unless_told(pair) {
        let repository = Repository::new(pair);
        for (name, serve) in [("latest", "latest"), ("every", "all")] {
            let model = repository.add(name);
            let text = fs::read_to_string(model.join("model.toml")).expect("model.toml");
            fs::write(model.join("model.toml"), text.replace("\"latest\"", &format!("{serve:?}")))
                .expect("model.toml");
            for version in ["2", "10"] {
                fs::create_dir(model.join(version)).expect("a folder");
                fs::copy(model.join("1/model.onnx"), model.join(version).join("model.onnx")).expect("a copy");
            }
        }
        let (_server, client) = repository.start(&[]);
        assert_eq!(client.get("/v2/models/latest").is(200).json()["versions"], json!(["10"]));
        assert_eq!(client.get("/v2/models/every").is(200).json()["versions"], json!(["1", "2", "10"]));
        let ask = |path: &str| client.send("POST", path, Some("image/png"), &sample("7-1"));
        assert_eq!(ask("/api/v1/models/every/predict").is(200).json()["model_version"], "10");
        assert_eq!(ask("/api/v1/models/every/predict?version=2").is(200).json()["model_version"], "2");
        ask("/api/v1/models/latest/predict?version=2").refused(404, "model_not_found");
    }

    fn what_leaves_the_repository_is_not_followed(pair) {
        let repository = Repository::new(pair);
        let model = repository.add("linked");
        fs::remove_file(model.join("1/model.onnx")).expect("a file");
        std::os::unix::fs::symlink(
            workspace().join("models/digits/1/model.onnx"),
            model.join("1/model.onnx"),
        )
        .expect("a link");
        std::os::unix::fs::symlink(workspace().join("models/digits"), repository.folder.join("elsewhere"))
            .expect("a link");
        let (_server, client) = repository.start(&[]);
        unavailable(&client, "linked", "not followed");
        client.get("/v2/models/elsewhere").is(404);
    }
}

#[test]
fn the_command_line_names_what_would_not_be_served() {
    let repository = Repository::new(Pair::Embedded);
    repository.add("whole");
    let folder = repository.folder.display().to_string();
    let run = |what: &str| repository.world.run(&["model", what], &[("MODEL_DIR", &folder)], "");
    assert_eq!(run("verify").code, Some(0));
    let broken = repository.add("broken");
    fs::write(broken.join("1/model.onnx"), b"another").expect("a file");
    let verified = run("verify");
    assert_eq!(verified.code, Some(1), "{verified:?}");
    assert!(
        verified.stdout.contains("broken\t1\t") && verified.stdout.contains("checksum mismatch"),
        "{verified:?}"
    );
    assert_eq!(run("list").code, Some(0));
}
