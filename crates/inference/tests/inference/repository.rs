//! What is found on disk, what is served of it, and what is said about the rest.

use inference::{Access, Error, State};

use crate::{
    fixture::{Repository, floats, request},
    onnx_file::{COMPLEX64, Dimension, FLOAT, external, graph, identity, model, node, of_sequence, value},
};

#[test]
fn an_empty_or_missing_repository_is_no_failure() {
    let mut repository = Repository::new();
    assert!(repository.open().models().is_empty());
    let version = repository.open().runtime_version().unwrap();
    assert!(version.starts_with("1.") && version.split('.').count() == 3, "{version}");
    repository.settings.model_dir.push("nowhere");
    assert!(repository.open().models().is_empty());
}

#[test]
fn the_highest_number_is_the_latest() {
    let mut repository = Repository::new();
    for version in ["2", "10", "9", "old"] {
        repository = repository.with(&format!("m/{version}/model.onnx"), identity(FLOAT));
    }
    let found = repository.open().find("m", None).unwrap();
    assert_eq!((found.version(), &*found.versions()), ("10", &["10".to_owned()][..]));

    let repository = repository.with("m/model.toml", "[versions]\nserve = \"all\"");
    let registry = repository.open();
    assert_eq!(*registry.find("m", None).unwrap().versions(), ["old", "2", "9", "10"]);
    let repository = repository.with("m/model.toml", "[versions]\nlatest = 2");
    assert_eq!(*repository.open().find("m", None).unwrap().versions(), ["9", "10"]);
    assert_eq!(registry.find("m", Some("2")).unwrap().version(), "2");
    assert!(matches!(registry.find("m", Some("3")), Err(Error::NotFound(_))));
    assert!(matches!(registry.find("nothing", None), Err(Error::NotFound(_))));
    assert_eq!((registry.access("m"), registry.access("nothing")), (Some(Access::Everyone), None));
}

#[test]
fn a_broken_model_stands_beside_a_good_one() {
    let repository = Repository::new()
        .with("good/1/model.onnx", identity(FLOAT))
        .with("bad/1/model.onnx", "this is no model")
        .with("bad/model.toml", "required = true\naccess = \"granted\"")
        .with("empty/readme.txt", "")
        .with("toml/1/model.onnx", identity(FLOAT))
        .with("toml/model.toml", "requird = true");
    let registry = repository.open();
    let states: Vec<_> =
        registry.models().into_iter().map(|model| (model.name, model.state, model.required)).collect();
    let expected = [
        ("bad", State::Unavailable, true),
        ("empty", State::Unavailable, false),
        ("good", State::Ready, false),
        ("toml", State::Unavailable, false),
    ];
    assert_eq!(states, expected.map(|(name, state, required)| (name.to_owned(), state, required)));
    assert_eq!(registry.access("bad"), Some(Access::Granted));
    assert_eq!(registry.access("toml"), Some(Access::Granted));
    assert!(repository.reason("bad").contains("not a valid ONNX file"));
    assert!(repository.reason("empty").contains("no version"));
    let reason = repository.reason("toml");
    assert!(reason.contains("line 1") && reason.contains("requird"), "{reason}");
}

#[test]
fn a_version_that_was_asked_for_and_is_missing_is_said() {
    let repository = Repository::new()
        .with("m/1/model.onnx", identity(FLOAT))
        .with("m/model.toml", "[versions]\nserve = [\"1\", \"3\"]");
    let registry = repository.open();
    assert!(
        matches!(registry.find("m", Some("3")), Err(Error::Unavailable(reason)) if reason.contains("missing"))
    );
    assert_eq!(registry.find("m", None).unwrap().version(), "1");
}

#[test]
fn checksums_are_verified_before_loading() {
    let repository = Repository::new().with("m/1/model.onnx", identity(FLOAT));
    let sha256 = repository.open().models()[0].sha256.clone().unwrap();
    assert_eq!(sha256.len(), 64);
    let toml = |sum: &str| format!("[checksums]\n\"1/model.onnx\" = \"{sum}\"");
    let repository = repository.with("m/model.toml", toml(&sha256));
    assert_eq!(repository.open().models()[0].state, State::Ready);
    let repository = repository.with("m/model.toml", toml(&"0".repeat(64)));
    assert_eq!(repository.reason("m"), "checksum mismatch for 1/model.onnx");
}

#[test]
fn what_cannot_be_served_is_not_loaded() {
    let input = || value("x", FLOAT, &[Dimension::Named("n")]);
    let repository = Repository::new()
        .with("sequence/1/model.onnx", of_sequence())
        .with("complex/1/model.onnx", identity(COMPLEX64))
        .with(
            "unknown/1/model.onnx",
            model(&graph(
                &[node("Teleport", &["x"], &["y"], &[])],
                &[],
                &[input()],
                &[value("y", FLOAT, &[])],
            )),
        );
    assert!(repository.reason("sequence").contains("input \"list\" is not a tensor"));
    assert!(!repository.reason("complex").is_empty());
    assert!(!repository.reason("unknown").is_empty());
}

#[test]
fn a_model_larger_than_allowed_is_refused() {
    let mut repository = Repository::new().with("m/1/model.onnx", identity(FLOAT));
    repository.settings.max_model_bytes = 10;
    assert!(repository.reason("m").contains("at most 10"));
}

#[cfg(unix)]
#[test]
fn links_are_not_followed() {
    let repository = Repository::new()
        .with("good/1/model.onnx", identity(FLOAT))
        .with("linked/1/readme.txt", "")
        .with("half/readme.txt", "");
    let link = |to: &str, from: &str| {
        std::os::unix::fs::symlink(repository.path().join(to), repository.path().join(from)).unwrap();
    };
    link("good", "alias");
    link("good/1/model.onnx", "linked/1/model.onnx");
    link("good/1", "half/1");
    let registry = repository.open();
    assert_eq!(registry.access("alias"), None);
    assert!(repository.reason("linked").contains("links are not followed"));
    assert!(repository.reason("half").contains("no version"));
}

#[tokio::test]
async fn external_data_is_read_beside_the_model_and_nowhere_else() {
    let with_data = |location: &str| {
        let vector = |name| value(name, FLOAT, &[Dimension::Fixed(2)]);
        let add = node("Add", &["x", "w"], &["y"], &[]);
        model(&graph(&[add], &[external("w", 2, location)], &[vector("x")], &[vector("y")]))
    };
    let weights = [1.0_f32, 2.0].map(f32::to_le_bytes).concat();
    let repository = Repository::new()
        .with("beside/1/model.onnx", with_data("weights.bin"))
        .with("beside/1/weights.bin", &weights)
        .with("outside/1/model.onnx", with_data("../../secret.bin"))
        .with("secret.bin", &weights);
    let absolute = repository.path().join("secret.bin");
    let repository = repository.with("absolute/1/model.onnx", with_data(absolute.to_str().unwrap()));
    let registry = repository.open();
    let beside = registry.find("beside", None).unwrap();
    let response = beside.infer(request(vec![floats("x", &[2], &[10.0, 10.0])])).await.unwrap();
    assert_eq!(response.outputs, [floats("y", &[2], &[11.0, 12.0])]);
    assert!(!repository.reason("outside").is_empty());
    assert!(!repository.reason("absolute").is_empty());
    registry.shutdown();
}
