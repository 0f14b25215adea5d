//! ONNX Runtime: the only file that names it.

use std::{
    env,
    fs::File,
    io::Read,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use ort::{
    environment::Environment,
    error::ErrorCode,
    session::{RunOptions, Session, SessionInputValue, builder::GraphOptimizationLevel},
    value::{DynValue, Outlet, TensorElementType, TensorRef, ValueType},
};

use crate::{
    engine::{Engine, Interrupt},
    error::Error,
    statistics::Stages,
    tensor::{DataType, NamedTensor, Tensor, TensorData, TensorSpec, element_count},
};

/// What to do where the library is missing.
const HINT: &str = "run ./scripts/fetch-onnxruntime or set ORT_DYLIB_PATH";

/// One environment per process is all that the runtime allows, and the library is never unloaded.
static LOADED: Mutex<Option<Library>> = Mutex::new(None);

/// The loaded library.
#[derive(Clone)]
pub(crate) struct Library {
    environment: Environment,
    version: Option<String>,
}

impl Library {
    /// Loads the library from `path`, or from the first place that has it: beside the executable, then
    /// `.onnxruntime/` in the working directory, then wherever the system's loader looks. Loading it a second
    /// time gives the first one.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self, String> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// Its version, such as `1.31.1`, where it can be told.
    pub(crate) fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Loads a model from a file, so that external data is looked for beside it. The reason names no path.
    pub(crate) fn open(&self, model: &Path, intra_threads: usize) -> Result<OnnxSession, String> {
        // The binding asserts on value types it does not know.
        catch_unwind(AssertUnwindSafe(|| self.session(model, intra_threads)))
            .unwrap_or_else(|_| Err("model.onnx uses a type of value that is not supported".to_owned()))
    }

    fn session(&self, model: &Path, intra_threads: usize) -> Result<OnnxSession, String> {
        let session = self.build(model, intra_threads).map_err(|error| {
            tracing::error!(model = %model.display(), %error, "a model could not be loaded");
            load_reason(error.code()).to_owned()
        })?;
        let inputs = session.inputs().iter().map(spec).collect::<Result<_, _>>()?;
        let outputs = session.outputs().iter().map(spec).collect::<Result<_, _>>()?;
        let options = RunOptions::new().map_err(|_| "the runtime is out of memory".to_owned())?;
        Ok(OnnxSession { session, options: Arc::new(Options(options)), inputs, outputs })
    }

    fn build(&self, model: &Path, intra_threads: usize) -> ort::Result<Session> {
        Session::builder(&self.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(intra_threads)?
            .with_inter_threads(1)?
            // Threads that spin while they wait would take the cores from the web workers.
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?
            // A plan is kept per input shape and never given back, and callers choose the shapes.
            .with_memory_pattern(false)?
            .commit_from_file(model)
    }
}

fn open(place: &Path) -> Result<Library, String> {
    let builder = ort::init_from(place).map_err(|error| error.to_string())?;
    // On by default in the vendor's builds, and it reports the names of models.
    let environment = builder.with_name("modelgate").with_telemetry(false).build();
    let environment = environment.map_err(|error| error.to_string())?;
    environment.set_log_level(ort::logging::LogLevel::Warning);
    Ok(Library { environment, version: version(place) })
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

fn load_reason(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidProtobuf => "model.onnx is not a valid ONNX file",
        ErrorCode::InvalidGraph => "model.onnx holds an invalid graph",
        ErrorCode::NotImplemented => "model.onnx needs an operator that this runtime does not have",
        ErrorCode::NoSuchFile => "model.onnx or its external data is missing",
        _ => "ONNX Runtime refused model.onnx; the log says why",
    }
}

fn spec(outlet: &Outlet) -> Result<TensorSpec, String> {
    let name = outlet.name().to_owned();
    let ValueType::Tensor { ty, shape, dimension_symbols } = outlet.dtype().clone() else {
        return Err(format!(
            "\"{name}\" is not a tensor, and only tensors can be served; export the model without it \
             (scikit-learn: with the option zipmap=False)"
        ));
    };
    let datatype = datatype(ty)
        .ok_or_else(|| format!("\"{name}\" has the element type {ty}, which cannot be served"))?;
    Ok(TensorSpec { name, datatype, shape: shape.to_vec(), symbols: dimension_symbols.to_vec() })
}

fn datatype(element: TensorElementType) -> Option<DataType> {
    Some(match element {
        TensorElementType::Bool => DataType::Bool,
        TensorElementType::Uint8 => DataType::Uint8,
        TensorElementType::Uint16 => DataType::Uint16,
        TensorElementType::Uint32 => DataType::Uint32,
        TensorElementType::Uint64 => DataType::Uint64,
        TensorElementType::Int8 => DataType::Int8,
        TensorElementType::Int16 => DataType::Int16,
        TensorElementType::Int32 => DataType::Int32,
        TensorElementType::Int64 => DataType::Int64,
        TensorElementType::Float16 => DataType::Fp16,
        TensorElementType::Bfloat16 => DataType::Bf16,
        TensorElementType::Float32 => DataType::Fp32,
        TensorElementType::Float64 => DataType::Fp64,
        TensorElementType::String => DataType::Bytes,
        _ => return None,
    })
}

/// One session, for one thread.
pub(crate) struct OnnxSession {
    session: Session,
    options: Arc<Options>,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
}

struct Options(RunOptions);

impl Interrupt for Options {
    fn raise(&self) {
        if let Err(error) = self.0.terminate() {
            tracing::error!(%error, "a run could not be interrupted");
        }
    }

    fn clear(&self) {
        if let Err(error) = self.0.unterminate() {
            tracing::error!(%error, "an interruption could not be taken back");
        }
    }
}

impl Engine for OnnxSession {
    fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    fn run(
        &mut self,
        inputs: &[NamedTensor],
        outputs: &[String],
    ) -> Result<(Vec<NamedTensor>, Stages), Error> {
        let begin = Instant::now();
        let values = inputs.iter().map(|input| Ok((input.name.as_str(), value(input)?)));
        let values = values.collect::<Result<Vec<_>, Error>>()?;
        let handed = Instant::now();
        let results =
            self.session.run_with_options(values, &self.options.0).map_err(|error| failed(&error))?;
        let ran = Instant::now();
        let extract = |name: &String| {
            let result = results.get(name).ok_or(Error::Runtime)?;
            Ok(NamedTensor { name: name.clone(), tensor: tensor(result)? })
        };
        let outputs = outputs.iter().map(extract).collect::<Result<_, _>>()?;
        let stages = Stages { input: handed - begin, infer: ran - handed, output: ran.elapsed() };
        Ok((outputs, stages))
    }

    fn interrupt(&self) -> Arc<dyn Interrupt> {
        Arc::clone(&self.options) as Arc<dyn Interrupt>
    }
}

/// What an operator refuses is the caller's to mend: shapes and values that fit what the model declares, yet not
/// each other. Missing memory, an interruption and whatever happens outside of an operator are not; the runtime
/// tells these apart only by its text.
fn failed(error: &ort::Error) -> Error {
    let message = error.message();
    let operator =
        message.contains("while running") && !message.contains("alloc") && !message.contains("terminate");
    if operator || error.code() == ErrorCode::InvalidArgument {
        tracing::warn!(%error, "the model refused its inputs");
        return Error::InvalidInput(
            "the model cannot work with these inputs: their shapes or values do not fit together".to_owned(),
        );
    }
    tracing::error!(%error, "a run failed");
    Error::Runtime
}

/// Lends a tensor to the runtime without copying it (strings are copied).
fn value(input: &NamedTensor) -> Result<SessionInputValue<'_>, Error> {
    let shape = input.tensor.shape();
    macro_rules! lend {
        ($elements:expr) => {
            TensorRef::from_array_view((shape, $elements.as_slice())).map(SessionInputValue::from)
        };
    }
    let value = match input.tensor.data() {
        TensorData::Bool(elements) => lend!(elements),
        TensorData::Uint8(elements) => lend!(elements),
        TensorData::Uint16(elements) => lend!(elements),
        TensorData::Uint32(elements) => lend!(elements),
        TensorData::Uint64(elements) => lend!(elements),
        TensorData::Int8(elements) => lend!(elements),
        TensorData::Int16(elements) => lend!(elements),
        TensorData::Int32(elements) => lend!(elements),
        TensorData::Int64(elements) => lend!(elements),
        TensorData::Fp16(elements) => lend!(elements),
        TensorData::Bf16(elements) => lend!(elements),
        TensorData::Fp32(elements) => lend!(elements),
        TensorData::Fp64(elements) => lend!(elements),
        TensorData::Bytes(elements) => {
            let texts =
                elements.iter().map(|element| text(element, &input.name)).collect::<Result<Vec<_>, _>>()?;
            ort::value::Tensor::from_string_array((shape, texts.as_slice())).map(SessionInputValue::from)
        }
    };
    value.map_err(|error| failed(&error))
}

fn text(element: &[u8], name: &str) -> Result<String, Error> {
    let text = std::str::from_utf8(element).ok().filter(|text| !text.contains('\0'));
    text.map(str::to_owned).ok_or_else(|| {
        Error::InvalidInput(format!("the elements of input \"{name}\" must be UTF-8 without zero bytes"))
    })
}

/// Copies a result out of the runtime's memory.
fn tensor(value: &DynValue) -> Result<Tensor, Error> {
    let ValueType::Tensor { ty, shape, .. } = value.dtype() else { return Err(Error::Runtime) };
    let datatype = datatype(*ty).ok_or(Error::Runtime)?;
    let shape = shape.iter().map(|&dimension| usize::try_from(dimension));
    let shape = shape.collect::<Result<Vec<_>, _>>().map_err(|_| Error::Runtime)?;
    let data = match element_count(&shape).ok_or(Error::Runtime)? {
        // The runtime may have no memory at all behind an empty tensor.
        0 => TensorData::zeros(datatype, 0),
        _ => elements(value, datatype).map_err(|error| failed(&error))?,
    };
    Tensor::new(shape, data)
}

fn elements(value: &DynValue, datatype: DataType) -> ort::Result<TensorData> {
    macro_rules! copy {
        ($variant:ident) => {
            TensorData::$variant(value.try_extract_tensor()?.1.to_vec())
        };
    }
    Ok(match datatype {
        DataType::Bool => copy!(Bool),
        DataType::Uint8 => copy!(Uint8),
        DataType::Uint16 => copy!(Uint16),
        DataType::Uint32 => copy!(Uint32),
        DataType::Uint64 => copy!(Uint64),
        DataType::Int8 => copy!(Int8),
        DataType::Int16 => copy!(Int16),
        DataType::Int32 => copy!(Int32),
        DataType::Int64 => copy!(Int64),
        DataType::Fp16 => copy!(Fp16),
        DataType::Bf16 => copy!(Bf16),
        DataType::Fp32 => copy!(Fp32),
        DataType::Fp64 => copy!(Fp64),
        DataType::Bytes => {
            let texts = value.try_extract_strings()?.1;
            TensorData::Bytes(texts.into_iter().map(String::into_bytes).collect())
        }
    })
}
