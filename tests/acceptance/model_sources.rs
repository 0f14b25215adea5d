//! Versions fetched from elsewhere, by address and digest: nothing but the named file is ever served.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::onnx_file::{Dimension, FLOAT, bytes, external, graph, model, node, value};
use crate::harness::{Client, FileServer, Pair, Repository, eventually, promise, sample, sha256, workspace};

pub const ADMIN: &str = "/api/v1/admin/models";
/// What lets a server of files without TLS, on this machine, be asked.
pub const PLAIN: (&str, &str) = ("MODEL_SOURCES_PLAIN_HTTP", "true");

pub fn demo() -> Vec<u8> {
    fs::read(workspace().join("models/digits/1/model.onnx")).expect("the demo model")
}

/// A table of `model.toml`.
pub fn source(version: &str, file: &str, url: &str, sha256: &str, size: usize) -> String {
    format!("\n[source.{version}.{file:?}]\nurl = {url:?}\nsha256 = {sha256:?}\nsize = {size}\n")
}

/// Appends to `model.toml`.
pub fn say(model: &Path, text: &str) {
    let file = model.join("model.toml");
    let before = fs::read_to_string(&file).expect("model.toml");
    fs::write(file, before + text).expect("model.toml");
}

/// The version that answers.
fn answering(client: &Client) -> Option<String> {
    let reply = client.predict(&sample("7-1"));
    (reply.status == 200).then(|| reply.member("model_version"))
}

#[track_caller]
fn comes(client: &Client, version: &str) {
    eventually("the version comes", || (answering(client).as_deref() == Some(version)).then_some(()));
}

/// All that is said of a model.
pub fn told(admin: &Client, name: &str) -> String {
    let models: Vec<Value> = admin.get(ADMIN).is(200).items();
    models.iter().filter(|model| model["name"] == name).map(Value::to_string).collect()
}

#[track_caller]
pub fn is_told(admin: &Client, name: &str, reason: &str) {
    eventually(reason, || told(admin, name).contains(reason).then_some(()));
}

/// A model whose constant lies in a file of its own, and that file.
fn with_data() -> (Vec<u8>, Vec<u8>) {
    let vector = |name| value(name, FLOAT, &[Dimension::Fixed(2)]);
    let add = node("Add", &["x", "w"], &["y"], &[]);
    let model = model(&graph(&[add], &[external("w", 2, "weights.bin")], &[vector("x")], &[vector("y")]));
    (model, [1.5f32, 2.5].iter().flat_map(|number| number.to_le_bytes()).collect())
}

#[track_caller]
fn adds(client: &Client, name: &str) {
    let input = json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1.0, 1.0]}]});
    let reply = client.post(&format!("/v2/models/{name}/infer"), &input).is(200).json();
    assert_eq!(reply["outputs"][0]["data"], json!([2.5, 3.5]));
}

