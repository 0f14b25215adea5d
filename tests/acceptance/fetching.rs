//! Downloads that break off, and sources that change, or fail, while files come.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use serde_json::json;

use crate::harness::onnx_file::{bytes, endless};
use crate::harness::{
    Client, FileServer, Finished, Repository, configure, eventually, promise, sample, sha256,
};
use crate::model_sources::{ADMIN, PLAIN, demo, is_told, say, source, told};
use crate::model_uploads::{SIGNING_KEY, signature};

/// A model that means the same as the demo model, and has another digest.
fn another() -> Vec<u8> {
    [demo(), bytes(6, "another")].concat()
}

/// A model without a version, whose `model.toml` says where this one comes from.
fn sourced(repository: &Repository, name: &str, url: &str, content: &[u8]) -> PathBuf {
    let model = repository.add(name);
    fs::remove_dir_all(model.join("1")).expect("a folder");
    say(&model, &source("1", "model.onnx", url, &sha256(content), content.len()));
    model
}

fn is_served(client: &Client, name: &str) -> bool {
    client.get(&format!("/v2/models/{name}")).status == 200
}

/// An answer with this head, of a content that has more bytes than come.
fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes(), body].concat()
}

/// The beginning of a file, as a bucket or another host sends it.
fn beginning(content: &[u8]) -> Vec<u8> {
    let modified = "Last-Modified: Mon, 05 Jan 2026 10:00:00 GMT";
    let head =
        format!("200 OK\r\nContent-Length: {}\r\nETag: \"{}\"\r\n{modified}", content.len(), sha256(content));
    answer(&head, &content[..content.len() / 3])
}

