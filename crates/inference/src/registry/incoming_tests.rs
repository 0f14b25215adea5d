#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::sync::Arc;

use parking_lot::RwLock;

use super::*;
use crate::{scheduling::Decoder, settings::Settings};

fn loader(folder: &Path) -> Loader {
    let settings = Settings { model_dir: folder.to_owned(), ..Settings::default() };
    let decoder = Arc::new(Decoder::start(&settings));
    Loader { settings, library: Err(String::new()), decoder, known: RwLock::default() }
}

/// The digest of `model.onnx` as it is announced, and as `[source]` names it.
fn sha256(digit: char) -> String {
    digit.to_string().repeat(64)
}

fn place(loader: &Loader, origin: Origin) -> Result<(), IncomingError> {
    let incoming = loader.receive("m", "1")?;
    fs::write(incoming.path(MODEL_FILE)?, "x").unwrap();
    let files: Digests = [(MODEL_FILE.to_owned(), sha256('a'))].into();
    let admitted = Admitted { files: files.clone(), size: 1 };
    loader.place(Admissible { incoming, announced: files, admitted }, origin).map(drop)
}

#[test]
fn only_what_model_toml_names_still_is_placed() {
    let repository = tempfile::tempdir().unwrap();
    let (loader, model) = (loader(repository.path()), repository.path().join("m"));
    assert_eq!(place(&loader, Origin::Manifest), Err(IncomingError::Unwanted));
    assert!(!model.exists(), "a folder that is gone does not come back without its model.toml");

    fs::create_dir(&model).unwrap();
    let say = |text: &str| fs::write(model.join(MANIFEST_FILE), text).unwrap();
    let source = |digit| {
        format!(
            "[source.1.\"model.onnx\"]\nurl = \"https://x/m\"\nsha256 = \"{}\"\nsize = 1\n",
            sha256(digit)
        )
    };
    for (text, origin) in
        [(String::new(), Origin::Manifest), (source('b'), Origin::Manifest), (source('b'), Origin::Setting)]
    {
        say(&text);
        assert_eq!(place(&loader, origin), Err(IncomingError::Unwanted), "{text}");
    }
    say("no TOML");
    assert!(matches!(place(&loader, Origin::Manifest), Err(IncomingError::Refused(_))));
    assert!(!model.join("1").exists());
    say(&source('a'));
    assert_eq!(place(&loader, Origin::Manifest), Ok(()));
    assert_eq!(place(&loader, Origin::Manifest), Err(IncomingError::Exists));
}

#[test]
fn what_the_settings_name_needs_no_folder_before() {
    let repository = tempfile::tempdir().unwrap();
    assert_eq!(place(&loader(repository.path()), Origin::Setting), Ok(()));
    assert!(repository.path().join("m/1").join(MODEL_FILE).exists());
}

#[test]
fn only_what_nobody_writes_to_any_more_is_swept_away() {
    let parent = tempfile::tempdir().unwrap();
    let make = |name: &str, hours: u64| {
        let folder = parent.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        let file = File::create(folder.join(MODEL_FILE)).unwrap();
        let then = file.metadata().unwrap().modified().unwrap() - Duration::from_secs(hours * 3600);
        file.set_modified(then).unwrap();
        File::open(&folder).unwrap().set_modified(then).unwrap();
    };
    make("old/weights", 4);
    make("old", 3);
    make("young", 1);
    make("deep/weights", 1);
    make("deep", 3);
    fs::create_dir(parent.path().join("now")).unwrap();
    sweep(parent.path(), &parent.path().join("now"));
    let left = ["old", "young", "deep", "now"].map(|name| parent.path().join(name).exists());
    assert_eq!(left, [false, true, true, true]);
}
