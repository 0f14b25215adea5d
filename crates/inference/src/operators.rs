//! Operators: which are ONNX's own, and libraries of custom ones. A library is a program: it is loaded only if the
//! operator of the server allowed the file, for models that request it by its name.

use std::path::{Path, PathBuf};

use crate::repository::{integrity, is_sha256};

/// The most libraries that one model may request.
const MOST: usize = 8;

/// Whether a domain is of ONNX's own operators, which every runtime has.
pub(crate) fn is_onnx(domain: &str) -> bool {
    ["", "ai.onnx", "ai.onnx.ml"].contains(&domain)
}

/// A file that models may request: its absolute path and, where it is pinned, its SHA-256 in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorLibrary {
    path: PathBuf,
    sha256: Option<String>,
}

impl OperatorLibrary {
    /// Reads `/path/to/library.so` or `/path/to/library.so=SHA256`. The error says what to write.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (path, sha256) = match text.trim().rsplit_once('=') {
            Some((path, sha256)) => (Path::new(path), Some(sha256.to_ascii_lowercase())),
            None => (Path::new(text.trim()), None),
        };
        if sha256.as_ref().is_some_and(|sha256| !is_sha256(sha256)) {
            return Err("a SHA-256 has 64 hexadecimal digits");
        }
        if !path.is_absolute() || path.file_name().and_then(|name| name.to_str()).is_none() {
            return Err("write absolute paths of files, each alone or as PATH=SHA256");
        }
        Ok(Self { path: path.to_owned(), sha256 })
    }

    /// The name by which models request it: that of its file.
    pub fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }
}

/// Checks that these are names of files, and not too many.
pub(crate) fn check_names(names: &[String]) -> Result<(), String> {
    if names.len() > MOST {
        return Err(format!("custom_operators names more than {MOST} libraries"));
    }
    match names
        .iter()
        .find(|name| name.is_empty() || name.contains(['/', '\\', '\0']) || name.starts_with('.'))
    {
        Some(name) => Err(format!(
            "custom_operators takes names of files, not {name:?}: their places are in CUSTOM_OPERATORS"
        )),
        None => Ok(()),
    }
}

/// The libraries of a model, with the digests that their files had when they were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Libraries(Vec<(PathBuf, String)>);

impl Libraries {
    /// The libraries that a model requests. The reason names no path.
    pub fn of(allowed: &[OperatorLibrary], names: &[String]) -> Result<Self, String> {
        let find = |name: &String| {
            let library = allowed.iter().find(|library| library.name() == name);
            let library = library.ok_or_else(|| {
                format!(
                    "it asks for the library of operators {name:?}, which CUSTOM_OPERATORS does not allow"
                )
            })?;
            let sha256 = integrity::sha256(&library.path).map_err(|error| {
                format!("the library of operators {name:?} cannot be read: {}", error.kind())
            })?;
            match &library.sha256 {
                Some(expected) if *expected != sha256 => Err(format!(
                    "the library of operators {name:?} is not the file that CUSTOM_OPERATORS allows: its SHA-256 is {sha256}"
                )),
                _ => Ok((library.path.clone(), sha256)),
            }
        };
        names.iter().map(find).collect::<Result<_, _>>().map(Self)
    }

    /// Where they are.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.0.iter().map(|(path, _)| path.clone()).collect()
    }

    /// Their SHA-256.
    pub fn digests(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, sha256)| sha256.as_str())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;

    #[test]
    fn a_file_is_named_whole_and_a_model_knows_its_name_only() {
        let digest = "AB".repeat(32);
        let named = OperatorLibrary::parse(&format!("/opt/ops/my.so={digest}")).unwrap();
        assert_eq!((named.name(), named.sha256.as_deref()), ("my.so", Some(digest.to_lowercase().as_str())));
        assert_eq!(OperatorLibrary::parse("/opt/a.so").unwrap().sha256, None);
        for wrong in ["", "my.so", "../my.so", "/", "/opt/..", "/opt/my.so=", "/opt/my.so=00", "=00"] {
            assert!(OperatorLibrary::parse(wrong).is_err(), "{wrong}");
        }
        for wrong in ["/opt/my.so", "../my.so", "..", ".so", "a\\b", ""] {
            assert!(check_names(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
        assert!(check_names(&vec!["a.so".to_owned(); MOST]).is_ok());
        assert!(check_names(&vec!["a.so".to_owned(); MOST + 1]).is_err());
    }

    #[test]
    fn what_is_not_allowed_or_not_the_file_is_not_given() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my.so");
        std::fs::write(&path, b"abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let allowed = |text: String| [OperatorLibrary::parse(&text).unwrap()];
        let my = ["my.so".to_owned()];
        let given = Libraries::of(&allowed(format!("{}={abc}", path.display())), &my).unwrap();
        assert_eq!((given.paths(), given.digests().collect::<Vec<_>>()), (vec![path.clone()], vec![abc]));
        assert!(Libraries::of(&[], &[]).unwrap().is_empty());
        assert!(Libraries::of(&[], &my).unwrap_err().contains("does not allow"));
        let wrong = format!("{}={}", path.display(), "0".repeat(64));
        let message = Libraries::of(&allowed(wrong), &my).unwrap_err();
        assert!(message.contains(abc) && !message.contains("/"), "{message}");
        std::fs::remove_file(&path).unwrap();
        let message = Libraries::of(&allowed(path.display().to_string()), &my).unwrap_err();
        assert!(message.contains("cannot be read") && !message.contains('/'), "{message}");
    }
}