promise! {
    fn a_version_comes_from_where_model_toml_says_and_nothing_else_takes_its_place(pair) {
        let file_server = FileServer::plain();
        file_server.put("/digits.onnx", &demo());
        file_server.put("/other.onnx", b"another file");
        let repository = Repository::new(pair);
        let digits = repository.add("digits");
        fs::remove_dir_all(digits.join("1")).expect("a folder");
        let good = |version: &str| source(version, "model.onnx", &file_server.url("/digits.onnx"), &sha256(&demo()), demo().len());
        say(&digits, &good("1"));
        file_server.cut(2);
        let (server, client) = repository.start(&[PLAIN]);
        let admin = server.admin().api;
        comes(&client, "1");
        let asked = file_server.asked();
        let half = demo().len() / 2;
        assert_eq!(asked[..2], ["/digits.onnx 0".to_owned(), format!("/digits.onnx {half}")], "it went on where it broke off");
        assert_eq!(asked.len(), 3, "{asked:?}");

        // Another file under the right name, one that is too long, one that is not there.
        say(&digits, &source("2", "model.onnx", &file_server.url("/other.onnx"), &sha256(&demo()), 12));
        say(&digits, &source("3", "model.onnx", &file_server.url("/digits.onnx"), &sha256(&demo()), 100));
        say(&digits, &source("4", "model.onnx", &file_server.url("/nowhere.onnx"), &sha256(&demo()), demo().len()));
        admin.act(&format!("{ADMIN}/digits/load")).is(204);
        is_told(&admin, "digits", "could not be fetched");
        for reason in ["its SHA-256 is", "more than 100 bytes", "it answered 404"] {
            server.wait_for_log(reason, |entry| entry["reason"].as_str().is_some_and(|text| text.contains(reason)));
        }
        assert_eq!(answering(&client).as_deref(), Some("1"));
        for version in ["2", "3", "4"] {
            assert!(!digits.join(version).exists(), "{version}");
        }
        let left = fs::read_dir(repository.folder.join(".incoming")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "nothing half-received stays");

        // Mended, it is asked for at once; otherwise when its time has come.
        let before = file_server.asked().len();
        file_server.put("/nowhere.onnx", &demo());
        file_server.put("/other.onnx", &demo());
        assert_eq!(file_server.asked().len(), before);
        let text = fs::read_to_string(digits.join("model.toml")).expect("model.toml");
        fs::write(digits.join("model.toml"), text.replace("size = 12\n", &format!("size = {}\n", demo().len()))).expect("model.toml");
        admin.act(&format!("{ADMIN}/digits/load")).is(204);
        comes(&client, "2");
        assert!(!digits.join("4").exists(), "its time has not come");
        server.advance(Duration::from_secs(31));
        comes(&client, "4");
        // Taken away, it would come again: so who wrote model.toml takes it away.
        admin.act(&format!("{ADMIN}/digits/unload")).is(204);
        admin.delete(&format!("{ADMIN}/digits/versions/2")).refused(409, "version_not_uploaded");
    }

    fn a_model_that_is_new_to_a_running_server_is_fetched_when_it_is_loaded(pair) {
        let file_server = FileServer::plain();
        file_server.put("/digits.onnx", &demo());
        let repository = Repository::new(pair);
        let (server, client) = repository.start(&[PLAIN]);
        let admin = server.admin().api;
        let digits = repository.add("digits");
        fs::remove_dir_all(digits.join("1")).expect("removed");
        let url = file_server.url("/digits.onnx");
        say(&digits, &source("1", "model.onnx", &url, &sha256(&demo()), demo().len()));
        let refused = admin.act(&format!("{ADMIN}/digits/load")).refused(409, "model_not_loadable").text();
        assert!(refused.contains("are not here yet"), "{refused}");
        comes(&client, "1");
    }

    fn a_model_named_by_a_setting_is_fetched_once(pair) {
        let file_server = FileServer::plain();
        file_server.put("/digits.onnx", &demo());
        file_server.is_down(true);
        let repository = Repository::new(pair);
        let (url, digest) = (file_server.url("/digits.onnx"), sha256(&demo()));
        let settings = [PLAIN, ("MODEL_URL", &*url), ("MODEL_URL_SHA256", &*digest), ("MODEL_URL_NAME", "fetched")];
        // One that takes the request and never answers holds up no other.
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let silent = format!("http://{}/digits.onnx", silent.local_addr().expect("an address"));
        let stuck = repository.add("a-stuck");
        fs::remove_dir_all(stuck.join("1")).expect("a folder");
        say(&stuck, &source("1", "model.onnx", &silent, &digest, demo().len()));
        let (mut server, client) = repository.start(&settings);
        let admin = server.admin().api;
        is_told(&admin, "fetched", "it answered 503");
        file_server.is_down(false);
        server.advance(Duration::from_secs(31));
        eventually("it comes", || (client.get("/v2/models/fetched").status == 200).then_some(()));
        assert_eq!(server.stop(), Some(0));

        file_server.is_down(true);
        let asked = file_server.asked().len();
        let folder = repository.folder.display().to_string();
        let again = [&[("MODEL_DIR", folder.as_str())], &settings[..]].concat();
        let server = repository.world.start(&again);
        let client = server.log_in("ada@example.com", "Correct-horse-battery-9").api;
        client.get("/v2/models/fetched").is(200);
        assert_eq!(file_server.asked().len(), asked, "it is there already");
    }

    fn a_version_with_data_files_is_uploaded(pair) {
        let repository = Repository::new(pair);
        let (server, client) = repository.start(&[]);
        let admin = server.admin().api;
        let (model, data) = with_data();
        let put = |version: &str, parts: &[(&str, &[u8])]| {
            let mut body = Vec::new();
            for (name, content) in parts {
                body.extend(format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"x\"\r\n\r\n").bytes());
                body.extend_from_slice(content);
                body.extend(b"\r\n");
            }
            body.extend(b"--b--\r\n");
            let path = format!("{ADMIN}/sum/versions/{version}");
            admin.send("PUT", &path, Some("multipart/form-data; boundary=b"), &body)
        };
        let line = |content: &[u8], name: &str| format!("{}  {name}\n", sha256(content));
        let list = line(&model, "model.onnx") + &line(&data, "weights.bin");
        let (list, onnx, weights) = (("files", list.as_bytes()), ("model.onnx", &*model), ("weights.bin", &*data));
        put("1", &[onnx, weights]).invalid(&["files"]);
        put("1", &[("files", b"nonsense"), onnx]).invalid(&["files"]);
        put("1", &[("files", line(&data, "../../weights.bin").as_bytes()), onnx]).invalid(&["files"]);
        put("1", &[list, onnx]).invalid(&["files"]);
        put("1", &[list, onnx, onnx, weights]).invalid(&["files"]);
        put("1", &[list, onnx, weights, ("model.sig", &data)]).invalid(&["files"]);
        put("1", &[list, onnx, ("weights.bin", b"others")]).refused(400, "invalid_model");
        let alone = line(&model, "model.onnx");
        put("1", &[("files", alone.as_bytes()), onnx]).refused(400, "invalid_model");
        let more = line(&model, "model.onnx") + &line(&data, "weights.bin") + &line(&data, "more.bin");
        put("1", &[("files", more.as_bytes()), onnx, weights, ("more.bin", &data)]).refused(400, "invalid_model");
        assert!(!repository.folder.join("sum").exists());

        put("1", &[list, weights, onnx]).is(201);
        admin.act("/v2/repository/models/sum/load").is(200);
        adds(&client, "sum");
        put("1", &[list, weights, onnx]).refused(409, "version_exists");
    }
}

