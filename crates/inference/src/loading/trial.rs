//! Trials: an unknown model is loaded in a child process first, so that a fault cannot end the server.
//!
//! The child has bounds on memory, time, processor time, open files and what it may write, an empty working directory
//! and an empty environment. How it ended is remembered by the digests of the model's files and the runtime's
//! version: what passed is not tried again, what failed is only when somebody asks for it.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, Permissions},
    io::{Read, Write},
    os::unix::{
        fs::{DirBuilderExt, PermissionsExt},
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;

use super::{WEIGHTS, unchecked, warm_up::warm_up};
use crate::{
    engine::Engine,
    onnx::{Library, Options},
    operators::Libraries,
    ownership::give_to_owner_of,
    printable::printable,
    provider::Provider,
    repository::Digests,
};

/// Exit code of a child whose runtime refuses the model; its output is then the reason.
pub const REFUSED: u8 = 3;
/// Bytes of a reason that are read, and shown.
const MAX_REASON: u64 = 500;
/// How often the child's state is polled.
const LOOK: Duration = Duration::from_millis(2);
/// What people and service managers stop a program with.
const STOPS: [i32; 3] = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM];
/// How long the first run may take in the child. One that takes longer is ended, which says nothing against a model.
const FIRST_RUN: Duration = Duration::from_secs(5);

/// How an unknown model is tried.
#[derive(Debug, Clone)]
pub struct TrialSettings {
    /// The program that tries it, with [`try_model`], and the arguments that tell it to. It is given `--memory BYTES`,
    /// `--seconds N`, `--library PATH` where that is known, `--operators PATH` for each library of operators, and the
    /// path of the file.
    pub program: PathBuf,
    /// The arguments that begin the command line, as described at `program`.
    pub arguments: Vec<OsString>,
    /// What passed or failed is remembered here.
    pub folder: PathBuf,
    /// Address space of the child in bytes, beside three times the size of the model's files.
    pub memory: u64,
    /// How long the child may take.
    pub time: Duration,
}

/// Loads a model and runs it once on zeros, in the process that calls it. The reason names no path.
pub fn try_model(file: &Path, library: Option<&Path>, operators: Vec<PathBuf>) -> Result<(), String> {
    let library = Library::load(library)?;
    let (sessions, _) = library.open(file, &minimal_options(operators))?;
    let mut engines: Vec<Box<dyn Engine>> =
        sessions.into_iter().map(|session| Box::new(session) as Box<dyn Engine>).collect();
    warm_up("trial", &mut engines, None, None, FIRST_RUN)
}

/// One session on the processor.
pub(super) fn minimal_options(operators: Vec<PathBuf>) -> Options {
    let providers = vec![Provider::Cpu];
    // The process that tries it is bounded as a whole.
    Options {
        instances: 1,
        intra_threads: 1,
        pack_weights: None,
        memory: None,
        providers,
        operators,
        disabled_optimizers: unchecked::disabled_optimizers(&[]),
    }
}

/// What is tried.
#[derive(Clone, Copy)]
pub(super) struct Trial<'a> {
    pub(super) file: &'a Path,
    /// Of it and of the files that it refers to.
    pub(super) digests: &'a Digests,
    /// Of all of them together, in bytes.
    pub(super) size: u64,
    /// What it has operators from.
    pub(super) operators: &'a Libraries,
}

