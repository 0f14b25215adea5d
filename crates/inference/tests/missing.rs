//! Without the library. A process loads it at most once, so this has a process of its own.
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use inference::{Error, Registry, Settings, State};

#[test]
fn without_the_runtime_every_model_is_listed_and_none_is_served() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("m/1")).unwrap();
    let good = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/digits/1/model.onnx");
    std::fs::copy(good, folder.path().join("m/1/model.onnx")).unwrap();
    let nothing = folder.path().join("libnothing.so");
    let no_library = folder.path().join("m/1/model.onnx");
    for library in [nothing, no_library] {
        let settings = Settings {
            model_dir: folder.path().to_owned(),
            runtime_library: Some(library),
            ..Settings::default()
        };
        let registry = Registry::open(settings);
        let status = registry.models().remove(0);
        assert_eq!((status.state, status.sha256.is_some()), (State::Unavailable, true));
        assert!(status.reason.unwrap().contains("./scripts/fetch-onnxruntime"));
        assert!(matches!(registry.find("m", None), Err(Error::Unavailable(_))));
        registry.shutdown();
    }
}
