//! What is measured without the product: a model in the runtime, opened as the product opens it.

use std::path::PathBuf;

use clap::Args;
use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;

/// Which model, and in which runtime.
#[derive(Args)]
pub struct Subject {
    /// The ONNX file; its input is of 32-bit floats.
    #[arg(long)]
    model: PathBuf,
    /// The input's dimensions, such as 1,64.
    #[arg(long, value_delimiter = ',')]
    pub shape: Vec<usize>,
    /// The library.
    #[arg(long)]
    pub library: PathBuf,
}

impl Subject {
    /// A session of one thread.
    pub fn open(&self, environment: &Environment) -> ort::Result<Session> {
        Session::builder(environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?
            .with_memory_pattern(false)?
            .commit_from_file(&self.model)
    }
}
