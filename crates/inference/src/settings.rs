//! The bounds of this crate, each with a name.

use std::{num::NonZero, path::PathBuf, thread, time::Duration};

use crate::{
    loading::TrialSettings,
    operators::OperatorLibrary,
    provider::Provider,
    repository::{KnownFiles, SigningKey},
};

/// Where models come from and how much they may take.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder of the model repository: `<name>/<version>/model.onnx`. Default `models`.
    pub model_dir: PathBuf,
    /// The ONNX Runtime library (`ORT_DYLIB_PATH`). Without it: beside the executable, then `.onnxruntime/` in
    /// the working directory, then wherever the system's loader finds it. Default none.
    pub runtime_library: Option<PathBuf>,
    /// Sessions, each on a thread of its own, for a model that does not say. Default: one per core, at most 2.
    pub instances: usize,
    /// Threads inside one run of a model that does not say. Default 1: requests are parallel already.
    pub intra_threads: usize,
    /// What computes a model that does not say, best first; default the processor.
    pub providers: Vec<Provider>,
    /// Memory that each session of a model that does not say may take for what its runs compute, beside three times the
    /// size of the model's files, in bytes; 0: all that there is. Default 2 GiB.
    pub model_memory: u64,
    /// Memory for the kept answers of a version whose `[cache]` does not say, in bytes. Default 64 MiB.
    pub cache_bytes: u64,
    /// Requests that may wait for one version of a model; one more is [`Overloaded`](crate::Error::Overloaded).
    /// The same number of pictures may wait to be decoded. Default 128.
    pub queue_capacity: usize,
    /// How long the first run of a session, on zeros, may take before it is ended. Default 10 s.
    pub warm_up_time: Duration,
    /// How unknown models are tried in a child process before they are loaded; none: they are not. Default none.
    pub trial: Option<TrialSettings>,
    /// Public keys of which one must have signed a version, or it is not served. Empty: no signature needed. Default
    /// empty.
    pub signing_keys: Vec<SigningKey>,
    /// What files of versions have to be by the settings of the server (`MODEL_URL_SHA256`), where no `model.toml` names
    /// them. Default none.
    pub named_files: KnownFiles,
    /// Libraries of operators that models may request. Default none.
    pub custom_operators: Vec<OperatorLibrary>,
    /// Threads that decode pictures. Default: one per core, at most 4.
    pub decode_threads: usize,
    /// Size of a `model.onnx` in bytes. Default 2 GiB, which is also the limit of its format.
    pub max_model_bytes: u64,
    /// Size of one encoded picture in bytes. Default 10 MiB.
    pub max_image_bytes: usize,
    /// Width × height of one picture, read from its header before anything is decoded. Default 50 million.
    pub max_image_pixels: u64,
    /// Pixels of all pictures that are decoded at a time; a larger one is decoded alone. Default 100 million.
    pub max_decoding_pixels: u64,
    /// Width and height of one picture, in pixels. Default 16 384.
    pub max_image_side: u32,
    /// Pictures in one call of [`Model::predict`](crate::Model::predict). Default 64.
    pub max_images: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            model_dir: PathBuf::from("models"),
            runtime_library: None,
            instances: cores.min(2),
            intra_threads: 1,
            providers: vec![Provider::Cpu],
            model_memory: 2 << 30,
            cache_bytes: 64 << 20,
            queue_capacity: 128,
            warm_up_time: Duration::from_secs(10),
            trial: None,
            signing_keys: Vec::new(),
            named_files: KnownFiles::new(),
            custom_operators: Vec::new(),
            decode_threads: cores.min(4),
            max_model_bytes: 2 << 30,
            max_image_bytes: 10 << 20,
            max_image_pixels: 50_000_000,
            max_decoding_pixels: 100_000_000,
            max_image_side: 16_384,
            max_images: 64,
        }
    }
}
