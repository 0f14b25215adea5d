//! Sessions: loading a model, and running it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use ort::{
    logging::LogLevel,
    session::{RunOptions, Session, SessionInputValue, builder::GraphOptimizationLevel},
};

use super::{
    cleared::ClearedMemory,
    division,
    ending::Line,
    library::Library,
    outputs::{self, Output},
    providers::{self, Refusal},
    ranks::{self, Side},
    refusal, values,
    weights::Weights,
};
use crate::{
    engine::{Engine, Failure, Interrupt, RunOutput, Stages},
    error::Error,
    provider::{Execution, Provider},
    tensor::{Tensor, TensorSpec},
};

/// How a model is to be loaded.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The number of sessions.
    pub(crate) instances: usize,
    /// Threads inside one run.
    pub(crate) intra_threads: usize,
    /// Whether weights that are shared are kept in a second form as well; none: where they are small.
    pub(crate) pack_weights: Option<bool>,
    /// Bytes that each session may take for its constants and for what its runs compute, in the processor's memory;
    /// none: all that there is.
    pub(crate) memory: Option<u64>,
    /// What computes it, best first.
    pub(crate) providers: Vec<Provider>,
    /// Libraries of operators to load for it.
    pub(crate) operators: Vec<PathBuf>,
    /// What the runtime is not to optimise: the names of its optimizers, separated by semicolons.
    pub(crate) disabled_optimizers: String,
}

impl Library {
    /// Loads a model from a file, so that external data is looked for beside it, into several sessions, which share
    /// its weights, and tells what computes it. The reason names no path.
    pub(crate) fn open(
        &self,
        model: &Path,
        options: &Options,
    ) -> Result<(Vec<OnnxSession>, Execution), String> {
        let weights = if options.instances > 1 { Weights::read(model) } else { None };
        let unknown = || Refusal::Model("model.onnx uses a type of value that is not supported".to_owned());
        providers::first_accepted(&options.providers, |providers| {
            let open = |_| {
                // The binding asserts on value types it does not know.
                catch_unwind(AssertUnwindSafe(|| self.session(model, options, providers, weights.as_ref())))
                    .unwrap_or_else(|_| Err(unknown()))
            };
            (0..options.instances).map(open).collect()
        })
    }

    fn session(
        &self,
        model: &Path,
        options: &Options,
        providers: &[Provider],
        weights: Option<&Weights>,
    ) -> Result<OnnxSession, Refusal> {
        let line = Line::of(model);
        let built = line.during(|| self.build(model, &line, options, providers, weights));
        // In this order, so that the session goes first.
        let (memory, session) = built.map_err(|error| {
            tracing::warn!(model = line.name(), %error, "a model could not be loaded");
            match providers {
                [Provider::Cpu, ..] => Refusal::Model(refusal::reason(error.code(), error.message())),
                _ => Refusal::Provider(error.message().to_owned()),
            }
        })?;
        let inputs = session.inputs().iter().map(values::input_spec).collect::<Result<Vec<_>, _>>();
        let inputs = inputs.map_err(Refusal::Model)?;
        let outputs: Vec<Output> = outputs::outputs(session.outputs()).map_err(Refusal::Model)?;
        let unknown = |_| Refusal::Model("the runtime does not say what shapes it has".to_owned());
        let (inputs, outputs) = open_ranks(&session, inputs, outputs).map_err(unknown)?;
        let specs = outputs.iter().map(|output| output.spec.clone()).collect();
        let switch = Switch::new().map_err(|_| Refusal::Model("the runtime is out of memory".to_owned()))?;
        Ok(OnnxSession { session, line, switch: Arc::new(switch), inputs, outputs, specs, _memory: memory })
    }

    fn build(
        &self,
        model: &Path,
        line: &Line,
        options: &Options,
        providers: &[Provider],
        weights: Option<&Weights>,
    ) -> ort::Result<(ClearedMemory, Session)> {
        let builder = Session::builder(&self.environment)?
            // What the runtime says of it names it.
            .with_log_id(line.name())?
            .with_execution_providers(providers::dispatches(providers))?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_disabled_optimizers(&options.disabled_optimizers)?
            .with_intra_threads(options.intra_threads)?
            .with_inter_threads(1)?
            // Threads that spin while they wait would take the cores from the web workers.
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?
            // A plan is kept per input shape and never given back, and callers choose the shapes.
            .with_memory_pattern(false)?;
        let memory = ClearedMemory::new(&self.environment, options.memory)?;
        let registered = memory.register(&self.environment)?;
        let builder = builder.with_env_allocators()?;
        let mut builder = match weights {
            Some(weights) => weights.apply_to(builder, options.pack_weights)?,
            None => builder,
        };
        for library in &options.operators {
            builder = builder.with_operator_library(library)?;
        }
        let session = builder.commit_from_file(model)?;
        drop(registered);
        memory.session_is_made();
        Ok((memory, session))
    }
}

