//! `modelgate model add`

use std::collections::BTreeMap;
use std::path::PathBuf;

use auth::Origin;
use clap::Args;
use data_encoding::BASE64;
use inference::{Registry, SourceFile, SourceFiles, SourcedVersion};
use storage::{Blobs, ModelSource};

use super::model::refused;
use super::{CommandResult, print};
use crate::lifecycle::{ModelChanges, NewVersion};
use crate::settings::Settings;
use crate::{model_sources, start};

/// A version to add.
#[derive(Args, Debug)]
pub struct Add {
    /// An ONNX file: a path, also of a folder with a model.onnx, or its address, file://, https:// or s3://bucket/key. A
    /// server on the same database whose MODEL_DIR lacks the version fetches it from an https:// or s3:// address, too.
    file: String,
    /// The model's name; left out: what the file is called, unless that is model.onnx, or the folder.
    #[arg(long)]
    name: Option<String>,
    /// The version, which must be new; left out: the number after the highest.
    #[arg(long)]
    version: Option<String>,
    /// What its SHA-256 must be, in hexadecimal; may be left out for a file of this machine.
    #[arg(long, value_parser = digest)]
    sha256: Option<String>,
    /// What its size must be, in bytes.
    #[arg(long)]
    size: Option<u64>,
    /// A data file beside it, as NAME=SHA256; once for each. Those of a file of this machine are found without.
    #[arg(long = "data", value_parser = data)]
    data: Vec<(String, String)>,
    /// The Ed25519 signature of a file of this machine in Base64, where MODEL_SIGNING_KEYS are set; that of a folder is found
    /// without, as model.sig. One that lies beside an address is fetched: --data model.sig=SHA256.
    #[arg(long)]
    signature: Option<String>,
}

impl Add {
    /// Runs the command.
    pub async fn run(self, settings: &Settings) -> CommandResult {
        self.check_signature()?;
        let auth = start::command(settings).await?;
        let registry = Registry::start(start::inference(settings));
        let SourcedVersion { name, version, files } = self.sourced(settings, &registry)?;
        let incoming = registry.receive(&name, &version).map_err(|error| error.to_string())?;
        let fetched = model_sources::fill(&incoming, &files, settings, &model_sources::blobs(settings)).await;
        fetched.map_err(|error| error.to_string())?;
        if let Some(signature) = self.signature()? {
            incoming.sign(&signature).map_err(|error| error.to_string())?;
        }
        let sourced = SourcedVersion { name: name.clone(), version: version.clone(), files };
        let sources = shared(&sourced);
        let new =
            NewVersion { name: &name, version: &version, announced: sourced.digests(), sources: &sources };
        let changes =
            ModelChanges { auth: &auth, registry: &registry, actor: None, origin: &Origin::default() };
        changes.add(incoming, new).await.map_err(refused)?;
        sourced.digests().iter().for_each(|(file, sha256)| print(&format!("{sha256}  {file}")));
        print(&format!(
            "{name}: version {version} is in the repository; modelgate model activate {name} {version} serves it."
        ));
        Ok(())
    }

    /// Refuses a signature of what every replica fetches by itself: no other replica would have it.
    fn check_signature(&self) -> Result<(), String> {
        if self.signature.is_none() || Blobs::path(&self.file).is_some() {
            return Ok(());
        }
        Err(format!(
            "--signature is for a file of this machine; lay the signature beside the file as {signature}, and give \
             --data {signature}=SHA256, so that every replica fetches it, too",
            signature = inference::SIGNATURE_FILE
        ))
    }

    /// The signature that is given, or lies in the folder that is added.
    fn signature(&self) -> Result<Option<Vec<u8>>, String> {
        if let Some(given) = &self.signature {
            let bytes = BASE64.decode(given.as_bytes()).map_err(|_| "the signature is not Base64")?;
            return Ok(Some(bytes));
        }
        let beside = Blobs::path(&self.file).map(|path| path.join(inference::SIGNATURE_FILE));
        let read = |file: PathBuf| {
            let bytes = std::fs::read(&file);
            bytes.map_err(|error| format!("{} cannot be read: {}", file.display(), error.kind()))
        };
        beside.filter(|file| file.is_file()).map(read).transpose()
    }

