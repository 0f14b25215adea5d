//! Which models are served.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use inference::Provider;

use super::{at_least_one, threads};

/// Which models are served.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Models")]
#[group(skip)]
pub struct ModelSettings {
    /// The model repository: <name>/<version>/model.onnx, with an optional <name>/model.toml.
    #[arg(long = "MODEL_DIR", default_value = "models")]
    pub model_dir: PathBuf,
    /// The ONNX Runtime library; unset: beside the program, then .onnxruntime/, then the system's.
    #[arg(long = "ORT_DYLIB_PATH")]
    pub ort_dylib_path: Option<PathBuf>,
    /// Largest model file in MiB.
    #[arg(long = "MAX_MODEL_SIZE_MB", default_value_t = 2048, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    pub max_model_size_mb: u64,
    /// Folder of the results of trials, each by the model's digest; unset: trials/ in DATA_DIR. Replicas may share it.
    #[arg(long = "MODEL_TRIAL_DIR")]
    pub model_trial_dir: Option<PathBuf>,
    /// Seconds that the trial of an unknown model, which loads and runs it once in a process of its own, may take.
    #[arg(long = "MODEL_TRIAL_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub model_trial_seconds: u64,
    /// MiB of address space of the trial's process, beside three times the size of the model's files.
    #[arg(long = "MODEL_TRIAL_MEMORY_MB", default_value_t = 4096, value_parser = clap::value_parser!(u64).range(256..=1_048_576))]
    pub model_trial_memory_mb: u64,
    /// How often the files of models that are served are read again and compared with what was loaded; 0 = never.
    #[arg(long = "MODEL_VERIFY_INTERVAL_SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(..=31_536_000))]
    pub model_verify_interval_seconds: u32,
    /// How often MODEL_DIR is looked at for models that are new or changed, in seconds; 0 = never. What changed is
    /// loaded once two looks in a row saw the same.
    #[arg(long = "MODEL_POLL_SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=86_400))]
    pub model_poll_seconds: u64,
    /// Ed25519 public keys, 32 bytes in Base64, separated by commas: a version is served only if one of them signed its
    /// files (docs/MODELS.md). Unset: versions need no signature.
    #[arg(long = "MODEL_SIGNING_KEYS", value_delimiter = ',', value_parser = signing_key)]
    pub model_signing_keys: Vec<inference::SigningKey>,
    /// Libraries of operators that models may request by name (custom_operators in model.toml): absolute paths,
    /// separated by commas, each alone or as PATH=SHA256. A library runs with all rights of the server. Unset: none.
    #[arg(long = "CUSTOM_OPERATORS", value_delimiter = ',', value_parser = inference::OperatorLibrary::parse)]
    pub custom_operators: Vec<inference::OperatorLibrary>,
    /// Requests that may wait for one model; one more is answered with 503.
    #[arg(long = "MODEL_QUEUE_CAPACITY", default_value_t = 256, value_parser = at_least_one)]
    pub model_queue_capacity: usize,
    /// What computes models whose model.toml does not say, best first, separated by commas: cpu, cuda, tensorrt,
    /// openvino, migraphx, coreml, directml, xnnpack. What follows one that the runtime refuses is the fallback;
    /// without cpu there is none.
    #[arg(long = "EXECUTION_PROVIDERS", value_delimiter = ',', default_value = "cpu")]
    pub execution_providers: Vec<Provider>,
    /// MiB that each session of a model may take for what its runs compute, beside three times the size of the
    /// model's files, where its model.toml does not say; a call that needs more is answered with 400. 0 = all that
    /// there is.
    #[arg(long = "MODEL_MEMORY_MB", default_value_t = 2048, value_parser = clap::value_parser!(u64).range(..=1_048_576))]
    pub model_memory_mb: u64,
    /// Memory in MiB for the kept answers of each version of a model with a [cache] in its model.toml.
    #[arg(long = "MODEL_CACHE_MB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub model_cache_mb: u64,
    /// Threads that decode pictures; unset: one per core.
    #[arg(long = "IMAGE_THREADS", value_parser = threads)]
    pub image_threads: Option<NonZeroUsize>,
    /// Most pixels of a picture, looked at before it is decoded.
    #[arg(long = "MAX_IMAGE_PIXELS", default_value_t = 50_000_000)]
    pub max_image_pixels: u64,
    /// Pixels that are decoded at a time, in all pictures together; while one is decoded, each takes up to 15 bytes.
    #[arg(long = "MAX_DECODING_PIXELS", default_value_t = 100_000_000)]
    pub max_decoding_pixels: u64,
    /// Longest side of a picture in pixels.
    #[arg(long = "MAX_IMAGE_SIDE", default_value_t = 16_384)]
    pub max_image_side: u32,
    /// Seconds from its arrival after which an inference is given up with 504.
    #[arg(long = "INFER_TIMEOUT_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub infer_timeout_seconds: u64,
}

impl ModelSettings {
    /// Bytes of the largest model file.
    pub fn max_model_bytes(&self) -> u64 {
        self.max_model_size_mb << 20
    }
}

fn signing_key(text: &str) -> Result<inference::SigningKey, &'static str> {
    let bytes = data_encoding::BASE64.decode(text.trim().as_bytes()).map_err(|_| "this is not Base64")?;
    bytes.try_into().map_err(|_| "an Ed25519 public key has 32 bytes")
}
