//! An unknown model is loaded in another process first: what it does to that one, it does not do to the server.
//!
//! The child has bounds on memory, time, processor time, open files and what it may write, an empty working directory and
//! an empty environment. That a model passed is remembered by the digests of its files and the runtime's version.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, OpenOptions},
    io::{Read, Write},
    os::unix::{
        fs::{DirBuilderExt, OpenOptionsExt},
        process::ExitStatusExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;

use crate::{
    engine::Engine,
    integrity::Digests,
    onnx::{Library, Options},
    provider::Provider,
    warm_up::warm_up,
};

/// How a child says that the runtime refuses the model; what it writes then is the reason.
pub const REFUSED: u8 = 3;
/// Bytes of a reason that are read, and shown.
const MAX_REASON: u64 = 500;
/// How often the child is looked at.
const LOOK: Duration = Duration::from_millis(2);
/// How long the first run may take in the child. One that takes longer is ended, which says nothing against a model.
const FIRST_RUN: Duration = Duration::from_secs(5);

/// How an unknown model is tried.
#[derive(Debug, Clone)]
pub struct TrialSettings {
    /// The program that tries it, with [`try_model`], and the arguments that tell it to. It is given `--memory BYTES`,
    /// `--seconds N`, `--library PATH` where that is known, and the path of the file.
    pub program: PathBuf,
    /// See there.
    pub arguments: Vec<OsString>,
    /// What passed is remembered here.
    pub folder: PathBuf,
    /// Address space of the child in bytes, beside three times the size of the model's files.
    pub memory: u64,
    /// How long the child may take.
    pub time: Duration,
}

/// Loads a model and runs it once on zeros, in the process that calls it. The reason names no path.
pub fn try_model(file: &Path, library: Option<&Path>) -> Result<(), String> {
    let library = Library::load(library)?;
    let (sessions, _) = library.open(file, &modest())?;
    let mut engines: Vec<Box<dyn Engine>> =
        sessions.into_iter().map(|session| Box::new(session) as Box<dyn Engine>).collect();
    warm_up("trial", &mut engines, None, None, FIRST_RUN)
}

/// One session on the processor.
pub(crate) fn modest() -> Options {
    Options { instances: 1, intra_threads: 1, pack_weights: None, providers: vec![Provider::Cpu] }
}

/// Tries a version unless it passed before. `size` is that of its files together, in bytes.
pub(crate) fn pass(
    settings: &TrialSettings,
    runtime: &str,
    library: Option<&Path>,
    model: &Path,
    digests: &Digests,
    size: u64,
) -> Result<(), String> {
    let mark = settings.folder.join(identity(runtime, digests));
    if mark.is_file() {
        return Ok(());
    }
    let failed = |error: std::io::Error| {
        tracing::error!(folder = %settings.folder.display(), %error, "a model could not be tried");
        "it could not be tried in a process of its own first; the log says why".to_owned()
    };
    DirBuilder::new().recursive(true).mode(0o700).create(&settings.folder).map_err(failed)?;
    let empty = EmptyFolder::make(&settings.folder).map_err(failed)?;
    let started = Instant::now();
    let model = std::path::absolute(model).map_err(failed)?;
    let child = spawn(settings, library, &model, &empty.0, size).map_err(failed)?;
    judge(child, settings.time).map_err(|reason| {
        tracing::warn!(model = %model.display(), reason, "a model failed its trial");
        reason
    })?;
    tracing::debug!(model = %model.display(), milliseconds = started.elapsed().as_millis(), "a model was tried");
    remember(&mark).map_err(failed)
}

fn spawn(
    settings: &TrialSettings,
    library: Option<&Path>,
    model: &Path,
    folder: &Path,
    size: u64,
) -> std::io::Result<Child> {
    let memory = settings.memory.saturating_add(size.saturating_mul(3));
    let mut command = Command::new(&settings.program);
    command.args(&settings.arguments).arg("--memory").arg(memory.to_string());
    command.arg("--seconds").arg(settings.time.as_secs().max(1).to_string());
    if let Some(library) = library {
        command.arg("--library").arg(std::path::absolute(library)?);
    }
    command.arg("--").arg(model).current_dir(folder).env_clear();
    // Where the system's loader looks for libraries is the operator's word.
    command.envs(std::env::vars_os().filter(|(name, _)| name == "LD_LIBRARY_PATH"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
}

fn judge(mut child: Child, time: Duration) -> Result<(), String> {
    match wait(&mut child, time) {
        Some(status) if status.success() => Ok(()),
        Some(status) if status.code() == Some(i32::from(REFUSED)) => Err(reason(&mut child)),
        Some(status) => Err(match status.signal() {
            Some(signal) => format!("loading it ended the process that tried it (signal {signal})"),
            None => "loading it failed in the process that tried it, for want of memory perhaps".to_owned(),
        }),
        None => Err(format!("loading it did not end within {} s, nor did it when tried", time.as_secs())),
    }
}

/// None: it had to be ended.
fn wait(child: &mut Child, time: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + time;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < until => thread::sleep(LOOK),
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

/// What the child wrote. It may be the model's own words by then: a line of printable text is all that is taken.
fn reason(child: &mut Child) -> String {
    let mut bytes = Vec::new();
    if let Some(output) = &mut child.stdout {
        let _ = output.take(MAX_REASON).read_to_end(&mut bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    let line: String = text.trim().chars().filter(|character| !character.is_control()).collect();
    if line.is_empty() { "ONNX Runtime refused model.onnx".to_owned() } else { line }
}

fn identity(runtime: &str, digests: &Digests) -> String {
    let mut context = Context::new(&SHA256);
    let mut add = |text: &str| {
        context.update(&(text.len() as u64).to_le_bytes());
        context.update(text.as_bytes());
    };
    add(runtime);
    for (file, sha256) in digests {
        add(file);
        add(sha256);
    }
    HEXLOWER.encode(context.finish().as_ref())
}

fn remember(mark: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(mark)?.write_all(b"passed\n")
}

/// A folder with nothing in it, which goes with this value.
struct EmptyFolder(PathBuf);

impl EmptyFolder {
    fn make(parent: &Path) -> std::io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = parent.join(format!("empty-{}-{number}", std::process::id()));
        // Left behind by a process that was killed and had the same number.
        let _ = fs::remove_dir(&folder);
        DirBuilder::new().mode(0o500).create(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for EmptyFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;

    fn settings(script: &str, folder: &Path) -> TrialSettings {
        TrialSettings {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into(), "sh".into()],
            folder: folder.to_owned(),
            memory: 1 << 30,
            time: Duration::from_millis(500),
        }
    }

    fn attempt(script: &str) -> (Result<(), String>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let digests = [("model.onnx".to_owned(), "00".to_owned())].into();
        let settings = settings(script, folder.path());
        let outcome = pass(&settings, "1.0", None, Path::new("model.onnx"), &digests, 0);
        (outcome, fs::read_dir(folder.path()).unwrap().count())
    }

    #[test]
    fn what_passed_is_remembered_and_nothing_else_stays() {
        assert_eq!(attempt("exit 0"), (Ok(()), 1));
        let (refused, left) = attempt("printf 'it is \\033[31mred\\n'; exit 3");
        assert_eq!((refused, left), (Err("it is [31mred".to_owned()), 0));
    }

    #[test]
    fn a_child_that_hangs_or_crashes_is_a_refusal() {
        assert!(attempt("sleep 60").0.unwrap_err().contains("did not end"));
        assert!(attempt("kill -SEGV $$").0.unwrap_err().contains("signal 11"));
        assert!(attempt("exit 1").0.unwrap_err().contains("failed"));
        assert!(attempt("exec /nowhere/at/all").0.is_err());
    }

    #[test]
    fn the_child_knows_nothing_and_stands_nowhere() {
        let check =
            "[ -z \"$HOME$DATABASE_URL\" ] || exit 5; for file in *; do [ \"$file\" = '*' ] || exit 6; done";
        assert_eq!(attempt(check).0, Ok(()));
    }

    #[test]
    fn another_file_or_runtime_is_another_model() {
        let digests = |sha256: &str| [("model.onnx".to_owned(), sha256.to_owned())].into();
        let one = identity("1.0", &digests("00"));
        assert_ne!(one, identity("1.1", &digests("00")));
        assert_ne!(one, identity("1.0", &digests("01")));
        assert_eq!(one, identity("1.0", &digests("00")));
    }
}
