//! Versions come by upload, by the command line and by copying, and each is looked at before anybody is served by it.

use std::fs;
use std::io::Write;
use std::path::Path;

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::json;

use crate::harness::onnx_file::bytes;
use crate::harness::{
    Client, Pair, Reply, Repository, at_once, eventually, promise, sample, sha256, workspace,
};

const VERSIONS: &str = "/api/v1/admin/models/digits/versions";
/// The demo model's, which its `model.toml` names, too.
const SHA256: &str = "98078db761259dfe598a69ddd5ffc38d1c943e9cfb0f433fbcdef62d86cea1e2";
/// PKCS #8 of an Ed25519 key, up to the key itself (RFC 8410, section 7); and the public key of the one of 32 times 7.
const ED25519_PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
pub const SIGNING_KEY: &str = "6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=";

fn demo() -> Vec<u8> {
    fs::read(workspace().join("models/digits/1/model.onnx")).expect("the demo model")
}

#[track_caller]
fn put(admin: &Client, version: &str, sha256: &str, body: &[u8]) -> Reply {
    admin.send(
        "PUT",
        &format!("{VERSIONS}/{version}?sha256={sha256}"),
        Some("application/octet-stream"),
        body,
    )
}

#[track_caller]
fn activate(admin: &Client, version: &str) {
    admin.post("/api/v1/admin/models/digits/activate", &json!({"version": version})).is(204);
}

#[track_caller]
fn answers(client: &Client, version: &str) {
    assert_eq!(client.predict(&sample("7-1")).is(200).member("model_version"), version);
}

/// What lies in the repository's folder for what is being received.
fn left(repository: &Repository) -> usize {
    fs::read_dir(repository.folder.join(".incoming")).map_or(0, Iterator::count)
}

/// The signature of the demo model, as an upload brings it.
pub fn signature(seed: u8) -> String {
    let key = EncodingKey::from_ed_der(&[&ED25519_PKCS8[..], &[seed; 32]].concat());
    let text = format!("{SHA256}  model.onnx\n");
    let signature = jsonwebtoken::crypto::sign(text.as_bytes(), &key, Algorithm::EdDSA).expect("a signature");
    BASE64.encode(&BASE64URL_NOPAD.decode(signature.as_bytes()).expect("Base64"))
}