/// Tries a version unless it passed before, or failed within the same bounds; `again`: in this case, too.
pub(super) fn ensure_passed(
    settings: &TrialSettings,
    runtime: &str,
    library: Option<&Path>,
    of: Trial<'_>,
    again: bool,
) -> Result<(), String> {
    let mark = settings.folder.join(identity(runtime, of.digests, of.operators));
    match remembered(&mark, settings) {
        Some(Err(reason)) if !again => {
            return Err(format!("{reason} (tried before; load it to have it tried again)"));
        }
        Some(Ok(())) => return Ok(()),
        Some(Err(_)) | None => {}
    }
    let failed = |error: std::io::Error| {
        tracing::error!(folder = %settings.folder.display(), %error, "a model could not be tried");
        "it could not be tried in a process of its own first; the log says why".to_owned()
    };
    DirBuilder::new().recursive(true).mode(0o700).create(&settings.folder).map_err(failed)?;
    if let Some(data) = settings.folder.parent() {
        give_to_owner_of(data, &settings.folder);
    }
    let unwritable = Permissions::from_mode(0o500);
    let empty =
        tempfile::Builder::new().prefix("empty-").permissions(unwritable).tempdir_in(&settings.folder);
    let empty = empty.map_err(failed)?;
    let started = Instant::now();
    let model = std::path::absolute(of.file).map_err(failed)?;
    let mut child = spawn(settings, library, &model, empty.path(), of).map_err(failed)?;
    let ended = wait(&mut child, settings.time);
    if ended.and_then(|status| status.signal()).is_some_and(|signal| STOPS.contains(&signal)) {
        // It stops along with the server, which says nothing against the model.
        return Err("trying it was interrupted; load it to have it tried".to_owned());
    }
    let outcome = judge(child, ended, settings.time);
    let milliseconds = started.elapsed().as_millis();
    match &outcome {
        Ok(()) => tracing::debug!(model = %model.display(), milliseconds, "a model was tried"),
        Err(reason) => {
            tracing::warn!(model = %model.display(), milliseconds, reason, "a model failed its trial");
        }
    }
    remember(&mark, settings, &outcome).map_err(failed)?;
    outcome
}

fn spawn(
    settings: &TrialSettings,
    library: Option<&Path>,
    model: &Path,
    folder: &Path,
    of: Trial<'_>,
) -> std::io::Result<Child> {
    let memory = settings.memory.saturating_add(of.size.saturating_mul(WEIGHTS));
    let mut command = Command::new(&settings.program);
    command.args(&settings.arguments).arg("--memory").arg(memory.to_string());
    command.arg("--seconds").arg(settings.time.as_secs().max(1).to_string());
    if let Some(library) = library {
        command.arg("--library").arg(std::path::absolute(library)?);
    }
    for library in of.operators.paths() {
        command.arg("--operators").arg(library);
    }
    command.arg("--").arg(model).current_dir(folder).env_clear();
    // Where the system's loader looks for libraries is the operator's word.
    command.envs(std::env::vars_os().filter(|(name, _)| name == "LD_LIBRARY_PATH"));
    // Of a group of its own: what a terminal sends to the server's, such as SIGINT, is not meant for it.
    command.process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
}

