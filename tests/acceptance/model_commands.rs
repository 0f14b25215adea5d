//! `modelgate model` tells a script by its exit code what a person reads.

use std::fs::{self, File};

use crate::harness::{Pair, World};

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
