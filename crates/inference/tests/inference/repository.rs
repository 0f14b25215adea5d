//! What is found on disk, what is served of it, and what is said about the rest.

use std::collections::HashMap;

use inference::{Access, Error, State};

use crate::{
    fixture::{Repository, floats, request},
    onnx_file::{
        COMPLEX64, Dimension, FLOAT, STRING, external, graph, identity, model, node, of_sequence, value,
    },
};

#[test]
fn an_empty_or_missing_repository_is_no_failure() {
    let mut repository = Repository::new();
    assert!(repository.open().models().is_empty());
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
        matches!(registry.find("m", Some("3")), Err(Error::Unavailable(reason)) if reason.contains("no folder 3/"))
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

/// `y = x + w`, all of them vectors.
fn sum() -> Vec<u8> {
    let vector = |name| value(name, FLOAT, &[Dimension::Named("n")]);
    let add = node("Add", &["x", "w"], &["y"], &[]);
    model(&graph(&[add], &[], &[vector("x"), vector("w")], &[vector("y")]))
}

/// What `model.toml` claims of a model with an input `x` and an output `y`, both `[n, 2]` floats, and what is wrong
/// with it.
#[test]
fn a_model_toml_that_lies_costs_its_model_and_nothing_else() {
    /// What is true of it.
    macro_rules! fits {
        () => {
            "[image]\ninput = \"x\"\nwidth = 2\nheight = 1\ncolor = \"gray\"\nlayout = \"flat\"\n"
        };
    }
    let lies = [
        ("[versions]\nlatest = 0", "latest"),
        ("[versions]\nserve = [\"../m\"]", "cannot be a version"),
        ("[versions]\nserve = [\"..\"]", "cannot be a version"),
        ("[versions]\nserve = [\"1/../1\"]", "cannot be a version"),
        ("[versions]\nserve = []", "version"),
        ("[image]\ninput = \"x\"\nwidth = 8\nheight = 8", "batches of pictures"),
        ("[image]\ninput = \"z\"\nwidth = 8\nheight = 8", "no input \"z\""),
        ("[image]\ninput = \"x\"\nwidth = 4096\nheight = 4294967296", "line 4"),
        ("[text]\ninput = \"x\"", "what can be filled here is BYTES"),
        (concat!(fits!(), "[classification]\noutput = \"z\""), "has no output"),
        (concat!(fits!(), "[regression]\noutput = \"x\""), "has no output"),
        (concat!(fits!(), "[classification]\noutput = \"y\"\nlabels = \"missing.txt\""), "missing"),
        (concat!(fits!(), "[classification]\noutput = \"y\"\nlabels = \"../secret.txt\""), "labels"),
        (concat!(fits!(), "[classification]\noutput = \"y\"\nlabels = \"/etc/passwd\""), "labels"),
        (concat!(fits!(), "[classification]\noutput = \"y\"\nlabels = \"1\""), "labels"),
        ("[checksums]\n\"/dev/zero\" = \"00\"", "not a file in the model's folder"),
        ("[checksums]\n\"../../etc/passwd\" = \"00\"", "not a file in the model's folder"),
        ("[checksums]\n\"1/../1/model.onnx\" = \"00\"", "not a file in the model's folder"),
        ("[runtime]\ninstances = 65", "instances"),
        ("[runtime]\ninstances = -1", "line 2"),
        ("[runtime]\nintra_threads = 1e9", "line 2"),
        ("[warm_up]\nbatch_sizes = [4097]", "batch_sizes"),
        ("[warm_up.inputs.x]\nshape = [9223372036854775807]", "too large"),
        ("[warm_up.inputs.x]\nshape = [4, 4]", "x"),
        ("[warm_up.inputs.z]\nvalue = 1.0", "no input \"z\""),
        ("[warm_up.inputs.x]\nvalue = nan", "finite"),
        ("description = \"\\ud800\"", "line 1"),
        ("\0", "line 1"),
    ];
    let deep = [("[", "]"), ("{a=", "}")]
        .map(|(open, close)| format!("description = {}{}", open.repeat(100_000), close.repeat(100_000)));
    let dotted = format!("{} = 1", vec!["a"; 200_000].join("."));
    let lies = lies.into_iter().chain([(&*deep[0], "line 1"), (&deep[1], "line 1"), (&dotted, "model.toml")]);
    let lies: Vec<(&str, &str)> = lies.collect();
    let mut repository = Repository::new()
        .with("good/1/model.onnx", identity(FLOAT))
        .with("texts/1/model.onnx", identity(STRING))
        .with(
            "texts/model.toml",
            format!("[warm_up.inputs.x]\nshape = [67108864]\ntext = \"{}\"", "a".repeat(1000)),
        )
        .with("two/1/model.onnx", sum())
        .with(
            "two/model.toml",
            "[warm_up.inputs.x]\nshape = [50000000]\n[warm_up.inputs.w]\nshape = [50000000]",
        )
        .with("nothing/1/model.onnx", "")
        .with("secret.txt", "secret")
        .with("labelled/model.toml", "#".repeat((1 << 20) + 1))
        .with("..hidden/1/model.onnx", identity(FLOAT))
        .with("a..b/1.0/model.onnx", identity(FLOAT))
        .with("-x/1/model.onnx", identity(FLOAT));
    for (number, (toml, _)) in lies.iter().enumerate() {
        let folder = format!("lie-{number}");
        repository = repository
            .with(&format!("{folder}/1/model.onnx"), identity(FLOAT))
            .with(&format!("{folder}/model.toml"), toml);
    }
    let registry = repository.open();
    let reasons: HashMap<_, _> =
        registry.models().into_iter().map(|model| (model.name, model.reason)).collect();
    for (number, (toml, told)) in lies.iter().enumerate() {
        let reason =
            reasons[&format!("lie-{number}")].clone().unwrap_or_else(|| panic!("{toml} is believed"));
        let toml: String = toml.chars().take(100).collect();
        assert!(reason.contains(told) && reason.len() < 1000, "{toml}: {}", reason.len());
        assert!(!reason.contains(repository.path().to_str().unwrap()), "{toml}: {reason}");
    }
    let two = reasons["two"].as_ref();
    assert!(two.is_some_and(|reason| reason.contains("too large")), "{two:?}");
    assert!(reasons["texts"].as_ref().is_some_and(|reason| reason.contains("too large")));
    assert!(
        reasons["nothing"].is_some()
            && reasons["labelled"].as_ref().is_some_and(|reason| reason.contains("1 MiB"))
    );
    assert_eq!(
        (&reasons["good"], &reasons["a..b"]),
        (&None, &None),
        "dots are letters of a name, but the first"
    );
    assert!(!reasons.contains_key("..hidden") && !reasons.contains_key("-x"));
    assert_eq!(registry.find("a..b", Some("1.0")).unwrap().version(), "1.0");
}

/// A model is another one as soon as its file is: what answers is what the digest says, however the two meet.
#[tokio::test]
async fn a_file_that_is_replaced_while_it_is_loaded_is_not_taken_for_the_other() {
    let negated = || {
        let vector = |name| value(name, FLOAT, &[Dimension::Named("n"), Dimension::Fixed(2)]);
        model(&graph(&[node("Neg", &["x"], &["y"], &[])], &[], &[vector("x")], &[vector("y")]))
    };
    let repository = Repository::new().with("m/1/model.onnx", identity(FLOAT));
    let same = repository.open().models()[0].sha256.clone();
    let (file, other) = (repository.path().join("m/1/model.onnx"), repository.path().join("other"));
    let mut refused = 0;
    for delay in 0..60_u64 {
        std::fs::write(&file, identity(FLOAT)).unwrap();
        std::fs::write(&other, negated()).unwrap();
        let (from, to) = (other.clone(), file.clone());
        let replace = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_micros(delay * 150));
            std::fs::rename(from, to).unwrap();
        });
        let registry = repository.open();
        replace.join().unwrap();
        let sha256 = registry.models()[0].sha256.clone();
        match registry.find("m", None) {
            Ok(model) => {
                let answer = model.infer(request(vec![floats("x", &[1, 2], &[2.0, 2.0])])).await.unwrap();
                let expected = if sha256 == same { 2.0 } else { -2.0 };
                assert_eq!(answer.outputs, [floats("y", &[1, 2], &[expected, expected])], "after {delay}");
            }
            Err(Error::Unavailable(_)) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
        registry.shutdown();
    }
    assert!(refused < 60, "it is always refused");
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
