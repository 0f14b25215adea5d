//! Whether a model's files have the digests that its `model.toml` gives, and those that they had when they were first
//! served.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::{self, Read},
    path::Path,
};

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;

use super::MODEL_FILE;
use crate::manifest::Manifest;

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

/// The files of a version, relative to its folder, and their SHA-256 in lower-case hexadecimal.
pub type Digests = BTreeMap<String, String>;

/// The files of versions as they were when they were served first, by model and version.
pub type KnownFiles = HashMap<(String, String), Digests>;

/// Whether a text is a SHA-256: 64 hexadecimal digits of either case.
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// SHA-256 of a file in lower-case hexadecimal.
pub(crate) fn sha256(path: &Path) -> io::Result<String> {
    let mut file = super::open(path)?;
    let mut context = Context::new(&SHA256);
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(HEXLOWER.encode(context.finish().as_ref())),
            length => context.update(&chunk[..length]),
        }
    }
}

/// Adds the digests of files of a version, none of which may be larger than `max_bytes`. Answers their sizes together.
pub(crate) fn digest<'a>(
    folder: &Path,
    files: impl IntoIterator<Item = &'a str>,
    max_bytes: u64,
    digests: &mut Digests,
) -> Result<u64, String> {
    let mut size = 0u64;
    for name in files {
        let unreadable = |_| format!("{name} cannot be read");
        let metadata = fs::metadata(folder.join(name)).map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(format!("{name} is not a file"));
        }
        let length = metadata.len();
        if length > max_bytes {
            return Err(format!("{name} is {length} bytes large; at most {max_bytes} are accepted"));
        }
        digests.insert(name.to_owned(), sha256(&folder.join(name)).map_err(unreadable)?);
        size = size.saturating_add(length);
    }
    Ok(size)
}

/// Compares every checksum that concerns a version (its own files, and those outside of any version, such as labels)
/// with the files in the model's folder. `is_version` tells whether a folder is another version; `known` are digests
/// that were just taken.
pub(crate) fn verify(
    folder: &Path,
    manifest: &Manifest,
    version: &str,
    known: &Digests,
    is_version: impl Fn(&str) -> bool,
) -> Result<(), String> {
    for (name, expected) in &manifest.checksums {
        if name.split('/').any(|part| matches!(part, "" | "." | "..")) || name.contains('\\') {
            return Err(format!("[checksums] \"{name}\" is not a file in the model's folder"));
        }
        let (first, rest) = name.split_once('/').unwrap_or((name, ""));
        // One that is not there yet, or not any more, has a model's file all the same.
        if first != version && first != name && (is_version(first) || rest == MODEL_FILE) {
            continue;
        }
        let own = name.strip_prefix(version).and_then(|rest| known.get(rest.strip_prefix('/')?));
        let actual = match own {
            Some(actual) => actual.clone(),
            None => {
                let file = folder.join(name);
                // A pipe would be waited for without end.
                let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
                let digest = if is_file { sha256(&file).ok() } else { None };
                digest.ok_or_else(|| format!("\"{name}\" has a checksum and is missing, or no file"))?
            }
        };
        if !is_sha256(expected) {
            return Err(format!("[checksums] \"{name}\": a SHA-256 has 64 hexadecimal digits"));
        }
        if !actual.eq_ignore_ascii_case(expected) {
            return Err(format!("checksum mismatch for {name}"));
        }
    }
    Ok(())
}

/// Compares a version's files with those that were served first.
pub(crate) fn same(first: &Digests, now: &Digests) -> Result<(), String> {
    let changed = now.iter().find(|(file, sha256)| first.get(*file) != Some(*sha256));
    let gone = first.keys().find(|file| !now.contains_key(*file));
    match changed.map(|(file, _)| file).or(gone) {
        Some(file) => Err(format!(
            "{file} is not the file that was served first under this version; put that one back, give the new one a \
             version of its own, or load the model with accept_changes"
        )),
        None => Ok(()),
    }
}

