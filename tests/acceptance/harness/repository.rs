//! Model repositories of a test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::client::Client;
use super::server::Server;
use super::workspace;
use super::world::{Pair, World};

/// A model repository of the test's own, with copies of `digits` to spoil.
pub struct Repository {
    /// Whose servers serve it.
    pub world: Arc<World>,
    /// Where it lies.
    pub folder: PathBuf,
}

impl Repository {
    /// An empty one.
    pub fn new(pair: Pair) -> Self {
        let world = World::new(pair);
        let folder = world.folder().join("repository");
        fs::create_dir(&folder).expect("a folder");
        Self { world, folder }
    }

    /// A copy of the demo model under this name.
    pub fn add(&self, name: &str) -> PathBuf {
        let (from, to) = (workspace().join("models/digits"), self.folder.join(name));
        fs::create_dir_all(to.join("1")).expect("a folder");
        for file in ["model.toml", "labels.txt", "1/model.onnx"] {
            fs::copy(from.join(file), to.join(file)).expect("a copy");
        }
        to
    }

    /// A server, and somebody who may call it.
    pub fn start(&self, settings: &[(&str, &str)]) -> (Server, Client) {
        let folder = self.folder.display().to_string();
        let server = self.world.start(&[&[("MODEL_DIR", folder.as_str())], settings].concat());
        let client = server.person("ada").api;
        (server, client)
    }
}

/// Replaces a line of `model.toml`, or adds one at its head.
pub fn configure(model: &Path, line: &str) {
    let file = model.join("model.toml");
    let text = fs::read_to_string(&file).expect("model.toml");
    let key = line.split('=').next().unwrap_or_default();
    let rest: Vec<&str> = text.lines().filter(|old| !old.starts_with(key)).collect();
    fs::write(file, format!("{line}\n{}\n", rest.join("\n"))).expect("model.toml");
}