    /// What is to be added under which name, and where its files are.
    fn sourced(&self, settings: &Settings, registry: &Registry) -> Result<SourcedVersion, String> {
        let describe = |error: storage::BlobError| error.to_string();
        let local = Blobs::path(&self.file).map(|path| match path.is_dir() {
            true => path.join(inference::MODEL_FILE),
            false => path,
        });
        let address = match &local {
            Some(path) => path.to_str().ok_or("the path is not UTF-8")?,
            None => &self.file,
        };
        let url = Blobs::address(address).map_err(describe)?;
        Blobs::check(&url, settings.sources.allows_plain_http()).map_err(describe)?;
        let name = self.name.clone().or_else(|| named_after(&self.file));
        let name = name.ok_or("give --name: the file's name cannot be a model's name")?;
        let version = self.version.clone().unwrap_or_else(|| registry.next_version(&name));
        let mut digests = local.map(|path| registry.digests(&path)).transpose()?.unwrap_or_default();
        digests.extend(self.sha256.clone().map(|sha256| (inference::MODEL_FILE.to_owned(), sha256)));
        digests.extend(self.data.iter().cloned());
        let mut files = SourceFiles::new();
        for (file, sha256) in digests {
            let is_model = file == inference::MODEL_FILE;
            let url = if is_model { url.clone() } else { Blobs::beside(&url, &file).map_err(describe)? };
            files.insert(file, SourceFile { url, sha256, size: self.size.filter(|_| is_model) });
        }
        if !files.contains_key(inference::MODEL_FILE) {
            return Err(
                "give --sha256: a file from a network is accepted only if its digest is known".to_owned()
            );
        }
        Ok(SourcedVersion { name, version, files })
    }
}

/// What other replicas fetch from: a path means nothing to them.
fn shared(sourced: &SourcedVersion) -> Vec<ModelSource> {
    let SourcedVersion { name, version, files } = sourced;
    let everywhere = files.values().all(|file| !file.url.starts_with("file:"));
    let files: BTreeMap<_, _> = if everywhere { files.iter().collect() } else { BTreeMap::new() };
    let row = |(file, source): (&String, &SourceFile)| ModelSource {
        name: name.clone(),
        version: version.clone(),
        file: file.clone(),
        url: source.url.clone(),
        sha256: source.sha256.clone(),
        size: source.size.and_then(|size| i64::try_from(size).ok()),
    };
    files.into_iter().map(row).collect()
}

/// `resnet50` for `…/resnet50.onnx?download=true`, and for a folder `…/resnet50/`.
fn named_after(file: &str) -> Option<String> {
    let local = Blobs::path(file);
    let is_folder = local.as_ref().is_some_and(|path| path.is_dir());
    let path = if local.is_some() { file } else { file.split('?').next().unwrap_or_default() };
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let stem = if is_folder { last } else { last.strip_suffix(".onnx")? };
    (stem != "model" && inference::is_name(stem)).then(|| stem.to_owned())
}

fn digest(text: &str) -> Result<String, &'static str> {
    if inference::is_sha256(text) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("a SHA-256 has 64 hexadecimal digits")
    }
}

fn data(text: &str) -> Result<(String, String), &'static str> {
    let (name, sha256) = text.split_once('=').ok_or("write it as NAME=SHA256")?;
    if !inference::is_file_name(name) || name == inference::MODEL_FILE {
        return Err("NAME is a path inside of the version's folder, as the model says it");
    }
    Ok((name.to_owned(), digest(sha256)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_after_its_file() {
        let named = |url: &str| named_after(url);
        assert_eq!(named("https://x/a/resnet-50.onnx?download=true").as_deref(), Some("resnet-50"));
        assert_eq!(named("s3://bucket/digits.onnx").as_deref(), Some("digits"));
        for nameless in
            ["https://x/model.onnx", "https://x/m.bin", "https://x/.onnx", "https://x/a%20b.onnx", ""]
        {
            assert_eq!(named(nameless), None, "{nameless}");
        }
    }

    #[test]
    fn a_data_file_has_a_name_and_a_digest() {
        let sha256 = "0A".repeat(32);
        let named = ("weights.bin".to_owned(), sha256.to_lowercase());
        assert_eq!(data(&format!("weights.bin={sha256}")), Ok(named));
        for wrong in
            ["weights.bin", "weights.bin=0a", &format!("../w={sha256}"), &format!("model.onnx={sha256}")]
        {
            assert!(data(wrong).is_err(), "{wrong}");
        }
    }
}