#[test]
fn what_is_added_by_an_address_comes_to_every_replica() {
    let file_server = FileServer::plain().owned_by("reader", "Never-to-be-read-s3-4711");
    let (model, data) = with_data();
    file_server.put("/models/sum/model.onnx", &model);
    file_server.put("/models/sum/weights.bin", &data);
    let repository = Repository::new(Pair::Shared);
    repository.world.remember("Never-to-be-read-s3-4711");
    let other = repository.world.folder().join("other");
    fs::create_dir(&other).expect("a folder");
    let (here, there) = (repository.folder.display().to_string(), other.display().to_string());
    let endpoint = file_server.url("");
    let bucket = [
        PLAIN,
        ("AWS_ENDPOINT_URL", &*endpoint),
        ("AWS_ACCESS_KEY_ID", "reader"),
        ("AWS_SECRET_ACCESS_KEY", "Never-to-be-read-s3-4711"),
    ];
    let (first, client) = repository.start(&bucket);
    let second = repository.world.start(&[&[("MODEL_DIR", &*there)], &bucket[..]].concat());
    let third_folder = repository.world.folder().join("third");
    fs::create_dir(&third_folder).expect("a folder");
    let third = third_folder.display().to_string();
    let wrong =
        [&[("MODEL_DIR", &*third)], &bucket[..3], &[("AWS_SECRET_ACCESS_KEY", "another-secret")]].concat();
    let third = repository.world.start(&wrong);
    let admin = first.admin().api;

    let digest = sha256(&model);
    let beside = format!("weights.bin={}", sha256(&data));
    let add = |arguments: &[&str]| {
        let all = [&["model", "add", "s3://models/sum/model.onnx", "--sha256", &*digest], arguments].concat();
        repository.world.run(&all, &[&[("MODEL_DIR", &*here)], &bucket[..]].concat(), "")
    };
    let alone = add(&["--name", "sum"]);
    assert!(alone.code == Some(1) && alone.stderr.contains("weights.bin"), "{alone:?}");
    let nameless = add(&["--data", &beside]);
    assert!(nameless.code == Some(1) && nameless.stderr.contains("--name"), "{nameless:?}");
    let wrong = format!("weights.bin={}", "0".repeat(64));
    assert_eq!(add(&["--name", "sum", "--data", &wrong]).code, Some(1));
    let added = add(&["--name", "sum", "--data", &beside]);
    assert_eq!(added.code, Some(0), "{added:?}");
    assert!(added.stdout.contains("version 1"), "{added:?}");

    eventually("the other replica has it", || other.join("sum/1/weights.bin").exists().then_some(()));
    third.wait_for_log("refusal", |entry| {
        entry["reason"].as_str().is_some_and(|reason| reason.contains("does not give it to us"))
    });
    let there = second.log_in("ada@example.com", "Correct-horse-battery-9").api;
    admin.act("/v2/repository/models/sum/load").is(200);
    adds(&client, "sum");
    eventually("served there, too", || (there.get("/v2/models/sum").status == 200).then_some(()));
    adds(&there, "sum");
    // One that is taken away is not fetched again.
    admin.act("/v2/repository/models/sum/unload").is(200);
    admin.delete(&format!("{ADMIN}/sum/versions/1")).is(204);
    assert_eq!(first.world.sql("SELECT count(*) FROM model_sources").trim(), "0");
    eventually("removed there, too", || (!other.join("sum/1").exists()).then_some(()));
    // A replica that could not fetch it can have it removed.
    assert_eq!(add(&["--name", "sum", "--data", &beside]).code, Some(0));
    admin.act("/v2/repository/models/sum/load").is(200);
    eventually("fetched again", || other.join("sum/1/weights.bin").exists().then_some(()));
    admin.at(third.address()).delete(&format!("{ADMIN}/sum/versions/1")).refused(409, "version_in_use");
    admin.act("/v2/repository/models/sum/unload").is(200);
    admin.at(third.address()).delete(&format!("{ADMIN}/sum/versions/1")).is(204);
    eventually("removed everywhere", || {
        let left = [&repository.folder, &other].map(|folder| folder.join("sum/1").exists());
        (left == [false, false]).then_some(())
    });

    // What comes under the same number right after it was removed is something else, and stays.
    file_server.put("/models/d/model.onnx", &demo());
    let from = ["model", "add", "s3://models/d/model.onnx", "--name", "d", "--sha256", &sha256(&demo())];
    let added = repository.world.run(&from, &[&[("MODEL_DIR", &*here)], &bucket[..]].concat(), "");
    assert_eq!(added.code, Some(0), "{added:?}");
    eventually("the other replica has it, too", || other.join("d/1/model.onnx").exists().then_some(()));
    let another = [demo(), bytes(6, "another")].concat();
    let path = format!("{ADMIN}/d/versions/1");
    admin.delete(&path).is(204);
    let upload = format!("{path}?sha256={}", sha256(&another));
    admin.send("PUT", &upload, Some("application/octet-stream"), &another).is(201);
    eventually("the first one is gone there", || (!other.join("d/1").exists()).then_some(()));
    admin.act("/v2/repository/models/d/load").is(200);
    client.get("/v2/models/d/versions/1/ready").is(200);
    assert!(repository.folder.join("d/1/model.onnx").exists());
}