/// A file that changed on disk since it was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The model.
    pub model: String,
    /// Its version.
    pub version: String,
    /// The file, relative to the version's folder.
    pub file: String,
    /// SHA-256 of what was loaded.
    pub expected: String,
    /// SHA-256 of what is there; none where it cannot be read.
    pub found: Option<String>,
}

/// The first file of a version that changed since it was loaded.
pub(crate) fn violation(model: &str, version: &str, folder: &Path, loaded: &Digests) -> Option<Violation> {
    loaded.iter().find_map(|(file, expected)| {
        let found = sha256(&folder.join(file)).ok();
        (found.as_ref() != Some(expected)).then(|| Violation {
            model: model.to_owned(),
            version: version.to_owned(),
            file: file.clone(),
            expected: expected.clone(),
            found,
        })
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_pipe_in_place_of_a_file_keeps_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let made = std::process::Command::new("mkfifo").arg(folder.path().join(MODEL_FILE)).status();
        assert!(made.unwrap().success());
        let loaded: Digests = [(MODEL_FILE.to_owned(), ABC.to_owned())].into();
        let violation = violation("m", "1", folder.path(), &loaded).unwrap();
        assert_eq!((violation.file.as_str(), violation.found), (MODEL_FILE, None));
        assert!(sha256(Path::new("/dev/zero")).is_err());
    }

    fn check(checksums: &str) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("1")).unwrap();
        std::fs::write(folder.path().join("1/model.onnx"), "abc").unwrap();
        let manifest = Manifest::parse(&format!("[checksums]\n{checksums}")).unwrap();
        let mut known = Digests::new();
        verify(folder.path(), &manifest, "1", &known, |name| name == "1" || name == "2")?;
        digest(&folder.path().join("1"), ["model.onnx"], 3, &mut known).unwrap();
        verify(folder.path(), &manifest, "1", &known, |name| name == "1" || name == "2")
    }

    #[test]
    fn files_are_compared() {
        assert_eq!(check(&format!("\"1/model.onnx\" = \"{ABC}\"")), Ok(()));
        assert_eq!(check(&format!("\"1/model.onnx\" = \"{}\"", ABC.to_uppercase())), Ok(()));
        let mismatch = check(&format!("\"1/model.onnx\" = \"{}\"", "0".repeat(64))).unwrap_err();
        assert_eq!(mismatch, "checksum mismatch for 1/model.onnx");
        assert!(check("\"1/model.onnx\" = \"00\"").unwrap_err().contains("64 hexadecimal digits"));
    }

    #[test]
    fn another_version_does_not_matter_and_a_missing_file_does() {
        assert_eq!(check("\"2/model.onnx\" = \"00\""), Ok(()));
        assert_eq!(check("\"3/model.onnx\" = \"00\""), Ok(()), "one that is not there yet");
        assert!(check("\"../model.onnx\" = \"00\"").unwrap_err().contains("not a file"));
        assert!(check("\"labels.txt\" = \"00\"").unwrap_err().contains("missing"));
        assert!(check("\"1\" = \"00\"").unwrap_err().contains("no file"));
        assert!(check("\"../secret\" = \"00\"").unwrap_err().contains("not a file"));
    }

    #[test]
    fn another_one_more_and_one_less_are_changes() {
        let digests = |files: &[(&str, &str)]| -> Digests {
            files.iter().map(|(file, sha256)| ((*file).to_owned(), (*sha256).to_owned())).collect()
        };
        let first = digests(&[("model.onnx", "a"), ("w.bin", "b")]);
        assert_eq!(same(&first, &first), Ok(()));
        for now in [
            digests(&[("model.onnx", "a"), ("w.bin", "c")]),
            digests(&[("model.onnx", "a")]),
            digests(&[("model.onnx", "a"), ("w.bin", "b"), ("x.bin", "b")]),
        ] {
            assert!(same(&first, &now).is_err());
        }
    }

    #[test]
    fn files_have_a_largest_size() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("w.bin"), "abcd").unwrap();
        let refused = digest(folder.path(), ["w.bin"], 3, &mut Digests::new()).unwrap_err();
        assert!(refused.contains("at most 3"), "{refused}");
    }
}