fn escaped(text: &str) -> String {
    text.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

promise! {
    fn a_version_is_uploaded_activated_and_removed(pair) {
        let repository = Repository::new(pair);
        repository.add("digits");
        let (mut server, client) = repository.start(&[]);
        let admin = server.admin().api;
        let added = put(&admin, "2", SHA256, &demo()).is(201).json();
        assert_eq!((&added["version"], &added["sha256"]), (&json!("2"), &json!(SHA256)));
        assert_eq!(left(&repository), 0);
        answers(&client, "1");
        put(&admin, "2", SHA256, &demo()).refused(409, "version_exists");
        put(&admin, "1", SHA256, &demo()).refused(409, "version_exists");

        assert_eq!(server.stop(), Some(0));
        let folder = repository.folder.display().to_string();
        let server = repository.world.start(&[("MODEL_DIR", &folder)]);
        let client = server.log_in("ada@example.com", "Correct-horse-battery-9").api;
        let admin = server.admin_called("other").api;
        answers(&client, "1");
        activate(&admin, "2");
        answers(&client, "2");
        admin.delete(&format!("{VERSIONS}/2")).refused(409, "version_in_use");
        admin.act("/api/v1/admin/models/digits/rollback").is(204);
        answers(&client, "1");
        admin.delete(&format!("{VERSIONS}/1")).refused(409, "version_not_uploaded");
        client.delete(&format!("{VERSIONS}/2")).is(403);
        admin.delete(&format!("{VERSIONS}/2")).is(204);
        admin.delete(&format!("{VERSIONS}/2")).refused(404, "model_not_found");
        assert!(!repository.folder.join("digits/2").exists());
        let other = [demo(), bytes(6, "another")].concat();
        put(&admin, "2", &sha256(&other), &other).is(201);
        activate(&admin, "2");
        let events = server.world.audit_events();
        let told = |action: &str| events.iter().filter(|event| event["action"] == action).count();
        assert_eq!((told("model.version_added"), told("model.version_removed")), (2, 1));
    }

    fn a_version_is_activated_or_removed_but_never_both(pair) {
        let repository = Repository::new(pair);
        repository.add("digits");
        let (server, client) = repository.start(&[]);
        let admin = server.admin().api;
        for round in 0..6 {
            let version = (2 + round).to_string();
            put(&admin, &version, SHA256, &demo()).is(201);
            let statuses = at_once(2, |number| match number {
                0 => admin.post("/api/v1/admin/models/digits/activate", &json!({"version": version})).status,
                _ => admin.delete(&format!("{VERSIONS}/{version}")).status,
            });
            let is_there = repository.folder.join("digits").join(&version).exists();
            assert!(matches!((statuses[0], statuses[1]), (204, 409) | (409, 204)), "{statuses:?}");
            assert_eq!(is_there, statuses[0] == 204, "{statuses:?}");
            answers(&client, if is_there { &version } else { "1" });
            activate(&admin, "1");
        }
    }

    fn an_added_version_waits_for_its_activation_and_changes_nothing_else(pair) {
        let repository = Repository::new(pair);
        let digits = repository.add("digits");
        let manifest = digits.join("model.toml");
        let text = fs::read_to_string(&manifest).expect("model.toml");
        fs::write(&manifest, text.replace("serve = \"latest\"", "serve = \"all\"")).expect("model.toml");
        let (mut server, client) = repository.start(&[]);
        let admin = server.admin().api;
        let state = || admin.get("/api/v1/admin/models").is(200).items()[0].clone();
        put(&admin, "3", SHA256, &demo()).is(201);
        assert_eq!(state()["waiting_versions"], json!(["3"]));
        assert_eq!(state()["active_version"], json!(null), "model.toml decides as before");
        let copy = |version: &str| {
            fs::create_dir(digits.join(version)).expect("a folder");
            fs::copy(digits.join("1/model.onnx"), digits.join(version).join("model.onnx")).expect("a copy");
        };
        copy("2");
        // The command line looks at the folder, too, and what runs is not changed by that.
        let file = digits.join("1/model.onnx").display().to_string();
        assert_eq!(server.cli(&["model", "add", &file, "--name", "digits", "--version", "4"], "").code, Some(0));
        eventually("followed", || (state()["waiting_versions"] == json!(["3", "4"])).then_some(()));
        answers(&client, "1");
        client.get("/v2/models/digits/versions/3").is(404);
        admin.act("/api/v1/admin/models/digits/load").is(204);
        answers(&client, "2");
        client.get("/v2/models/digits/versions/3").is(404);

        assert_eq!(server.stop(), Some(0));
        let folder = repository.folder.display().to_string();
        let server = repository.world.start(&[("MODEL_DIR", &folder)]);
        let client = server.log_in("ada@example.com", "Correct-horse-battery-9").api;
        let admin = server.admin_called("other").api;
        let path = "/api/v1/admin/models/digits/activate";
        answers(&client, "2");
        activate(&admin, "3");
        answers(&client, "3");
        client.get("/v2/models/digits/versions/4").is(404);
        admin.post(path, &json!({})).refused(400, "malformed_request");
        answers(&client, "3");
        admin.post(path, &json!({"version": null})).is(204);
        answers(&client, "4");
    }

    fn a_whole_model_may_come_by_upload(pair) {
        let repository = Repository::new(pair);
        let (server, client) = repository.start(&[]);
        let admin = server.admin().api;
        let digest = format!("sha-256=:{}:", BASE64.encode(&HEXLOWER.decode(SHA256.as_bytes()).expect("hexadecimal")));
        let path = "/api/v1/admin/models/fresh/versions/1";
        let with_header = admin.with("Content-Digest", &digest);
        with_header.send("PUT", path, Some("application/octet-stream"), &demo()).is(201);
        client.get("/v2/models/fresh").is(404);
        admin.act("/v2/repository/models/fresh/load").is(200);
        client.get("/v2/models/fresh").is(200);
    }

    fn a_version_of_the_longest_names_goes_as_it_came(pair) {
        let repository = Repository::new(pair);
        let (server, _) = repository.start(&[]);
        let admin = server.admin().api;
        let path = format!("/api/v1/admin/models/{}/versions/{}", "m".repeat(128), "v".repeat(128));
        let kind = Some("application/octet-stream");
        admin.send("PUT", &format!("{path}?sha256={SHA256}"), kind, &demo()).is(201);
        admin.delete(&path).is(204);
        admin.delete(&path).refused(404, "model_not_found");
        assert_eq!(left(&repository), 0);
    }

    fn what_is_not_right_is_not_taken(pair) {
        let repository = Repository::new(pair);
        repository.add("digits");
        let (server, client) = repository.start(&[("MAX_MODEL_SIZE_MB", "1")]);
        let admin = server.admin().api;
        let wrong = "0".repeat(64);
        assert!(put(&admin, "2", &wrong, &demo()).refused(400, "invalid_model").text().contains("SHA-256"));
        put(&admin, "2", SHA256, b"no model at all").refused(400, "invalid_model");
        put(&admin, "2", SHA256, b"").refused(400, "invalid_model");
        put(&admin, "2", SHA256, &vec![0; (1 << 20) + 1]).refused(413, "too_large");
        put(&admin, "2", "zz", &demo()).invalid(&["sha256"]);
        admin.send("PUT", &format!("{VERSIONS}/2"), Some("application/octet-stream"), &demo()).invalid(&["sha256"]);
        let path = format!("{VERSIONS}/2?sha256={SHA256}");
        admin.send("PUT", &path, Some("text/plain"), &demo()).refused(415, "unsupported_media_type");
        for packed in ["gzip", "identity, gzip"] {
            admin.with("Content-Encoding", packed).send("PUT", &path, Some("application/octet-stream"), &demo()).is(415);
        }
        client.send("PUT", &path, Some("application/octet-stream"), &demo()).refused(403, "insufficient_permissions");
        for version in ["..", ".hidden", "a%20b", "..%2f..%2fetc", "%2e%2e", "x".repeat(129).as_str()] {
            let reply = put(&admin, version, SHA256, &demo());
            assert!(matches!(reply.status, 400 | 404), "{version}: {}", reply.text());
        }
        assert_eq!(left(&repository), 0, "nothing half-received stays");
        let versions = fs::read_dir(repository.folder.join("digits")).expect("a folder").flatten();
        assert_eq!(versions.filter(|entry| entry.path().is_dir()).count(), 1);
        answers(&client, "1");
    }

    fn a_version_is_not_called_like_a_file_of_the_models_folder(pair) {
        let repository = Repository::new(pair);
        let digits = repository.add("digits");
        let (server, client) = repository.start(&[]);
        let admin = server.admin().api;
        for name in ["model.toml", "Model.TOML", "labels.txt"] {
            put(&admin, name, SHA256, &demo()).invalid(&["version"]);
        }
        // Its model.toml is not there yet, and neither are the labels here.
        let fresh = format!("/api/v1/admin/models/fresh/versions/model.toml?sha256={SHA256}");
        admin.send("PUT", &fresh, Some("application/octet-stream"), &demo()).invalid(&["version"]);
        let labels = fs::read(digits.join("labels.txt")).expect("the labels");
        fs::remove_file(digits.join("labels.txt")).expect("removed");
        put(&admin, "labels.txt", SHA256, &demo()).invalid(&["version"]);
        fs::write(digits.join("labels.txt"), labels).expect("the labels");
        let file = digits.join("1/model.onnx").display().to_string();
        let added = server.cli(&["model", "add", &file, "--name", "digits", "--version", "model.toml"], "");
        assert!(added.code == Some(1) && added.stderr.contains("choose another"), "{added:?}");
        assert!(!repository.folder.join("fresh").exists());
        assert_eq!(left(&repository), 0);
        admin.act("/api/v1/admin/models/digits/load").is(204);
        answers(&client, "1");
    }

    fn an_upload_whose_sender_goes_away_is_whole(pair) {
        let repository = Repository::new(pair);
        repository.add("digits");
        let trials = repository.world.folder().join("trials");
        let (server, client) = repository.start(&[("MODEL_TRIAL_DIR", trials.to_str().expect("a path"))]);
        let admin = server.admin();
        // Another file, which has to be tried; it means the same.
        let (body, token) = ([demo(), bytes(3, "another")].concat(), &admin.tokens.access);
        let head = format!(
            "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\nPUT {VERSIONS}/2?sha256={} HTTP/1.1\r\nHost: localhost\r\n\
             Authorization: Bearer {token}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
            sha256(&body),
            body.len()
        );
        let mut connection = server.connect();
        connection.write_all(&[head.as_bytes(), &body].concat()).expect("sent");
        // One is known already.
        eventually("tried", || fs::read_dir(&trials).is_ok_and(|trials| trials.count() > 1).then_some(()));
        // With an answer that nobody read, which makes it a reset.
        drop(connection);
        eventually("in place", || repository.folder.join("digits/2").exists().then_some(()));
        eventually("told", || {
            server.world.audit_events().into_iter().find(|event| event["action"] == "model.version_added")
        });
        answers(&client, "1");
        admin.api.delete(&format!("{VERSIONS}/2")).is(204);
    }

    fn of_many_uploads_of_one_version_one_is_taken(pair) {
        let repository = Repository::new(pair);
        repository.add("digits");
        let (server, client) = repository.start(&[]);
        let admin = server.admin().api;
        let answers = at_once(6, |_| put(&admin, "2", SHA256, &demo()).status);
        assert_eq!(answers.iter().filter(|status| **status == 201).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|status| matches!(status, 201 | 409 | 503)), "{answers:?}");
        assert_eq!(left(&repository), 0);
        self::answers(&client, "1");
    }

    fn the_command_line_adds_a_version(pair) {
        let repository = Repository::new(pair);
        let file = repository.add("digits").join("1/model.onnx").display().to_string();
        let (server, client) = repository.start(&[]);
        let add = |version: &str, sha256: &str| {
            let arguments = ["model", "add", &file, "--name", "digits", "--version", version, "--sha256", sha256];
            server.cli(&arguments, "").code
        };
        assert_eq!(add("2", &"0".repeat(64)), Some(1));
        assert_eq!(add("2", SHA256), Some(0));
        assert_eq!((add("2", SHA256), add("../2", SHA256)), (Some(1), Some(1)));
        // A file of this machine is what it is; a folder has its name.
        let folder = repository.world.folder().join("loose");
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("model.onnx"), demo()).expect("a model");
        let loose = server.cli(&["model", "add", &folder.display().to_string()], "");
        assert!(loose.code == Some(0) && loose.stdout.contains(&format!("{SHA256}  model.onnx\nloose: version 1")), "{loose:?}");
        std::os::unix::fs::symlink(folder.join("model.onnx"), folder.join("link.onnx")).expect("a link");
        let link = folder.join("link.onnx").display().to_string();
        assert_eq!(server.cli(&["model", "add", &link], "").code, Some(0), "an operator named it");
        let far = server.cli(&["model", "add", "https://127.0.0.1:1/far.onnx"], "");
        assert!(far.code == Some(1) && far.stderr.contains("--sha256"), "{far:?}");
        answers(&client, "1");
        assert_eq!(server.cli(&["model", "activate", "digits", "2"], "").code, Some(0));
        eventually("version 2", || {
            (client.predict(&sample("7-1")).is(200).member("model_version") == "2").then_some(())
        });
    }

    fn with_keys_only_what_they_signed_is_served(pair) {
        let repository = Repository::new(pair);
        let digits = repository.add("digits");
        let keys = [("MODEL_SIGNING_KEYS", SIGNING_KEY)];
        let (mut server, client) = repository.start(&keys);
        client.predict(&sample("7-1")).refused(503, "model_unavailable");
        let admin = server.admin().api;
        let listed = admin.get("/api/v1/admin/models").is(200).items();
        assert!(listed[0].to_string().contains("not signed"), "{listed:?}");
        let upload = |seed: u8| {
            let path = format!("{VERSIONS}/2?sha256={SHA256}&signature={}", escaped(&signature(seed)));
            admin.send("PUT", &path, Some("application/octet-stream"), &demo())
        };
        put(&admin, "2", SHA256, &demo()).refused(400, "invalid_model");
        upload(8).refused(400, "invalid_model");
        upload(7).is(201);
        activate(&admin, "2");
        answers(&client, "2");

        fs::write(digits.join("1/model.sig"), signature(7)).expect("a signature");
        activate(&admin, "1");
        answers(&client, "1");
        assert_eq!(server.stop(), Some(0));
        let wrong = repository.world.run(&["serve"], &[("MODEL_SIGNING_KEYS", "AAAA")], "");
        assert!(wrong.code != Some(0) && wrong.stderr.contains("MODEL_SIGNING_KEYS"), "{wrong:?}");
    }
}

#[test]
fn what_changes_in_the_folder_is_found_where_that_is_wished() {
    let repository = Repository::new(Pair::Embedded);
    let digits = repository.add("digits");
    let (server, client) = repository.start(&[("MODEL_POLL_SECONDS", "1")]);
    answers(&client, "1");
    let copy = |to: &Path| {
        fs::create_dir_all(to).expect("a folder");
        fs::copy(digits.join("1/model.onnx"), to.join("model.onnx")).expect("a copy");
    };
    copy(&digits.join("2"));
    let answering = || client.predict(&sample("7-1")).is(200).member("model_version");
    eventually("the new version", || (answering() == "2").then_some(()));
    copy(&repository.folder.join("another/1"));
    eventually("the new model", || (client.get("/v2/models/another").status == 200).then_some(()));
    fs::write(digits.join("2/model.onnx"), b"overwritten").expect("a file");
    server.wait_for_log("refusal", |entry| entry["message"].to_string().contains("could not be changed"));
    answers(&client, "2");
}