#[test]
fn over_tls_the_host_is_verified_and_sends_nobody_to_private_addresses() {
    let (file_server, secret) = (FileServer::over_tls(), FileServer::over_tls());
    file_server.put("/digits.onnx", &demo());
    secret.put("/digits.onnx", &demo());
    file_server.send_on("/here", "/digits.onnx");
    file_server.send_on("/private", &secret.url("/digits.onnx"));
    file_server.send_on("/metadata", "https://169.254.169.254/latest");
    file_server.send_on("/plain", "http://example.com/digits.onnx");
    let folder = std::env::var("TEST_TLS_DIR").expect("run ./scripts/test, which makes certificates");
    let repository = Repository::new(Pair::Embedded);
    let here = repository.folder.display().to_string();
    let (digest, mut number) = (sha256(&demo()), 0);
    let mut add = |url: &str, authority: &str| {
        number += 1;
        let version = number.to_string();
        let arguments = ["model", "add", url, "--sha256", &digest, "--name", "m", "--version", &version];
        let authority = format!("{folder}/{authority}.crt");
        repository.world.run(&arguments, &[("MODEL_DIR", &here), ("SSL_CERT_FILE", &authority)], "")
    };
    let added = add(&file_server.url("/digits.onnx"), "authority");
    assert_eq!(added.code, Some(0), "{added:?}");
    for (path, reason) in [
        ("/here", "addresses that are not allowed"),
        ("/private", "addresses that are not allowed"),
        ("/metadata", "address is not allowed"),
        ("/plain", "without TLS"),
    ] {
        let refused = add(&file_server.url(path), "authority");
        assert!(refused.code == Some(1) && refused.stderr.contains(reason), "{path}: {refused:?}");
    }
    let asked = file_server.asked().len();
    assert_eq!(secret.asked().len(), 0, "nobody was sent there");
    for (url, authority) in [
        (file_server.url("/digits.onnx"), "stranger"),
        (file_server.url("/digits.onnx").replace("localhost", "127.0.0.1"), "authority"),
        ("https://169.254.169.254/latest".to_owned(), "authority"),
        (FileServer::plain().url("/digits.onnx"), "authority"),
        ("ftp://localhost/digits.onnx".to_owned(), "authority"),
        (file_server.url("/digits.onnx").replace("localhost", "ada:hush@localhost"), "authority"),
    ] {
        let refused = add(&url, authority);
        assert!(refused.code == Some(1) && !refused.stderr.contains("hush"), "{url}: {refused:?}");
    }
    assert_eq!(file_server.asked().len(), asked);

    // Settings that would weaken this do not start.
    for (settings, name) in [
        (&[("MODEL_URL", "https://models.example.com/m.onnx")][..], "MODEL_URL_SHA256"),
        (&[("MODEL_URL", "http://models.example.com/m.onnx"), ("MODEL_URL_SHA256", &*digest)], "MODEL_URL"),
        (&[("AWS_ENDPOINT_URL", "http://minio.example.com")], "AWS_ENDPOINT_URL"),
        (&[("AWS_ACCESS_KEY_ID", "ada")], "AWS_SECRET_ACCESS_KEY"),
        (&[("APP_ENV", "production"), PLAIN], "MODEL_SOURCES_PLAIN_HTTP"),
    ] {
        let refused = repository.world.run(&["serve"], settings, "");
        assert!(refused.code == Some(1) && refused.stderr.contains(name), "{name}: {refused:?}");
    }
}
