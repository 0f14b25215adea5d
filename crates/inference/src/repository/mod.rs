//! The model repository on disk: `<name>/<version>/model.onnx`, with an optional `<name>/model.toml`. Its folders and
//! names, the digests and signatures of its files, and what changes in it.

pub(crate) mod integrity;
pub(crate) mod signature;
mod watch;

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io,
    num::NonZeroUsize,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

pub use integrity::{Digests, KnownFiles, Violation, is_sha256};
pub use signature::SIGNATURE_FILE;
pub use signature::SigningKey;
pub(crate) use watch::Watch;

use crate::manifest::{Manifest, Serve, Versions};

/// Length of a model's or version's name, in bytes.
const MAX_NAME: usize = 128;
/// The longest path inside a version's folder, in bytes.
const MAX_FILE_NAME: usize = 255;
/// Size of a `model.toml`, in bytes.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;
/// File name of what a model's folder says about serving it.
pub(crate) const MANIFEST_FILE: &str = "model.toml";
/// File name of a version's model.
pub const MODEL_FILE: &str = "model.onnx";

/// Opens a plain file to be read. What has taken its place, such as a pipe that nobody writes to, would keep whoever
/// reads it for ever.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// The folders directly inside `parent` with valid names.
pub(crate) fn folders(parent: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() && is_name(&name) {
            found.push((name, entry.path()));
        }
    }
    Ok(found)
}

/// Names of what is passed over, and why.
pub(crate) type PassedOver = BTreeMap<String, &'static str>;

/// Entries directly inside the repository or a model's folder that look like a model or a version, and are not served.
/// Links are not followed: their targets are not part of the repository.
pub(crate) fn passed_over(parent: &Path) -> PassedOver {
    let reason = |entry: &fs::DirEntry, name: &str| {
        let kind = entry.file_type().ok()?;
        if kind.is_symlink() {
            Some("links are not followed")
        } else if kind.is_dir() {
            (!is_name(name)).then_some("a model or version cannot be called so")
        } else {
            name.ends_with(".onnx").then_some(
                "a model is a folder, such as NAME/1/model.onnx; `modelgate model add FILE` makes it",
            )
        }
    };
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let named = entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry));
    let visible = named.filter(|(name, _)| !name.starts_with('.'));
    visible.filter_map(|(name, entry)| reason(&entry, &name).map(|reason| (name, reason))).collect()
}

/// Logs what is passed over.
pub(crate) fn log_passed_over(model: Option<&str>, passed_over: &PassedOver) {
    for (name, reason) in passed_over {
        tracing::warn!(model, name, reason, "something in the model folder is passed over");
    }
}

/// Whether a model or a version may have this name: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`.
pub fn is_name(name: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    name.len() <= MAX_NAME
        && name.bytes().all(inside)
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
}

/// Whether a file of a version may have this name: a path of plain names, none hidden.
pub fn is_file_name(name: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.');
    let odd = |character: char| character.is_control() || character == '\\';
    name.len() <= MAX_FILE_NAME && !name.contains(odd) && name.split('/').all(plain)
}

pub(crate) fn names_version(folder: &Path, part: &str) -> bool {
    is_name(part) && folder.join(part).is_dir()
}

pub(crate) fn read_manifest(folder: &Path) -> Result<Manifest, String> {
    let file = folder.join(MANIFEST_FILE);
    match fs::symlink_metadata(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Manifest::default()),
        Ok(metadata) if metadata.is_file() && metadata.len() <= MAX_MANIFEST_BYTES => {}
        Ok(_) => return Err("model.toml must be a plain file of at most 1 MiB".to_owned()),
        Err(_) => return Err("model.toml cannot be read".to_owned()),
    }
    let text = fs::read_to_string(file).map_err(|_| "model.toml cannot be read as UTF-8".to_owned())?;
    Manifest::parse(&text).map_err(|reason| format!("model.toml: {reason}"))
}

/// The folder of a model; none where there is none of this name, or it is a link.
pub(crate) fn model_folder(model_dir: &Path, name: &str) -> Option<PathBuf> {
    let folder = model_dir.join(is_name(name).then_some(name)?);
    fs::symlink_metadata(&folder).is_ok_and(|metadata| metadata.is_dir()).then_some(folder)
}

