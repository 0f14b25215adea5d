//! `modelgate model` tells a script by its exit code what a person reads.

use std::fs::{self, File};

use crate::harness::World;
use crate::harness::{
    FileServer, Finished, Pair, Repository, Server, eventually, promise, sha256, workspace,
};

/// A repository that is not there is no empty one, in which nothing is wrong.
#[test]
fn what_cannot_be_looked_at_is_not_verified() {
    let world = World::new(Pair::Embedded);
    let folder = world.folder().join("repository");
    let run =
        |command: &str| world.run(&["model", command], &[("MODEL_DIR", &folder.display().to_string())], "");
    for command in ["list", "verify"] {
        let refused = run(command);
        assert!(refused.code == Some(1) && refused.stderr.contains("MODEL_DIR"), "{refused:?}");
    }
    fs::create_dir(&folder).expect("a folder");
    let empty = run("verify");
    assert_eq!((empty.code, empty.stdout.as_str()), (Some(0), ""));
}

/// What is said of a file names it as it is called.
#[test]
fn an_inspected_file_keeps_its_name() {
    let world = World::new(Pair::Embedded);
    let file = world.folder().join("mine.onnx");
    fs::write(&file, [0; 1000]).expect("a file");
    let inspected = world.run(&["model", "inspect", &file.display().to_string()], &[], "");
    let said = format!("{}{}", inspected.stdout, inspected.stderr);
    assert!(
        inspected.code == Some(1) && said.contains("mine.onnx") && !said.contains("model.onnx"),
        "{said}"
    );
}

/// Output that nobody could get is a failure; a reader who has read enough is none.
#[test]
#[cfg(target_os = "linux")]
fn lost_output_is_a_failure() {
    let world = World::new(Pair::Embedded);
    let full = File::options().write(true).open("/dev/full").expect("a full disk");
    assert_eq!(world.run_into(&["openapi"], full), Some(1));
    let (_, closed) = std::io::pipe().expect("a pipe");
    let closed = File::from(std::os::fd::OwnedFd::from(closed));
    assert_eq!(world.run_into(&["openapi"], closed), Some(0));
}

/// What `list` says of a version, in its last column.
fn said(server: &Server, version: &str) -> Option<String> {
    let listed = server.cli(&["model", "list"], "");
    let start = format!("digits\t{version}\t");
    let line = listed.stdout.lines().find(|line| line.starts_with(&start))?;
    line.rsplit('\t').next().map(str::to_owned)
}

#[track_caller]
fn done(server: &Server, arguments: &[&str]) -> Finished {
    let finished = server.cli(&[&["model"], arguments].concat(), "");
    assert_eq!(finished.code, Some(0), "{arguments:?}: {finished:?}");
    finished
}

promise! {
    fn the_list_says_what_servers_do(pair) {
        let repository = Repository::new(pair);
        let file = repository.add("digits").join("1/model.onnx").display().to_string();
        let (server, _) = repository.start(&[]);
        done(&server, &["add", &file, "--name", "digits"]);
        assert_eq!(said(&server, "1").as_deref(), Some("ready, active"));
        assert_eq!(said(&server, "2").as_deref(), Some("waits for its activation"));
        let bench = ["bench", "digits", "--rows", "1", "--seconds", "0.01"];
        assert!(done(&server, &bench).stdout.contains("digits version 1,"));
        done(&server, &["activate", "digits", "2"]);
        assert_eq!(said(&server, "2").as_deref(), Some("ready, active"));
        done(&server, &["unload", "digits"]);
        assert_eq!(said(&server, "2").as_deref(), Some("it was unloaded"));
        done(&server, &["verify"]);
        assert!(done(&server, &bench).stdout.contains("digits version 2,"));
    }

    fn what_is_served_of_a_folder_that_is_gone_can_be_stopped(pair) {
        let repository = Repository::new(pair);
        let digits = repository.add("digits");
        let (server, client) = repository.start(&[]);
        client.get("/v2/models/digits").is(200);
        eventually("its files are remembered", || (said(&server, "1").as_deref() == Some("ready, active")).then_some(()));
        fs::rename(&digits, repository.world.folder().join("elsewhere")).expect("moved");
        let unknown = server.cli(&["model", "unload", "nothing"], "");
        assert!(unknown.code == Some(1) && unknown.stderr.contains("no model"), "{unknown:?}");
        done(&server, &["unload", "digits"]);
        eventually("it is stopped", || (client.get("/v2/models/digits").status != 200).then_some(()));
    }

    fn a_model_that_only_names_where_it_is_comes_by_its_load(pair) {
        let file_server = FileServer::plain();
        let demo = fs::read(workspace().join("models/digits/1/model.onnx")).expect("the demo model");
        file_server.put("/digits.onnx", &demo);
        let repository = Repository::new(pair);
        let (server, client) = repository.start(&[("MODEL_SOURCES_PLAIN_HTTP", "true")]);
        let digits = repository.add("digits");
        fs::remove_dir_all(digits.join("1")).expect("removed");
        let (url, digest) = (file_server.url("/digits.onnx"), sha256(&demo));
        let toml = fs::read_to_string(digits.join("model.toml")).expect("model.toml");
        let source = format!("\n[source.1.\"model.onnx\"]\nurl = {url:?}\nsha256 = {digest:?}\nsize = {}\n", demo.len());
        fs::write(digits.join("model.toml"), toml + &source).expect("model.toml");
        let loaded = done(&server, &["load", "digits"]);
        assert!(loaded.stdout.contains("version 1 was fetched"), "{loaded:?}");
        eventually("it answers", || (client.get("/v2/models/digits").status == 200).then_some(()));
    }
}