/// Marks the tensors that may have any number of dimensions.
fn open_ranks(
    session: &Session,
    inputs: Vec<TensorSpec>,
    outputs: Vec<Output>,
) -> ort::Result<(Vec<TensorSpec>, Vec<Output>)> {
    let input = |(place, spec): (usize, TensorSpec)| {
        let open = ranks::is_open(session, Side::Inputs, place)?;
        Ok(if open { spec.of_any_rank() } else { spec })
    };
    let output = |mut output: Output| {
        let place = session.outputs().iter().position(|outlet| outlet.name() == output.source);
        // What is made of maps and sequences has the dimensions that it is given here.
        let open = match place {
            Some(place) => ranks::is_open(session, Side::Outputs, place)?,
            None => false,
        };
        if open {
            output.spec = output.spec.of_any_rank();
        }
        Ok(output)
    };
    let inputs = inputs.into_iter().enumerate().map(input).collect::<ort::Result<_>>()?;
    Ok((inputs, outputs.into_iter().map(output).collect::<ort::Result<_>>()?))
}

/// One session, for one thread.
pub(crate) struct OnnxSession {
    session: Session,
    /// The line that names the model if the process ends in a run.
    line: Line,
    /// Stops a run.
    switch: Arc<Switch>,
    inputs: Vec<TensorSpec>,
    outputs: Vec<Output>,
    /// The outputs as the crate knows them.
    specs: Vec<TensorSpec>,
    /// Last: dropped after the session, which takes from it.
    _memory: ClearedMemory,
}

struct Switch(RunOptions);

impl Switch {
    /// Not raised. The runtime tells what went wrong in a run by its answer, too; its own line about it is left out.
    fn new() -> ort::Result<Self> {
        let mut options = RunOptions::new()?;
        options.set_log_level(LogLevel::Fatal)?;
        Ok(Self(options))
    }
}

impl Interrupt for Switch {
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
        &self.specs
    }

    fn run(&mut self, calls: &[&[Tensor]], output_places: &[usize]) -> Result<RunOutput, Failure> {
        let begin = Instant::now();
        let joined = join(calls, self.inputs.len())?;
        let inputs = match calls {
            [call] => call,
            _ => joined.as_slice(),
        };
        let lend = |(input, spec): (_, &TensorSpec)| values::session_value(input, &spec.name);
        let lent: Vec<SessionInputValue<'_>> =
            inputs.iter().zip(&self.inputs).map(lend).collect::<Result<_, _>>()?;
        let handed = Instant::now();
        let Self { session, line, switch, .. } = self;
        let (results, divided) =
            division::watch_for_zero(|| line.during(|| session.run_with_options(lent.as_slice(), &switch.0)));
        let results = results.map_err(|error| values::failed(&error, line.name()))?;
        if divided {
            return Err(Error::InvalidInput("the model divides by zero with these inputs".to_owned()).into());
        }
        let ran = Instant::now();
        let rows: Vec<usize> = match calls {
            [_] => Vec::new(),
            _ => calls.iter().map(|call| call.first().map_or(0, Tensor::rows)).collect(),
        };
        let mut outputs: Vec<Vec<Tensor>> =
            calls.iter().map(|_| Vec::with_capacity(output_places.len())).collect();
        for output in output_places.iter().filter_map(|&place| self.outputs.get(place)) {
            let result = results.get(&output.source).ok_or(Error::Runtime)?;
            let parts = outputs::take(result, output, &rows)?;
            outputs.iter_mut().zip(parts).for_each(|(call, part)| call.push(part));
        }
        let stages = Stages { input: handed - begin, infer: ran - handed, output: ran.elapsed() };
        Ok(RunOutput { outputs, stages })
    }

    fn interrupt(&self) -> Arc<dyn Interrupt> {
        Arc::clone(&self.switch) as Arc<dyn Interrupt>
    }
}

/// The inputs of several calls, one under the other; nothing for a single call, whose own are lent.
fn join(calls: &[&[Tensor]], inputs: usize) -> Result<Vec<Tensor>, Error> {
    if calls.len() < 2 {
        return Ok(Vec::new());
    }
    let join = |place: usize| {
        let parts: Option<Vec<&Tensor>> = calls.iter().map(|call| call.get(place)).collect();
        Tensor::joined(&parts.ok_or(Error::Runtime)?).ok_or(Error::Runtime)
    };
    (0..inputs).map(join).collect()
}
