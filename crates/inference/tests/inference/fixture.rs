//! A temporary model repository and a registry over it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use inference::{InferRequest, NamedTensor, Registry, Settings, Tensor, TensorData, Ticket};
use tempfile::TempDir;

/// Files of a repository that is being written, and the settings to open it with.
pub(crate) struct Repository {
    folder: TempDir,
    pub(crate) settings: Settings,
}

impl Repository {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            model_dir: folder.path().to_owned(),
            runtime_library: Some(runtime_library()),
            ..Settings::default()
        };
        Self { folder, settings }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn with(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub(crate) fn open(&self) -> Registry {
        Registry::open(self.settings.clone())
    }

    /// The reason why the first version of a model is not served.
    pub(crate) fn reason(&self, model: &str) -> String {
        let registry = self.open();
        let status = registry.models().into_iter().find(|status| status.name == model).unwrap();
        let reason = status.reason.unwrap_or_else(|| panic!("{model} is ready"));
        assert!(!reason.contains(self.path().to_str().unwrap()), "a path in {reason}");
        assert!(matches!(registry.find(model, None), Err(inference::Error::Unavailable(_))));
        reason
    }
}

/// The library that the tests run against.
fn runtime_library() -> PathBuf {
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        return PathBuf::from(path);
    }
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.onnxruntime");
    let library = ["libonnxruntime.so", "libonnxruntime.dylib"].map(|name| fetched.join(name));
    let found = library.into_iter().find(|path| path.exists());
    found.unwrap_or_else(|| {
        panic!("ONNX Runtime is missing: run ./scripts/fetch-onnxruntime or set ORT_DYLIB_PATH")
    })
}

pub(crate) fn ticket() -> Ticket {
    ticket_for(Duration::from_secs(30))
}

pub(crate) fn ticket_for(time: Duration) -> Ticket {
    Ticket { caller: 1, priority: 0, deadline: Instant::now() + time }
}

pub(crate) fn named(name: &str, shape: &[usize], data: TensorData) -> NamedTensor {
    NamedTensor { name: name.to_owned(), tensor: Tensor::new(shape.to_vec(), data).unwrap() }
}

pub(crate) fn floats(name: &str, shape: &[usize], values: &[f32]) -> NamedTensor {
    named(name, shape, TensorData::Fp32(values.to_vec()))
}

pub(crate) fn request(inputs: Vec<NamedTensor>) -> InferRequest {
    InferRequest { inputs, outputs: Vec::new(), ticket: ticket() }
}

/// Waits until something holds; the test fails where it never does.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "it never came");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