promise! {
    fn what_model_toml_does_not_name_any_more_does_not_come(pair) {
        let file_server = FileServer::plain();
        for path in ["/second.onnx", "/wrong.onnx", "/gone.onnx"] {
            file_server.put(path, if path == "/wrong.onnx" { another() } else { demo() }.as_slice());
            file_server.stall(path, true);
        }
        file_server.put("/right.onnx", &demo());
        let repository = Repository::new(pair);
        let digits = repository.add("digits");
        let (server, client) = repository.start(&[PLAIN]);
        let admin = server.admin().api;
        let load = |name: &str| admin.act(&format!("{ADMIN}/{name}/load"));
        let before = fs::read_to_string(digits.join("model.toml")).expect("model.toml");
        say(&digits, &source("2", "model.onnx", &file_server.url("/second.onnx"), &sha256(&demo()), demo().len()));
        load("digits").is(204);
        let corrected = sourced(&repository, "corrected", &file_server.url("/wrong.onnx"), &another());
        let gone = sourced(&repository, "gone", &file_server.url("/gone.onnx"), &demo());
        configure(&gone, "access = \"granted\"");
        for name in ["corrected", "gone"] {
            load(name).refused(409, "model_not_loadable");
        }
        eventually("all of them come", || (file_server.asked().len() == 3).then_some(()));

        // One is taken back, one corrected, and of one the folder is removed.
        fs::write(digits.join("model.toml"), &before).expect("model.toml");
        load("digits").is(204);
        let right = source("1", "model.onnx", &file_server.url("/right.onnx"), &sha256(&demo()), demo().len());
        fs::write(corrected.join("model.toml"), before + &right).expect("model.toml");
        load("corrected").refused(409, "model_not_loadable");
        fs::remove_dir_all(&gone).expect("removed");
        eventually("the right one comes", || is_served(&client, "corrected").then_some(()));
        for name in ["digits", "corrected", "gone"] {
            server.wait_for_log(name, |entry| {
                entry["model"] == name && entry["message"].to_string().contains("nobody wants any more")
            });
        }
        for path in ["/second.onnx", "/wrong.onnx", "/gone.onnx"] {
            file_server.stall(path, false);
        }
        assert_eq!(client.predict(&sample("7-1")).is(200).member("model_version"), "1");
        assert!(!digits.join("2").exists() && !gone.exists());
        let left = fs::read_dir(repository.folder.join(".incoming")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "nothing half-received stays");
    }

    fn what_a_bucket_answers_is_told_as_its_status_and_code_only(pair) {
        const TOKEN: &str = "FwoGZXIvYXdzENeverToBeReadSessionToken4711";
        let file_server = FileServer::plain();
        // More is announced than comes: nobody waits for the end of it.
        let text = format!("<Error><Code>ExpiredToken</Code><Token-0>{TOKEN}</Token-0>{}", "A".repeat(1 << 20));
        let refusal = answer("400 Bad Request\r\nContent-Length: 1073741824", text.as_bytes());
        for _ in 0..8 {
            file_server.answer_with("/models/m.onnx", &refusal);
        }
        let repository = Repository::new(pair);
        repository.world.remember(TOKEN);
        let endpoint = file_server.url("");
        sourced(&repository, "m", "s3://models/m.onnx", &demo());
        let (server, client) = repository.start(&[
            PLAIN,
            ("AWS_ENDPOINT_URL", &*endpoint),
            ("AWS_ACCESS_KEY_ID", "reader"),
            ("AWS_SECRET_ACCESS_KEY", "Never-to-be-read-s3-4711"),
            ("AWS_SESSION_TOKEN", TOKEN),
        ]);
        let admin = server.admin().api;
        is_told(&admin, "m", "it answered 400 Bad Request (ExpiredToken)");
        let everyone = client.post("/v2/repository/index", &json!({})).is(200).text();
        for all in [told(&admin, "m"), everyone, server.log()] {
            assert!(!all.contains(TOKEN) && !all.contains("AAAAAAAAAAAAAAAA"), "{} bytes are told", all.len());
        }
        assert_eq!(file_server.asked().len(), 1, "that is not asked for again at once");
    }

    fn a_model_that_is_being_loaded_holds_up_no_download_of_another(pair) {
        let file_server = FileServer::plain();
        for path in ["/slow.onnx", "/failing.onnx"] {
            file_server.put(path, &demo());
            file_server.stall(path, true);
        }
        let repository = Repository::new(pair);
        let busy = repository.add("busy");
        let failing = source("3", "model.onnx", &file_server.url("/failing.onnx"), &sha256(&another()), demo().len());
        let text = fs::read_to_string(busy.join("model.toml")).expect("model.toml");
        let text = text.replace("serve = \"latest\"", "serve = \"all\"");
        fs::write(busy.join("model.toml"), text + &failing).expect("model.toml");
        sourced(&repository, "slow", &file_server.url("/slow.onnx"), &demo());
        // Tried anew, whatever was remembered of them.
        let (server, client) = repository.start(&[PLAIN, ("MODEL_TRIAL_DIR", "")]);
        let admin = server.admin().api;
        eventually("both come", || (file_server.asked().len() == 2).then_some(()));
        // Each is tried for seconds.
        for version in ["2", "4", "5"] {
            fs::create_dir(busy.join(version)).expect("a folder");
            let endless = [endless(), bytes(6, version)].concat();
            fs::write(busy.join(version).join("model.onnx"), endless).expect("a model");
        }
        thread::scope(|scope| {
            let load = scope.spawn(|| admin.act(&format!("{ADMIN}/busy/load")));
            is_told(&admin, "busy", "loading");
            file_server.stall("/failing.onnx", false);
            server.wait_for_log("the failure", |entry| {
                entry["model"] == "busy" && entry["message"].to_string().contains("could not be fetched")
            });
            file_server.stall("/slow.onnx", false);
            eventually("the other one comes", || is_served(&client, "slow").then_some(()));
            assert!(!load.is_finished(), "it was waited for");
        });
        is_told(&admin, "busy", "version 3 could not be fetched");
    }

    fn what_a_setting_names_is_what_is_loaded(pair) {
        let file_server = FileServer::plain();
        file_server.put("/digits.onnx", &demo());
        let url = file_server.url("/digits.onnx");
        let first = Repository::new(pair);
        let folder = first.folder.display().to_string();
        let start = |repository: &Repository, sha256: &str| {
            repository.start(&[
                PLAIN,
                ("MODEL_DIR", &*folder),
                ("MODEL_URL", &*url),
                ("MODEL_URL_SHA256", sha256),
                ("MODEL_URL_NAME", "fetched"),
            ])
        };
        let (mut server, client) = start(&first, &sha256(&demo()));
        eventually("it comes", || is_served(&client, "fetched").then_some(()));
        assert_eq!(server.stop(), Some(0));

        // Nobody remembers what was served first, and another file lies there.
        let file = first.folder.join("fetched/1/model.onnx");
        fs::write(&file, another()).expect("a file");
        let fresh = Repository::new(pair);
        let (mut server, client) = start(&fresh, &sha256(&demo()));
        is_told(&server.admin().api, "fetched", "is not the file that MODEL_URL_SHA256 names");
        assert!(!is_served(&client, "fetched"));
        assert_eq!(server.stop(), Some(0));
        // Nor is the setting passed over where it names another one than lies there.
        fs::write(&file, demo()).expect("a file");
        let (server, client) = start(&Repository::new(pair), &sha256(&another()));
        is_told(&server.admin().api, "fetched", "MODEL_URL_VERSION of its own");
        assert!(!is_served(&client, "fetched"));
    }

    fn a_signature_comes_from_where_the_model_does(pair) {
        let file_server = FileServer::plain();
        let signed = signature(7);
        file_server.put("/m/digits.onnx", &demo());
        file_server.put("/m/model.sig", signed.as_bytes());
        let repository = Repository::new(pair);
        let settings = [PLAIN, ("MODEL_SIGNING_KEYS", SIGNING_KEY)];
        let (server, client) = repository.start(&settings);
        let admin = server.admin().api;
        // Another replica adds it, with a folder of its own.
        let other = repository.world.folder().join("other");
        fs::create_dir(&other).expect("a folder");
        let other = other.display().to_string();
        let url = file_server.url("/m/digits.onnx");
        let add = |more: &[&str]| {
            let digest = sha256(&demo());
            let arguments = [&["model", "add", &url, "--sha256", &digest], more].concat();
            repository.world.run(&arguments, &[&settings[..], &[("MODEL_DIR", &other)]].concat(), "")
        };
        let refused = add(&["--signature", &signed]);
        assert!(refused.code == Some(1) && refused.stderr.contains("--data model.sig=SHA256"), "{refused:?}");
        assert_eq!(file_server.asked().len(), 0);
        let added = add(&["--data", &format!("model.sig={}", sha256(signed.as_bytes()))]);
        assert_eq!(added.code, Some(0), "{added:?}");
        eventually("it comes here, too", || repository.folder.join("digits/1/model.sig").exists().then_some(()));
        admin.act(&format!("{ADMIN}/digits/load")).is(204);
        assert!(is_served(&client, "digits"));
    }

    fn a_download_that_breaks_off_goes_on_for_as_long_as_something_comes(pair) {
        let file_server = FileServer::plain();
        let repository = Repository::new(pair);
        let add = |url: &str, version: &str| {
            let (digest, folder) = (sha256(&demo()), repository.folder.display().to_string());
            let arguments = ["model", "add", url, "--sha256", &digest, "--name", "m", "--version", version];
            let endpoint = file_server.url("");
            let settings = [PLAIN, ("MODEL_DIR", &*folder), ("AWS_ENDPOINT_URL", &*endpoint)];
            is_added(&repository.world.run(&arguments, &settings, ""), &repository.folder.join("m").join(version));
        };
        let asked = |path: &str| {
            let asked = file_server.asked();
            asked.iter().filter_map(|all| all.strip_prefix(path)).map(|from| from.trim().to_owned()).collect::<Vec<_>>()
        };
        for path in ["/often.onnx", "/unsatisfiable.onnx", "/models/whole.onnx"] {
            file_server.put(path, &demo());
        }
        file_server.cut(7);
        add(&file_server.url("/often.onnx"), "1");
        assert_eq!(asked("/often.onnx").len(), 8);

        // All of it came, and the end of the answer did not.
        let chunk = [format!("{:x}\r\n", demo().len()).as_bytes(), &demo()].concat();
        file_server.answer_with("/chunked.onnx", &answer("200 OK\r\nETag: \"x\"\r\nTransfer-Encoding: chunked", &chunk));
        add(&file_server.url("/chunked.onnx"), "2");
        assert_eq!(asked("/chunked.onnx"), ["0"]);

        let third = (demo().len() / 3).to_string();
        file_server.answer_with("/unsatisfiable.onnx", &beginning(&demo()));
        file_server.answer_with("/unsatisfiable.onnx", &answer("416 Range Not Satisfiable\r\nContent-Length: 0", b""));
        add(&file_server.url("/unsatisfiable.onnx"), "3");
        assert_eq!(asked("/unsatisfiable.onnx"), ["0", &*third, "0"]);

        // A service that knows no ranges.
        file_server.answer_with("/models/whole.onnx", &beginning(&demo()));
        file_server.answer_with("/models/whole.onnx", &beginning(&demo()));
        add("s3://models/whole.onnx", "4");
        assert_eq!(asked("/models/whole.onnx"), ["0", &*third, "0"]);
    }
}

#[track_caller]
fn is_added(added: &Finished, folder: &Path) {
    assert_eq!(added.code, Some(0), "{added:?}");
    assert_eq!(fs::read(folder.join("model.onnx")).ok(), Some(demo()));
}