fn judge(mut child: Child, ended: Option<ExitStatus>, time: Duration) -> Result<(), String> {
    match ended {
        Some(status) if status.success() => Ok(()),
        Some(status) if status.code() == Some(i32::from(REFUSED)) => Err(reason(&mut child)),
        Some(status) => Err(match status.signal() {
            Some(signal) => format!("loading it ended the process that tried it (signal {signal})"),
            None => "loading it failed in the process that tried it, for want of memory perhaps".to_owned(),
        }),
        None => {
            Err(format!("loading it did not finish within {} s in the process that tried it", time.as_secs()))
        }
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
    let line = printable(&text);
    if line.is_empty() { "ONNX Runtime refused model.onnx".to_owned() } else { line }
}

fn identity(runtime: &str, digests: &Digests, operators: &Libraries) -> String {
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
    operators.digests().for_each(&mut add);
    HEXLOWER.encode(context.finish().as_ref())
}

/// What a failure is remembered with: within other bounds the model may pass.
fn bounds(settings: &TrialSettings) -> String {
    format!("failed within {} bytes and {} ms", settings.memory, settings.time.as_millis())
}

/// How it ended before; none where it was not tried yet within these bounds.
fn remembered(mark: &Path, settings: &TrialSettings) -> Option<Result<(), String>> {
    let text = fs::read_to_string(mark).ok()?;
    match text.split_once('\n')? {
        ("passed", _) => Some(Ok(())),
        (within, reason) if within == bounds(settings) => Some(Err(reason.trim_end().to_owned())),
        _ => None,
    }
}

fn remember(mark: &Path, settings: &TrialSettings, outcome: &Result<(), String>) -> std::io::Result<()> {
    let text = match outcome {
        Ok(()) => "passed\n".to_owned(),
        Err(reason) => format!("{}\n{reason}\n", bounds(settings)),
    };
    // Renamed into place: who tries the same model at the same time, here or on a replica, reads all of it or nothing.
    let mut new = tempfile::Builder::new().prefix("new-").tempfile_in(&settings.folder)?;
    new.write_all(text.as_bytes())?;
    new.persist(mark)?;
    give_to_owner_of(&settings.folder, mark);
    Ok(())
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

    fn attempt_in(folder: &Path, script: &str, again: bool) -> Result<(), String> {
        attempt_within(&settings(script, folder), again)
    }

    fn attempt_within(settings: &TrialSettings, again: bool) -> Result<(), String> {
        let digests = [("model.onnx".to_owned(), "00".to_owned())].into();
        let operators = &Libraries::default();
        let of = Trial { file: Path::new("model.onnx"), digests: &digests, size: 0, operators };
        ensure_passed(settings, "1.0", None, of, again)
    }

    fn attempt(script: &str) -> (Result<(), String>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let outcome = attempt_in(folder.path(), script, false);
        (outcome, fs::read_dir(folder.path()).unwrap().count())
    }

    #[test]
    fn how_it_ended_is_remembered_and_nothing_else_stays() {
        assert_eq!(attempt("exit 0"), (Ok(()), 1));
        let (refused, left) = attempt("printf 'it is \\033[31mred\\n'; exit 3");
        assert_eq!((refused, left), (Err("it is ?[31mred".to_owned()), 1));
    }

    #[test]
    fn who_tries_one_model_at_the_same_time_disturbs_nobody() {
        let folder = tempfile::tempdir().unwrap();
        for script in ["exit 0", "exit 3"] {
            let start = std::sync::Barrier::new(8);
            let attempt = || {
                start.wait();
                attempt_in(folder.path(), script, true)
            };
            std::thread::scope(|scope| {
                let attempts = [(); 8].map(|()| scope.spawn(attempt));
                for attempt in attempts {
                    assert_eq!(attempt.join().unwrap(), Ok(()), "what has passed once is not tried again");
                }
            });
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_failed_is_tried_again_only_when_asked_for_or_within_other_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let attempt = |script: &str, again| attempt_in(folder.path(), script, again);
        assert_eq!(attempt("echo red; exit 3", false).unwrap_err(), "red");
        let message = attempt("exit 0", false).unwrap_err();
        assert!(message.starts_with("red (tried before"), "{message}");
        assert_eq!(attempt("echo blue; exit 3", true).unwrap_err(), "blue");
        assert!(attempt("exit 0", false).unwrap_err().starts_with("blue (tried before"));
        let wider = TrialSettings { memory: 2 << 30, ..settings("echo green; exit 3", folder.path()) };
        assert_eq!(attempt_within(&wider, false).unwrap_err(), "green");
        assert_eq!(attempt("exit 0", true), Ok(()));
        assert_eq!(attempt("exit 3", true), Ok(()), "what passed is not tried again");
    }

    #[test]
    fn a_child_that_hangs_or_crashes_is_a_refusal() {
        assert!(attempt("sleep 60").0.unwrap_err().contains("did not finish"));
        assert!(attempt("kill -SEGV $$").0.unwrap_err().contains("signal 11"));
        assert!(attempt("exit 1").0.unwrap_err().contains("failed"));
        assert!(attempt("exec /nowhere/at/all").0.is_err());
    }

    #[test]
    fn a_child_that_is_stopped_condemns_nothing() {
        let (outcome, left) = attempt("kill -TERM $$; sleep 60");
        assert!(outcome.unwrap_err().contains("interrupted"));
        assert_eq!(left, 0);
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
        let one = identity("1.0", &digests("00"), &Libraries::default());
        assert_ne!(one, identity("1.1", &digests("00"), &Libraries::default()));
        assert_ne!(one, identity("1.0", &digests("01"), &Libraries::default()));
        assert_eq!(one, identity("1.0", &digests("00"), &Libraries::default()));
    }
}
