//! Versions that come, go and break on disk: what is served stays served, on every replica, until something that can be
//! served takes its place.

use std::fs;

use serde_json::{Value, json};

use crate::harness::onnx_file::{bytes, patient};
use crate::harness::{Client, Pair, Reply, Repository, eventually, promise, sample, sha256, workspace};

const ADMIN: &str = "/api/v1/admin/models";

/// The demo model, told apart by what nobody reads.
fn demo(mark: &str) -> Vec<u8> {
    let model = fs::read(workspace().join("models/digits/1/model.onnx")).expect("the demo model");
    [model, bytes(6, mark)].concat()
}

#[track_caller]
fn put(admin: &Client, path: &str, file: &[u8]) -> Reply {
    let path = format!("{ADMIN}/{path}?sha256={}", sha256(file));
    admin.send("PUT", &path, Some("application/octet-stream"), file)
}

#[track_caller]
fn activate(admin: &Client, version: &str) {
    admin.post(&format!("{ADMIN}/digits/activate"), &json!({"version": version})).is(204);
}

/// A version of `digits`, as the administrator sees it.
fn version(admin: &Client, version: &str) -> Option<Value> {
    let models = admin.get(ADMIN).is(200).items();
    let digits = models.into_iter().find(|model| model["name"] == "digits")?;
    digits["versions"].as_array()?.iter().find(|one| one["version"] == version).cloned()
}

promise! {
    fn a_version_that_breaks_on_disk_goes_on_and_so_do_the_others(pair) {
        let repository = Repository::new(pair);
        let digits = repository.add("digits");
        let manifest = digits.join("model.toml");
        let text = fs::read_to_string(&manifest).expect("model.toml");
        let text = text.split("[checksums]").next().unwrap_or_default();
        fs::write(&manifest, text.replace("serve = \"latest\"", "serve = \"all\"")).expect("model.toml");
        fs::create_dir(digits.join("2")).expect("a folder");
        fs::write(digits.join("2/model.onnx"), demo("two")).expect("a model");
        let (server, client) = repository.start(&[]);
        let admin = server.admin().api;
        let whole = fs::read(digits.join("1/model.onnx")).expect("a model");
        fs::write(digits.join("1/model.onnx"), &whole[..1000]).expect("a file");
        let refused = admin.act(&format!("{ADMIN}/digits/load")).refused(409, "model_not_loadable").text();
        assert!(refused.contains("version 1"), "{refused}");
        for version in ["1", "2"] {
            client.get(&format!("/v2/models/digits/versions/{version}/ready")).is(200);
        }
        fs::write(digits.join("1/model.onnx"), whole).expect("a file");
        admin.act(&format!("{ADMIN}/digits/load")).is(204);
    }

    fn a_key_that_is_narrowed_to_some_models_manages_no_others(pair) {
        let repository = Repository::new(pair);
        repository.add("digits");
        repository.add("other");
        let (server, _) = repository.start(&[]);
        let admin = server.admin();
        let scopes = json!(["models:read", "models:infer", "models:manage", "limits:manage"]);
        let (_, key) = admin.make_key_with(json!({"name": "narrow", "scopes": scopes, "models": ["digits"]}));
        let narrow = server.key(&key);
        let listed = narrow.get(ADMIN).is(200).items();
        assert!(listed.len() == 1 && listed[0]["name"] == "digits", "{listed:?}");
        let other = format!("{ADMIN}/other");
        for act in ["load", "unload", "rollback"] {
            narrow.act(&format!("{other}/{act}")).refused(404, "model_not_found");
        }
        narrow.act("/v2/repository/models/other/unload").is(404);
        narrow.post(&format!("{other}/activate"), &json!({"version": "1"})).refused(404, "model_not_found");
        put(&narrow, "other/versions/2", &demo("two")).refused(404, "model_not_found");
        narrow.delete(&format!("{other}/versions/1")).refused(404, "model_not_found");
        narrow.get(&format!("{other}/access")).refused(404, "model_not_found");
        narrow.put(&format!("{other}/access"), &json!({"access": "granted"})).refused(404, "model_not_found");
        narrow.put(&format!("{other}/grants"), &json!({"role": "user"})).refused(404, "model_not_found");
        narrow.put("/api/v1/admin/limits/model/other", &json!({"per_minute": 1})).refused(404, "model_not_found");
        narrow.act(&format!("{ADMIN}/digits/load")).is(204);
        assert_eq!(admin.api.get(ADMIN).is(200).items().len(), 2);
    }

    fn a_model_that_was_only_added_is_served_nowhere(pair) {
        let repository = Repository::new(pair);
        let (mut server, _) = repository.start(&[]);
        put(&server.admin().api, "digits/versions/1", &demo("one")).is(201);
        assert_eq!(server.stop(), Some(0));
        let folder = repository.folder.display().to_string();
        let server = repository.world.start(&[("MODEL_DIR", &folder), ("MODEL_POLL_SECONDS", "1")]);
        let client = server.log_in("ada@example.com", "Correct-horse-battery-9").api;
        let admin = server.admin_called("other").api;
        let told = admin.get(ADMIN).is(200).items()[0].to_string();
        assert!(told.contains("wait for their activation"), "{told}");
        assert_ne!(client.get("/v2/models/digits").status, 200);
        admin.act(&format!("{ADMIN}/digits/load")).is(204);
        client.get("/v2/models/digits").is(200);
        admin.act(&format!("{ADMIN}/digits/unload")).is(204);
        admin.delete(&format!("{ADMIN}/digits/versions/1")).is(204);
        // The last one takes the model along.
        assert!(!repository.folder.join("digits").exists());
        eventually("gone from the list", || admin.get(ADMIN).is(200).items().is_empty().then_some(()));
    }
}

