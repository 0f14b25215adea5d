//! Notes which model was running when a signal ends the process.
//!
//! The runtime ends the process when it finds itself in an impossible state (`abort`), or accesses unmapped memory.
//! Nothing can be saved then: memory may be corrupt already. But the name of the model can be written to a file, so
//! that the next start can leave it unloaded.
#![expect(unsafe_code, reason = "handlers of signals are the system's to call")]

use std::{
    cell::Cell,
    ffi::{c_int, c_void},
    fs::OpenOptions,
    io, mem,
    os::fd::IntoRawFd,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    ptr,
    sync::{
        Once, OnceLock,
        atomic::{AtomicI32, Ordering},
    },
};

/// The signals that a fault in the runtime raises.
const SIGNALS: [c_int; 4] = [libc::SIGABRT, libc::SIGBUS, libc::SIGILL, libc::SIGSEGV];

/// The descriptor of the file that the line is written to; -1: none.
static NOTE: AtomicI32 = AtomicI32::new(-1);
/// The previous action for each of the signals.
static BEFORE: [OnceLock<libc::sigaction>; SIGNALS.len()] = [const { OnceLock::new() }; SIGNALS.len()];

thread_local! {
    /// The line of the model that this thread runs; it outlives the run.
    static RUNNING: Cell<Option<(*const u8, usize)>> = const { Cell::new(None) };
}

/// A line that names a model, to be written when the process ends in one of its runs.
pub(super) struct Line(Box<str>);

impl Line {
    /// For a file `…/NAME/VERSION/model.onnx`: `NAME/VERSION`.
    pub(super) fn of(file: &Path) -> Self {
        let part = |folder: Option<&Path>| {
            folder.and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default().to_owned()
        };
        let version = file.parent();
        let name = version.and_then(Path::parent);
        Self(format!("{}/{}\n", part(name), part(version)).into())
    }

    /// Its text.
    pub(super) fn name(&self) -> &str {
        self.0.trim_end()
    }

    /// Runs something in the name of the model. A run on several threads may end the process on another one: then
    /// nothing is written.
    pub(super) fn during<T>(&self, run: impl FnOnce() -> T) -> T {
        /// Also where it panics.
        struct Reset;
        impl Drop for Reset {
            fn drop(&mut self) {
                RUNNING.set(None);
            }
        }
        let _reset = Reset;
        RUNNING.set(Some((self.0.as_ptr(), self.0.len())));
        run()
    }
}

/// From now on, a line with name and version of the model is added to this file where a run of it ends the process.
///
/// # Errors
///
/// The file cannot be written, or the system takes no handlers.
pub fn note_ends(file: &Path) -> io::Result<()> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(file)?;
    // Kept open for as long as the process lives.
    NOTE.store(file.into_raw_fd(), Ordering::SeqCst);
    static ONCE: Once = Once::new();
    let mut installed = Ok(());
    ONCE.call_once(|| {
        installed = SIGNALS.iter().zip(&BEFORE).try_for_each(|(&signal, before)| install(signal, before))
    });
    installed
}

fn install(signal: c_int, before: &OnceLock<libc::sigaction>) -> io::Result<()> {
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = ending;
    // SAFETY: all zeros is an action of the platform's; the first call tells what was there, and it is kept before the
    // second one can make a signal ask for it. The handler has the signature that SA_SIGINFO asks for.
    let done = unsafe {
        let mut old: libc::sigaction = mem::zeroed();
        let read = libc::sigaction(signal, ptr::null(), &raw mut old);
        let _ = before.set(old);
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handler as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        read | libc::sigaction(signal, &raw const action, ptr::null_mut())
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Writes the line, then restores the previous action: the instruction that raised the signal is tried again on return,
/// and `abort` raises its signal again.
extern "C" fn ending(signal: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    if let Some((line, length)) = RUNNING.take() {
        // SAFETY: the call is allowed in handlers, and the line lives as long as the run that this thread is in.
        let _ = unsafe { libc::write(NOTE.load(Ordering::SeqCst), line.cast(), length) };
    }
    let before = SIGNALS.iter().position(|of| *of == signal).and_then(|place| BEFORE[place].get());
    // SAFETY: both calls are allowed in handlers; what was there before was given by the system.
    unsafe {
        match before {
            Some(before) => drop(libc::sigaction(signal, before, ptr::null_mut())),
            None => drop(libc::signal(signal, libc::SIG_DFL)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{catch_unwind, resume_unwind};

    use super::*;

    #[test]
    fn a_line_names_model_and_version() {
        assert_eq!(&*Line::of(Path::new("/srv/models/digits/12/model.onnx")).0, "digits/12\n");
        assert_eq!(Line::of(Path::new("digits/12/model.onnx")).name(), "digits/12");
        assert_eq!(&*Line::of(Path::new("model.onnx")).0, "/\n");
    }

    #[test]
    fn it_is_known_what_runs_for_as_long_as_it_does() {
        let line = Line::of(Path::new("m/1/model.onnx"));
        let running = || RUNNING.get().map(|(_, length)| length);
        assert_eq!((line.during(running), running()), (Some(4), None));
        let panicked = catch_unwind(|| line.during(|| resume_unwind(Box::new("as a run may"))));
        assert_eq!((panicked.is_err(), running()), (true, None));
    }
}
