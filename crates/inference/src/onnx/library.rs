//! Finding and loading the library.

use std::{
    env,
    fs::File,
    io::Read,
    panic::catch_unwind,
    path::{Path, PathBuf},
    sync::Arc,
};

use ort::{environment::Environment, logging::LogLevel};
use parking_lot::Mutex;

use super::division;

/// What to do where the library is missing.
const HINT: &str = "run ./scripts/fetch-onnxruntime or set ORT_DYLIB_PATH";

/// One environment per process is all that the runtime allows, and the library is never unloaded.
static LOADED: Mutex<Option<Library>> = Mutex::new(None);

/// The loaded library.
#[derive(Clone)]
pub(crate) struct Library {
    pub(super) environment: Environment,
    version: Option<String>,
    place: PathBuf,
}

impl Library {
    /// Loads the library from `path`, or from the first place that has it: beside the executable, then
    /// `.onnxruntime/` in the working directory, then wherever the system's loader looks. Loading it a second
    /// time gives the first one.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self, String> {
        let mut loaded = LOADED.lock();
        if let Some(library) = &*loaded {
            return Ok(library.clone());
        }
        let place = match path {
            Some(path) => path.to_owned(),
            None => find().unwrap_or_else(|| PathBuf::from(system_name())),
        };
        // The binding asserts on libraries that are something else altogether.
        let opened = catch_unwind(|| open(&place)).unwrap_or_else(|_| Err("not ONNX Runtime".to_owned()));
        let library = opened.map_err(|error| {
            tracing::error!(library = %place.display(), error, "ONNX Runtime could not be loaded");
            format!("ONNX Runtime could not be loaded; {HINT}")
        })?;
        tracing::info!(library = %place.display(), version = library.version, "ONNX Runtime loaded");
        Ok(loaded.insert(library).clone())
    }

    /// Its file, unless the system's loader found it.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.place.is_file().then_some(&self.place)
    }

    /// Its version, such as `1.31.1`, where it can be told.
    pub(crate) fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }
}

fn open(place: &Path) -> Result<Library, String> {
    let builder = ort::init_from(place).map_err(|error| error.to_string())?;
    // On by default in the vendor's builds, and it reports the names of models.
    let builder = builder.with_name("modelgate").with_telemetry(false).with_logger(Arc::new(forward_log));
    let environment = builder.build();
    let environment = environment.map_err(|error| error.to_string())?;
    division::install_handler();
    environment.set_log_level(LogLevel::Warning);
    Ok(Library { environment, version: version(place), place: place.to_owned() })
}

/// Forwards the runtime's log; the binding's own logger leaves out the session. The runtime logs every failed call as
/// an error, often the caller's fault: here it is a warning, and the code that made the call decides how bad it is.
fn forward_log(level: LogLevel, _category: &str, model: &str, place: &str, message: &str) {
    match level {
        LogLevel::Verbose => tracing::trace!(target: "ort", model, place, "{message}"),
        LogLevel::Info => tracing::info!(target: "ort", model, place, "{message}"),
        LogLevel::Warning | LogLevel::Error => tracing::warn!(target: "ort", model, place, "{message}"),
        LogLevel::Fatal => tracing::error!(target: "ort", model, place, "{message}"),
    }
}

/// The version that the library's symbols carry, since the binding does not tell it; on other systems than Linux
/// that of its file name.
fn version(place: &Path) -> Option<String> {
    const SYMBOL: &[u8] = b"VERS_";
    // The names of symbols come first in the file.
    const START: u64 = 1 << 20;
    let mut start = Vec::new();
    File::open(place).ok()?.take(START).read_to_end(&mut start).ok()?;
    let number = |text: &[u8]| {
        let number: String = text
            .iter()
            .map(|&byte| char::from(byte))
            .take_while(|&c| c.is_ascii_digit() || c == '.')
            .collect();
        number.contains('.').then_some(number)
    };
    let symbol = start.windows(SYMBOL.len()).position(|window| window == SYMBOL);
    let symbol = symbol.and_then(|position| number(&start[position + SYMBOL.len()..]));
    let name = || {
        let name = place.canonicalize().ok()?.file_name()?.to_string_lossy().into_owned();
        number(name[name.find(|c: char| c.is_ascii_digit())?..].trim_end_matches(".dylib").as_bytes())
    };
    symbol.or_else(name)
}

/// The library beside the executable or in `.onnxruntime/`.
fn find() -> Option<PathBuf> {
    let beside = env::current_exe().ok().and_then(|executable| executable.parent().map(Path::to_owned));
    let fetched = env::current_dir().ok().map(|directory| directory.join(".onnxruntime"));
    beside.into_iter().chain(fetched).find_map(|folder| library_in(&folder))
}

/// `libonnxruntime.so`, or the first of `libonnxruntime.so.1…` and their macOS counterparts.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let plain = folder.join(system_name());
    if plain.is_file() {
        return Some(plain);
    }
    let mut versioned: Vec<PathBuf> = folder
        .read_dir()
        .ok()?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let linux = name.starts_with("libonnxruntime.so.1");
            path.is_file() && (linux || (name.starts_with("libonnxruntime.1") && name.ends_with(".dylib")))
        })
        .collect();
    versioned.sort();
    versioned.pop()
}

fn system_name() -> String {
    format!("{}onnxruntime{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX)
}