#[test]
fn a_number_that_comes_again_is_another_version_on_every_replica() {
    let repository = Repository::new(Pair::Shared);
    repository.add("digits");
    let (first, _) = repository.start(&[]);
    let folder = repository.folder.display().to_string();
    let second = repository.world.start(&[("MODEL_DIR", &folder)]);
    let admin = first.admin().api;
    let there = admin.at(second.address());
    let (old, new) = (demo("old"), demo("new"));
    let comes = |file: &[u8]| {
        let digest = sha256(file);
        eventually("the version there", || (version(&there, "2")?["sha256"] == *digest).then_some(()));
    };
    put(&admin, "digits/versions/2", &old).is(201);
    activate(&admin, "2");
    comes(&old);
    // Faster than anybody follows.
    activate(&admin, "1");
    admin.delete(&format!("{ADMIN}/digits/versions/2")).is(204);
    put(&admin, "digits/versions/2", &new).is(201);
    activate(&admin, "2");
    assert_eq!(version(&admin, "2").expect("a version")["sha256"], *sha256(&new));
    comes(&new);
    // One that is removed is served nowhere, whoever served it besides.
    activate(&admin, "1");
    admin.delete(&format!("{ADMIN}/digits/versions/2")).is(204);
    eventually("gone there", || version(&there, "2").is_none().then_some(()));
    assert!(first.world.sql("SELECT count(*) FROM model_files WHERE version = '2'").trim() == "0");
}

#[test]
fn a_model_that_takes_long_to_load_holds_up_no_other_change() {
    let repository = Repository::new(Pair::Shared);
    repository.add("digits");
    let slow = repository.folder.join("slow");
    fs::create_dir_all(slow.join("1")).expect("a folder");
    fs::write(slow.join("1/model.onnx"), patient()).expect("a model");
    let (first, _) = repository.start(&[]);
    let folder = repository.folder.display().to_string();
    let second = repository.world.start(&[("MODEL_DIR", &folder)]);
    let there = second.log_in("ada@example.com", "Correct-horse-battery-9").api;
    let admin = first.admin().api;
    there.predict(&sample("7-1")).is(200);
    let warm = "[warm_up.inputs.turns]\nshape = [1]\nvalue = 5000000\n[runtime]\ninstances = 1\n";
    fs::write(slow.join("model.toml"), warm).expect("model.toml");
    admin.act(&format!("{ADMIN}/slow/load")).is(204);
    let state = || {
        let lines = there.act("/v2/repository/index").is(200).json();
        let line = lines.as_array().expect("a list").iter().find(|line| line["name"] == "slow").cloned();
        line.expect("slow")["state"].clone()
    };
    let begun = second.log().matches("slow").count();
    admin.act(&format!("{ADMIN}/digits/unload")).is(204);
    eventually("unloaded there", || (there.predict(&sample("7-1")).status == 503).then_some(()));
    let still = second.log().matches("slow").count() == begun;
    assert!(still, "{} loaded before: {}", state(), second.log());
}
