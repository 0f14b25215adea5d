//! The `[source]` table: where the files of versions come from.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::repository::{Digests, MODEL_FILE, is_file_name, is_name, is_sha256};

/// How the addresses of files begin.
const SCHEMES: [&str; 4] = ["file://", "https://", "http://", "s3://"];

/// Where one file comes from, and what it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// Its address.
    pub url: String,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
    /// Its size in bytes.
    pub size: Option<u64>,
}

/// The files of a version, by their paths in its folder.
pub type SourceFiles = BTreeMap<String, SourceFile>;

/// The `[source]` table: versions and their files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct Source(pub BTreeMap<String, SourceFiles>);

impl Source {
    pub(super) fn check(&self) -> Result<(), String> {
        self.0.iter().try_for_each(|(version, files)| check(version, files))
    }

    /// What the files of a version must be.
    pub(crate) fn digests(&self, version: &str) -> Digests {
        self.0.get(version).map(digests).unwrap_or_default()
    }
}

/// What these files must be.
pub(crate) fn digests(files: &SourceFiles) -> Digests {
    files.iter().map(|(name, file)| (name.clone(), file.sha256.to_lowercase())).collect()
}

fn check(version: &str, files: &SourceFiles) -> Result<(), String> {
    let wrong = |what: String| Err(format!("[source.{version}] {what}"));
    if !is_name(version) {
        return wrong("cannot be a version".to_owned());
    }
    if !files.contains_key(MODEL_FILE) {
        return wrong(format!("lacks {MODEL_FILE:?}"));
    }
    for (name, file) in files {
        if !is_file_name(name) {
            return wrong(format!("{name:?} is not a file in the version's folder"));
        }
        if !is_sha256(&file.sha256) {
            return wrong(format!("{name:?}: sha256 takes 64 hexadecimal digits"));
        }
        if !SCHEMES.iter().any(|scheme| file.url.starts_with(scheme)) {
            return wrong(format!("{name:?}: url begins with file://, https:// or s3://"));
        }
        if file.size.is_none_or(|size| size == 0) {
            return wrong(format!("{name:?} lacks its size in bytes"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::super::Manifest;

    fn source(file: &str, rest: &str) -> Result<Manifest, String> {
        Manifest::parse(&format!("[source.1.{file:?}]\n{rest}\n"))
    }

    #[test]
    fn a_file_has_an_address_a_digest_and_a_size() {
        let digest = "0A".repeat(32);
        let good = format!("url = \"https://x/m\"\nsha256 = \"{digest}\"\nsize = 5");
        let manifest = source("model.onnx", &good).unwrap();
        assert_eq!(manifest.source.digests("1")["model.onnx"], "0a".repeat(32));
        assert!(manifest.source.digests("2").is_empty());
        assert!(source("weights.bin", &good).unwrap_err().contains("lacks \"model.onnx\""));
        for (old, new, expected) in [
            ("size = 5", "", "size"),
            ("size = 5", "size = 0", "size"),
            ("https://x/m", "ftp://x/m", "url"),
            ("https://x/m", "/etc/passwd", "url"),
            (&*digest, "0a", "sha256"),
            ("size = 5", "size = 5\nmode = 1", "mode"),
        ] {
            let refused = source("model.onnx", &good.replace(old, new)).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
        for outside in ["../model.onnx", "/model.onnx", ".received", "a//b", "a\\b"] {
            let both = format!("{good}\n[source.1.{outside:?}]\n{good}");
            assert!(source("model.onnx", &both).unwrap_err().contains("not a file"), "{outside}");
        }
    }
}
