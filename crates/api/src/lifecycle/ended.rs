//! A model whose run ended the server is unloaded until an administrator loads it again: otherwise a single caller of
//! it could keep the server down.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use auth::Auth;
use chrono::{DateTime, Utc};

use crate::settings::Settings;

/// Beside the other things that this replica keeps.
const NOTE: &str = "ended-by-model";
/// Of which so much is read: one line is written for each end.
const MAX_NOTE_BYTES: u64 = 64 << 10;

/// Has every model unloaded in whose run the server ended before, and lets it be noted from now on; to be called before
/// models are loaded. Where `DATA_DIR` cannot be written, nothing is noted. The error says why the database did not
/// take it.
pub async fn unload_what_ended(settings: &Settings, auth: &Auth) -> auth::Result<()> {
    let folder = &settings.program.data_dir;
    let note = folder.join(NOTE);
    let failed = |error: std::io::Error| tracing::warn!(note = %note.display(), %error, "a model that ends the server cannot be noted");
    let (ended, at) = read(&note).map_err(failed).unwrap_or_default();
    for (model, version) in ended {
        if auth.unload_model_that_ended(&model, &version, at).await? {
            let unloaded = "the server ended in a run of a model; it is unloaded until it is loaded again";
            tracing::error!(model, version, "{unloaded}");
        } else {
            let changed =
                "the server ended in a run of a model, which was changed since, and is served as it is now";
            tracing::warn!(model, version, "{changed}");
        }
    }
    // Emptied, not removed: other replicas may have the same folder, and the file open.
    let ready = DirBuilder::new().recursive(true).mode(0o700).create(folder).and_then(|()| {
        inference::note_ends(&note)?;
        OpenOptions::new().write(true).truncate(true).open(&note)
    });
    drop(ready.map_err(failed));
    Ok(())
}

type Versions = BTreeSet<(String, String)>;

/// Models and versions, and when the last of them was noted; what is no name of a model was written by somebody else.
fn read(note: &Path) -> std::io::Result<(Versions, DateTime<Utc>)> {
    let mut text = Vec::new();
    let at = match File::open(note) {
        Ok(file) => {
            let at = file.metadata()?.modified()?;
            file.take(MAX_NOTE_BYTES).read_to_end(&mut text)?;
            at.into()
        }
        Err(error) if error.kind() == ErrorKind::NotFound => DateTime::UNIX_EPOCH,
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().filter_map(|line| line.split_once('/'));
    let names = lines.filter(|(model, version)| inference::is_name(model) && inference::is_name(version));
    Ok((names.map(|(model, version)| (model.to_owned(), version.to_owned())).collect(), at))
}