/// The versions to serve, lowest first. `active` is the one that an operator chose: the latest are counted from it
/// downwards, and it is served whatever else is. Those that are `waiting` for being chosen are not.
pub(crate) fn chosen(
    folder: &Path,
    versions: &Versions,
    active: Option<&str>,
    waiting: &BTreeSet<String>,
) -> Result<Vec<String>, String> {
    if let Some(active) = active.filter(|active| !is_name(active)) {
        return Err(format!("{active:?} cannot be a version"));
    }
    let mut chosen = candidates(folder, versions)?;
    let before = chosen.len();
    chosen.retain(|version| !waiting.contains(version));
    let waits = chosen.len() < before;
    chosen.extend(active.map(str::to_owned));
    chosen.sort_by(|left, right| compare_versions(left, right));
    chosen.dedup();
    if versions.serve == Serve::Latest {
        if let Some(active) = active {
            chosen.retain(|version| compare_versions(version, active) != Ordering::Greater);
        }
        let earlier = chosen.len().saturating_sub(versions.latest.map_or(1, NonZeroUsize::get));
        chosen.drain(..earlier);
    }
    if chosen.is_empty() { Err(why_none(versions, waits)) } else { Ok(chosen) }
}

/// The versions of a folder that may be chosen from.
fn candidates(folder: &Path, versions: &Versions) -> Result<Vec<String>, String> {
    let found = folders(folder).map_err(|_| "the model's folder cannot be read".to_owned())?;
    let Serve::Only(wanted) = &versions.serve else {
        return Ok(found.into_iter().filter(|(_, path)| is_version(path)).map(|(name, _)| name).collect());
    };
    match wanted.iter().find(|version| !is_name(version)) {
        Some(missing) => Err(format!("model.toml: \"{missing}\" cannot be a version")),
        None => Ok(wanted.clone()),
    }
}

fn why_none(versions: &Versions, waits: bool) -> String {
    if waits {
        "its versions wait for their activation: activate one by its number".to_owned()
    } else if matches!(versions.serve, Serve::Only(_)) {
        "model.toml: [versions] serve names no version".to_owned()
    } else {
        format!("there is no version: no folder such as 1/ with a {MODEL_FILE}")
    }
}

fn is_version(folder: &Path) -> bool {
    fs::symlink_metadata(folder.join(MODEL_FILE)).is_ok()
}

/// Non-numeric names count as lower than any number, so that the highest is the highest number.
fn compare_versions(left: &str, right: &str) -> Ordering {
    match (left.parse::<u128>(), right.parse::<u128>()) {
        (Ok(left_number), Ok(right_number)) => left_number.cmp(&right_number).then_with(|| left.cmp(right)),
        (Ok(_), Err(_)) => Ordering::Greater,
        (Err(_), Ok(_)) => Ordering::Less,
        (Err(_), Err(_)) => left.cmp(right),
    }
}

pub(crate) fn check_file(file: &Path, max_bytes: u64) -> Result<(), String> {
    let folder_is_plain = file.parent().and_then(|folder| fs::symlink_metadata(folder).ok());
    if folder_is_plain.is_some_and(|metadata| metadata.is_symlink()) {
        return Err("the version's folder is a link, which is not followed".to_owned());
    }
    let name = file.file_name().unwrap_or(file.as_os_str()).display();
    match fs::symlink_metadata(file) {
        Err(_) => Err(format!("{name} is missing")),
        Ok(metadata) if !metadata.is_file() => {
            Err(format!("{name} is not a plain file; links are not followed"))
        }
        Ok(metadata) if metadata.len() > max_bytes => {
            Err(format!("{name} is {} bytes large; at most {max_bytes} are accepted", metadata.len()))
        }
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_version_stay_inside_of_it() {
        for good in ["model.onnx", "weights.bin", "a/b.bin", "_Constant_1", "onnx::MatMul_3"] {
            assert!(is_file_name(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "/x",
            "a//b",
            "a/",
            ".received",
            "a/.hidden",
            "a\\b",
            "a\nb",
            &"x".repeat(256),
        ] {
            assert!(!is_file_name(bad), "{bad:?}");
        }
    }
}
