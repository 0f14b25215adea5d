//! Versions with a `[source]`: which ones the repository lacks, and their status meanwhile. Fetching them is the
//! caller's task; this crate sees files only.

use std::sync::Arc;

use super::{
    Registry,
    desired_state::{DesiredState, Revision},
    entry::Entry,
};
use crate::{
    loading::{LoadOptions, Loader},
    manifest::{self, Source, SourceFiles},
    printable::printable,
    repository::{Digests, folders, model_folder, read_manifest},
};

/// A version and where its files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcedVersion {
    /// The model.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its files.
    pub files: SourceFiles,
}

impl SourcedVersion {
    /// What its files must be.
    pub fn digests(&self) -> Digests {
        manifest::digests(&self.files)
    }
}

impl Registry {
    /// The versions that a `model.toml` names sources of, as far as it does so still, the repository lacks them and the
    /// model is not unloaded.
    pub fn missing(&self) -> Vec<SourcedVersion> {
        let entries: Vec<Arc<Entry>> = self.read().values().cloned().collect();
        let wanted = entries.iter().filter(|entry| !entry.desired.unloaded);
        wanted.flat_map(|entry| self.missing_of(entry)).collect()
    }

    fn missing_of(&self, entry: &Entry) -> Vec<SourcedVersion> {
        let named = entry.manifest.iter().flat_map(|manifest| &manifest.source.0);
        let mut lacking = named.filter(|(version, _)| self.lacks(&entry.name, version)).peekable();
        if lacking.peek().is_none() {
            return Vec::new();
        }
        // One that cannot be read may be in the middle of being written, and takes nothing back.
        let now = self.shared.loader.sources(&entry.name).ok();
        let stays = |version: &str, files: &SourceFiles| {
            now.as_ref().is_none_or(|now| now.0.get(version) == Some(files))
        };
        let sourced = |(version, files): (&String, &SourceFiles)| SourcedVersion {
            name: entry.name.clone(),
            version: version.clone(),
            files: files.clone(),
        };
        lacking.filter(|(version, files)| stays(version, files)).map(sourced).collect()
    }

    /// The models of which nothing is there, as far as known, although the repository has a version from a source by now:
    /// another replica with the same repository was faster.
    pub fn appeared(&self) -> Vec<String> {
        let waits = |entry: &Entry| entry.versions.is_empty() && !entry.desired.unloaded;
        let is_there = |entry: &Entry| {
            let manifest = entry.manifest.as_ref();
            manifest.is_some_and(|manifest| {
                manifest.source.0.keys().any(|version| !self.lacks(&entry.name, version))
            })
        };
        let models = self.read();
        models
            .values()
            .filter(|entry| waits(entry) && is_there(entry))
            .map(|entry| entry.name.clone())
            .collect()
    }

    /// Whether the repository has no folder for a version.
    pub fn lacks(&self, name: &str, version: &str) -> bool {
        !self.shared.loader.is_there(name, version)
    }

    /// The number after the highest version of a model; 1 where there is none.
    pub fn next_version(&self, name: &str) -> String {
        let folder = model_folder(&self.shared.loader.settings.model_dir, name);
        let versions = folder.and_then(|folder| folders(&folder).ok()).unwrap_or_default();
        let highest = versions.iter().filter_map(|(version, _)| version.parse::<u128>().ok()).max();
        highest.unwrap_or(0).saturating_add(1).to_string()
    }

    /// Notes why a version could not be fetched, in the model's status, unless it is there by now. What is served goes on.
    /// Blocks while another version of the model is being loaded.
    pub fn mark_unavailable(&self, name: &str, version: &str, reason: &str) {
        let lineage = self.lineage(name);
        let _work = lineage.work.lock();
        if !self.lacks(name, version) {
            return;
        }
        // Another server had a say in it.
        let reason = printable(&format!("version {version} could not be fetched: {reason}"));
        let old = self.read().get(name).cloned();
        let at = old.as_ref().map_or(Revision::default(), |old| old.revision());
        let entry = match old {
            // The fetcher tries again: until then there is nothing to be looked at.
            Some(old) if old.ready().next().is_some() => {
                Entry { again: old.again, ..old.with_setback(old.desired.clone(), reason) }
            }
            Some(old) => Entry {
                versions: old.versions.clone(),
                reason: Some(reason),
                again: old.again,
                ..Entry::of(name, old.manifest.clone(), old.desired.clone(), Arc::clone(&lineage))
            },
            None => Entry::without_versions(name, reason, DesiredState::default(), Arc::clone(&lineage)),
        };
        self.put(entry, at);
    }

    /// Loads what was fetched into a model's folder, as its desired state says. Blocks for as long as loading takes.
    pub fn renew(&self, name: &str, desired: DesiredState, at: Revision) {
        self.reconcile_one(name, desired, at, LoadOptions::default());
    }
}

impl Loader {
    /// What a model's `model.toml` says now of where versions come from; nothing where it is gone. The error says why it
    /// cannot be read.
    pub(super) fn sources(&self, name: &str) -> Result<Source, String> {
        let folder = model_folder(&self.settings.model_dir, name);
        folder.map_or_else(|| Ok(Source::default()), |folder| Ok(read_manifest(&folder)?.source))
    }
}
