//! Whether a model's files are the ones that its `model.toml` names.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;

use crate::manifest::Manifest;

/// Bytes read at a time.
const CHUNK: usize = 64 << 10;

/// SHA-256 of a file in lower-case hexadecimal.
pub(crate) fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut context = Context::new(&SHA256);
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(HEXLOWER.encode(context.finish().as_ref())),
            length => context.update(&chunk[..length]),
        }
    }
}

/// Compares every checksum that concerns a version (its own files, and those outside of any version, such as
/// labels) with the files in the model's folder. `is_version` tells whether a folder is another version.
pub(crate) fn verify(
    folder: &Path,
    manifest: &Manifest,
    version: &str,
    is_version: impl Fn(&str) -> bool,
) -> Result<(), String> {
    for (name, expected) in &manifest.checksums {
        let first = name.split('/').next().unwrap_or_default();
        if first != version && first != name && is_version(first) {
            continue;
        }
        if name.split('/').any(|part| matches!(part, "" | "." | "..")) || name.contains('\\') {
            return Err(format!("[checksums] \"{name}\" is not a file in the model's folder"));
        }
        let actual =
            sha256(&folder.join(name)).map_err(|_| format!("\"{name}\" has a checksum and is missing"))?;
        if !actual.eq_ignore_ascii_case(expected) {
            return Err(format!("checksum mismatch for {name}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn check(checksums: &str) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("1")).unwrap();
        std::fs::write(folder.path().join("1/model.onnx"), "abc").unwrap();
        let manifest = Manifest::parse(&format!("[checksums]\n{checksums}")).unwrap();
        verify(folder.path(), &manifest, "1", |name| name == "1" || name == "2")
    }

    #[test]
    fn files_are_compared() {
        assert_eq!(check(&format!("\"1/model.onnx\" = \"{ABC}\"")), Ok(()));
        assert_eq!(check(&format!("\"1/model.onnx\" = \"{}\"", ABC.to_uppercase())), Ok(()));
        let mismatch = check("\"1/model.onnx\" = \"00\"").unwrap_err();
        assert_eq!(mismatch, "checksum mismatch for 1/model.onnx");
    }

    #[test]
    fn another_version_does_not_matter_and_a_missing_file_does() {
        assert_eq!(check("\"2/model.onnx\" = \"00\""), Ok(()));
        assert!(check("\"labels.txt\" = \"00\"").unwrap_err().contains("missing"));
        assert!(check("\"../secret\" = \"00\"").unwrap_err().contains("not a file"));
    }
}
