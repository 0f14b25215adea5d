//! `modelgate model try`: the process in which an unknown model is loaded first.

use std::path::PathBuf;

use clap::Args;
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};

use super::{CommandResult, print};

/// Files that the process may have open.
const MAX_FILES: u64 = 64;

/// One file to load.
#[derive(Args, Debug)]
pub struct Trial {
    /// Bytes of address space.
    #[arg(long)]
    memory: u64,
    /// Seconds of processor time.
    #[arg(long)]
    seconds: u64,
    /// The ONNX Runtime library.
    #[arg(long)]
    library: Option<PathBuf>,
    /// Libraries of operators that it asks for.
    #[arg(long)]
    operators: Vec<PathBuf>,
    /// The model.
    file: PathBuf,
}

impl Trial {
    /// Loads the file, or says why it does not load.
    #[expect(
        clippy::disallowed_methods,
        reason = "the code tells a refusal from a failure; nothing but the line before waits to be written"
    )]
    pub fn run(self) -> CommandResult {
        self.confine().map_err(|error| format!("the bounds of the trial: {error}"))?;
        match inference::try_model(&self.file, self.library.as_deref(), self.operators) {
            Ok(()) => Ok(()),
            Err(reason) => {
                print(&reason);
                std::process::exit(i32::from(inference::REFUSED))
            }
        }
    }

    /// Gives up for ever what a model does not need to load.
    fn confine(&self) -> rustix::io::Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        let bounds = [
            (Resource::As, self.memory),
            (Resource::Cpu, self.seconds),
            // It writes no file; what it says goes through a pipe.
            (Resource::Fsize, 0),
            (Resource::Nofile, MAX_FILES),
            (Resource::Core, 0),
        ];
        bounds.into_iter().try_for_each(|(resource, most)| {
            setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
        })
    }
}
