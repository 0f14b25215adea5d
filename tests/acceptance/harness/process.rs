//! The program as a process: found, started with nothing but its settings, stopped.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::log::Log;
use super::workspace;

/// How long a command, or a stop, may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// A command that ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// Settings, by name.
pub type Settings = BTreeMap<String, String>;

/// The program, `MODELGATE_BINARY` or the one that cargo built beside this test.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("MODELGATE_BINARY").filter(|path| !path.is_empty()) {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().expect("this test's own path");
    let path = test.parent().and_then(Path::parent).expect("target/<profile>").join("modelgate");
    assert!(path.exists(), "{} is missing: run `cargo build -p api`, or ./scripts/test", path.display());
    path
}

/// The program with these settings and nothing else of this environment, in a folder without a `.env`.
pub fn command(arguments: &[&str], settings: &Settings, folder: &Path) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(folder).env_clear();
    for kept in ["PATH", "HOME", "TMPDIR"] {
        command.envs(std::env::var_os(kept).map(|value| (kept, value)));
    }
    command.env("ORT_DYLIB_PATH", runtime_library()).envs(settings);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn runtime_library() -> PathBuf {
    let named = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from);
    named.unwrap_or_else(|| workspace().join(".onnxruntime/libonnxruntime.so"))
}

/// Runs a command to its end.
#[track_caller]
pub fn run(mut command: Command, input: &str) -> Finished {
    let mut child = command.spawn().expect("the program starts");
    // One that ends before it has read everything closes the pipe; that is its choice.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let (stdout, stderr) = (Log::default(), Log::default());
    let readers = [
        stdout.follow(child.stdout.take().expect("a pipe")),
        stderr.follow(child.stderr.take().expect("a pipe")),
    ];
    let status = wait(&mut child).unwrap_or_else(|| {
        let _ = child.kill();
        panic!("{command:?} did not end within {PATIENCE:?}: {}{}", stdout.text(), stderr.text())
    });
    readers.into_iter().for_each(|reader| reader.join().expect("a reader"));
    Finished { code: status.code(), stdout: stdout.text(), stderr: stderr.text() }
}

/// Waits for the end of a process; none when it takes too long.
pub fn wait(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

/// Sends SIGTERM.
pub fn terminate(child: &Child) {
    let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "SIGTERM could not be sent");
}
