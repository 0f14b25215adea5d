//! Seals of the audit trail leave the database: the last one is kept in `DATA_DIR`, each one in `AUDIT_SEAL_FILE`.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use actix_web::web;
use auth::{AuditTrail, read_seal_lines, seal_line};
use parking_lot::Mutex;
use storage::AuditSeal;

use crate::error::TickResult;
use crate::settings::Settings;

/// The last seal, in `DATA_DIR`.
const HEAD_FILE: &str = "audit-head.json";

/// Where the last seal is kept.
pub fn head_file(settings: &Settings) -> PathBuf {
    settings.program.data_dir.join(HEAD_FILE)
}

/// The seals in a file; none where there is no file.
pub fn read(path: &Path) -> Result<Option<Vec<AuditSeal>>, String> {
    match fs::read_to_string(path) {
        Ok(text) => match read_seal_lines(&text) {
            Some(seals) => Ok(Some(seals)),
            None => Err(format!("{} holds no seal of an audit trail", path.display())),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// What was kept last.
#[derive(Debug)]
pub struct KeptSeals(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    head: PathBuf,
    log: Option<PathBuf>,
    last: Mutex<Option<AuditSeal>>,
    /// Held while a seal is written, which may take long: by no thread that answers requests.
    writing: Mutex<()>,
}

impl KeptSeals {
    /// Where these settings keep seals.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let head = head_file(settings);
        let last = read(&head)?.and_then(|mut seals| seals.pop());
        let log = settings.audit.audit_seal_file.clone();
        Ok(Self(Arc::new(Kept { head, log, last: Mutex::new(last), writing: Mutex::new(()) })))
    }

    /// Links and seals what is due, and keeps the last seal where it is a new one. `is_last`: this replica stops, and
    /// seals what there is.
    pub async fn advance(&self, trail: &AuditTrail, is_last: bool) -> TickResult {
        let Some(seal) = trail.advance(is_last).await? else {
            return Ok(());
        };
        let last = self.0.last.lock().clone();
        match last {
            Some(last) if last == seal => return Ok(()),
            // What is kept is evidence: a database that does not know it does not replace it.
            Some(last) => {
                let known = trail.vouches_for(&last).await?;
                if last.seq >= seal.seq || !known {
                    let head = self.0.head.display();
                    return Err(format!(
                        "{head} is a seal that the database does not know: its audit trail was truncated or rolled back; run modelgate audit verify"
                    )
                    .into());
                }
            }
            None => {}
        }
        let kept = Arc::clone(&self.0);
        // Goes on where this task is ended meanwhile; whoever comes next waits for it, and finds the seal kept.
        let keep = move || kept.keep(seal);
        let kept = web::block(keep).await?;
        Ok(kept.map_err(|error| format!("a seal of the audit trail could not be kept: {error}"))?)
    }
}

impl Kept {
    fn keep(&self, seal: AuditSeal) -> std::io::Result<()> {
        let _writing = self.writing.lock();
        if self.last.lock().as_ref().is_none_or(|last| last.seq < seal.seq) {
            write(&self.head, self.log.as_deref(), &seal)?;
            *self.last.lock() = Some(seal);
        }
        Ok(())
    }
}

/// Writes a seal to `head`, in the place of the one before it, and to the end of `log`.
fn write(head: &Path, log: Option<&Path>, seal: &AuditSeal) -> std::io::Result<()> {
    let line = format!("{}\n", seal_line(seal));
    let folder = head.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    // Renamed into place, under a name of this process: replicas may share the folder.
    let new = head.with_extension(format!("{}.new", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(line.as_bytes())?;
    file.sync_all()?;
    // Only when the head can be written: what fails is tried again, and would lengthen the log each time.
    if let Some(log) = log {
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(log)?;
        file.write_all(line.as_bytes())?;
        file.sync_data()?;
    }
    fs::rename(new, head)?;
    tracing::info!(seq = seal.seq, "the audit trail is sealed");
    Ok(())
}
