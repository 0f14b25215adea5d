//! Loading models: from a folder of the repository to sessions that answer, or to a reason why not. A file
//! is inspected, and tried in a process of its own, before the server's runtime reads it.

mod by_rows;
mod examination;
mod inspection;
mod trial;
mod unchecked;
mod warm_up;

use std::{collections::BTreeMap, path::Path, sync::Arc};

pub use examination::Examination;
pub use inspection::Inspection;
pub use trial::{REFUSED, TrialSettings, try_model};

use parking_lot::RwLock;

use self::unchecked::{check_ranks, disabled_optimizers};
use crate::{
    engine::Engine,
    manifest::Manifest,
    memory,
    model::{Cache, Model, NeedsElements, Served},
    onnx::{Library, Options},
    operators::Libraries,
    predict::Predictor,
    provider::{Execution, Provider},
    repository::{KnownFiles, MODEL_FILE},
    scheduling::{Batching, Decoder, Pool, Queue, Share, ShortRuns, has_fixed_cost},
    settings::Settings,
    statistics::Recorder,
};

/// A session's constants take at most this many times the size of the model's files: as read, as packed, and those that
/// constant folding adds.
const WEIGHTS: u64 = 3;

/// What loading a model needs beside its folder.
pub(crate) struct Loader {
    pub(crate) settings: Settings,
    pub(crate) library: Result<Library, String>,
    pub(crate) decoder: Arc<Decoder>,
    /// The files of versions as they were when they were served first.
    pub(crate) known: RwLock<KnownFiles>,
}

/// A model's folder in the repository, and what its `model.toml` says.
#[derive(Clone, Copy)]
pub(crate) struct ModelFolder<'a> {
    pub(crate) name: &'a str,
    pub(crate) path: &'a Path,
    pub(crate) manifest: &'a Arc<Manifest>,
}

/// How versions are loaded.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LoadOptions {
    /// Load again even the versions that are served already.
    pub(crate) reload_all: bool,
    /// Accept files that have changed since they were first served.
    pub(crate) accept_changes: bool,
    /// Try versions again that failed their trial before.
    pub(crate) retry_failed: bool,
}

impl Loader {
    /// How the sessions of a model are made whose files are `size` bytes together.
    fn options(&self, manifest: &Manifest, size: u64, libraries: &Libraries) -> Options {
        let (runtime, settings) = (&manifest.runtime, &self.settings);
        let memory = runtime.memory_mb.map_or(settings.model_memory, |most| most << 20);
        Options {
            instances: runtime.instances.unwrap_or(settings.instances).max(1),
            intra_threads: runtime.intra_threads.unwrap_or(settings.intra_threads).max(1),
            pack_weights: runtime.pack_weights,
            memory: (memory > 0).then(|| memory.saturating_add(size.saturating_mul(WEIGHTS))),
            providers: runtime.providers.clone().unwrap_or_else(|| settings.providers.clone()),
            operators: libraries.paths(),
            disabled_optimizers: disabled_optimizers(&manifest.unchecked_operators),
        }
    }

    /// How calls of a version run together, as far as they are seen to.
    fn batching(
        &self,
        of: ModelFolder<'_>,
        engines: &mut [Box<dyn Engine>],
        operators: &BTreeMap<(String, String), u64>,
        predictor: Option<&Predictor>,
    ) -> Batching {
        let ModelFolder { name, manifest, .. } = of;
        let specs = engines.first().map(|engine| (engine.inputs(), engine.outputs()));
        let (inputs, outputs) = specs.unwrap_or_default();
        let batching = Batching::new(manifest.batching.as_ref(), name, inputs, outputs, operators);
        if let (Some(_), Some(engine)) = (batching.max_rows(), engines.first_mut()) {
            let known = by_rows::Known { table: manifest.warm_up.as_ref(), predictor };
            by_rows::try_together(name, engine.as_mut(), known, self.settings.warm_up_time, &batching);
        }
        batching
    }

    /// Makes the sessions of a version that was examined, and what answers calls with them.
    pub(crate) fn model(
        &self,
        of: ModelFolder<'_>,
        version: &str,
        (inspection, size): (Inspection, u64),
        served: &Arc<Served>,
        libraries: Libraries,
    ) -> Result<Model, String> {
        let ModelFolder { name, path, manifest } = of;
        let (mut engines, execution) = self.engines(of, version, size, &libraries)?;
        let first = engines.first().ok_or("no session")?;
        let (inputs, outputs) = (first.inputs().to_vec(), first.outputs().to_vec());
        check_ranks(&inspection.operators, &inputs, &manifest.unchecked_operators)?;
        let predictor = Predictor::new(manifest, &inputs, &outputs, path)?;
        if manifest.runtime.warm_up {
            let time = self.settings.warm_up_time;
            warm_up::warm_up(name, &mut engines, manifest.warm_up.as_ref(), predictor.as_ref(), time)?;
        }
        let batching = self.batching(of, &mut engines, &inspection.operators, predictor.as_ref());
        // What loading took beside the sessions themselves.
        memory::give_back();
        let recorder = Arc::new(Recorder::new());
        let short_runs = ShortRuns::new(
            has_fixed_cost(&inspection.operators)
                && execution.provider == Provider::Cpu
                && batching.max_rows().is_none(),
        );
        let share =
            manifest.runtime.instances_per_caller.map_or(Share::LeaveOne(engines.len()), Share::Fixed);
        let queue = Queue::with_share(self.settings.queue_capacity, share);
        let pool = Pool::start(name, engines, queue, batching, short_runs, Arc::clone(&recorder))
            .map_err(|error| format!("the threads of the model did not start: {}", error.kind()))?;
        Ok(Model {
            name: name.to_owned(),
            version: version.to_owned(),
            served: Arc::clone(served),
            manifest: Arc::clone(manifest),
            by_rows: inputs.iter().all(|spec| spec.has_open_rows()),
            inputs,
            outputs,
            predictor,
            decoder: Arc::clone(&self.decoder),
            pool,
            needs_elements: NeedsElements::of(&inspection.operators, &manifest.unchecked_operators),
            execution,
            cache: Cache::new(manifest.cache.as_ref(), self.settings.cache_bytes),
            recorder,
        })
    }

    /// The sessions of a version whose files are `size` bytes together, and what computes them.
    fn engines(
        &self,
        of: ModelFolder<'_>,
        version: &str,
        size: u64,
        libraries: &Libraries,
    ) -> Result<(Vec<Box<dyn Engine>>, Execution), String> {
        let library = self.library.as_ref().map_err(String::clone)?;
        let options = self.options(of.manifest, size, libraries);
        let (sessions, execution) = library.open(&of.path.join(version).join(MODEL_FILE), &options)?;
        if let Some(fallback) = execution.fallback() {
            tracing::warn!(model = of.name, version, provider = %execution.provider, fallback, "a model is computed by its fallback");
        }
        let engines = sessions.into_iter().map(|session| Box::new(session) as Box<dyn Engine>);
        Ok((engines.collect(), execution))
    }
}
