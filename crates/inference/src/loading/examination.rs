//! The checks before the runtime reads a file: whether all files are there and have the right digests, refer to nothing
//! that is not allowed, and passed a trial.

use std::path::{Path, PathBuf};

use super::{
    LoadOptions, Loader, ModelFolder,
    inspection::{Inspection, OUTSIDE},
    trial,
    unchecked::{check_operators, check_ranks},
};
use crate::{
    engine::Engine,
    manifest::Manifest,
    operators::Libraries,
    repository::{
        Digests, MODEL_FILE, check_file, integrity, is_file_name, model_folder, names_version, read_manifest,
        signature,
    },
    tensor::TensorSpec,
};

/// What a file is, and whether it would be served.
#[derive(Debug, Clone)]
pub struct Examination {
    /// What it says of itself.
    pub inspection: Inspection,
    /// It and the files that it refers to.
    pub files: Digests,
    /// Their size together, in bytes.
    pub size: u64,
    /// Its inputs and outputs, or why it would not be served.
    pub outcome: Result<(Vec<TensorSpec>, Vec<TensorSpec>), String>,
}

/// A file that was read, with what is known of it and of those that it refers to.
struct ExaminedFile<'a> {
    /// The folder that it and its data files are in.
    folder: PathBuf,
    file: PathBuf,
    inspection: Inspection,
    /// Of all files.
    digests: &'a mut Digests,
    /// Of all files together, in bytes.
    size: u64,
}

impl Loader {
    /// Looks at a version's files. Leaves their digests in `files`, and tells what the model says and their size
    /// together, in bytes.
    pub(crate) fn check_version(
        &self,
        of: ModelFolder<'_>,
        version: &str,
        options: LoadOptions,
        libraries: &Libraries,
        files: &mut Digests,
    ) -> Result<(Inspection, u64), String> {
        let ModelFolder { name, path, manifest } = of;
        let own = path.join(version);
        if !own.is_dir() {
            return Err(format!(
                "there is no version \"{version}\": no folder {version}/ with a {MODEL_FILE}"
            ));
        }
        let file = own.join(MODEL_FILE);
        let size = self.digest(&own, MODEL_FILE, files)?;
        integrity::verify(path, manifest, version, files, |part| names_version(path, part))?;
        let inspection = Inspection::read(&file)?;
        let mut examinee = ExaminedFile { folder: own, file, inspection, digests: files, size };
        let is_known = |files: &Digests| {
            self.check_source(of, version, files)?;
            if options.accept_changes { Ok(()) } else { self.check_known(name, version, files) }
        };
        self.check(&mut examinee, manifest, libraries, is_known, options.retry_failed)?;
        Ok((examinee.inspection, examinee.size))
    }

    /// Looks at a file that need not be in the repository, and says what it is. `of` is the model that it is to be a
    /// version of: the libraries of operators that its `model.toml` asks for are loaded with it.
    pub(crate) fn examine_file(&self, file: &Path, of: Option<&str>) -> Result<Examination, String> {
        let (own, name) = parts(file)?;
        let mut digests = Digests::new();
        let size = self.digest(own, name, &mut digests)?;
        let inspection = Inspection::read(file).map_err(|reason| reason.replacen(MODEL_FILE, name, 1))?;
        let manifest = self.manifest(of)?;
        let libraries = Libraries::of(&self.settings.custom_operators, &manifest.custom_operators)?;
        let mut examinee =
            ExaminedFile { folder: own.into(), file: file.into(), inspection, digests: &mut digests, size };
        let passed = self.check(&mut examinee, &manifest, &libraries, |_| Ok(()), true);
        let ExaminedFile { inspection, size, .. } = examinee;
        let outcome = passed.and_then(|()| {
            let library = self.library.as_ref().map_err(String::clone)?;
            let (sessions, _) = library.open(file, &trial::minimal_options(libraries.paths()))?;
            let session = sessions.first().ok_or("no session")?;
            check_ranks(&inspection.operators, session.inputs(), &manifest.unchecked_operators)?;
            Ok((session.inputs().to_vec(), session.outputs().to_vec()))
        });
        let outcome = outcome.map_err(|reason| reason.replacen(MODEL_FILE, name, 1));
        Ok(Examination { inspection, files: digests, size, outcome })
    }

    /// Looks again at what was examined: what took its place meanwhile may be what was loaded.
    pub(crate) fn check_unchanged(&self, own: &Path, files: &Digests) -> Result<(), String> {
        let mut now = Digests::new();
        integrity::digest(own, files.keys().map(String::as_str), self.settings.max_model_bytes, &mut now)?;
        if now == *files {
            return Ok(());
        }
        Err("its files changed while they were loaded; load it again when all of them are there".to_owned())
    }

    /// SHA-256 of an ONNX file of this machine and of the data files beside it that it refers to, by their names in a
    /// version's folder. Links are followed: an operator named the file. The error says why one cannot be read.
    pub(crate) fn file_digests(&self, file: &Path) -> Result<Digests, String> {
        let (folder, name) = parts(file)?;
        let most = self.settings.max_model_bytes;
        let mut own = Digests::new();
        integrity::digest(folder, [name], most, &mut own)?;
        let inspection = Inspection::read(file).map_err(|reason| reason.replacen(MODEL_FILE, name, 1))?;
        if !inspection.external.iter().all(|name| is_file_name(name)) {
            return Err(OUTSIDE.to_owned());
        }
        let mut digests: Digests = own.into_values().map(|sha256| (MODEL_FILE.to_owned(), sha256)).collect();
        let external = inspection.external.iter().map(String::as_str);
        integrity::digest(folder, external, most, &mut digests)?;
        Ok(digests)
    }

    /// Notes the digest of a model's file, and tells its size in bytes.
    fn digest(&self, own: &Path, name: &str, digests: &mut Digests) -> Result<u64, String> {
        let most = self.settings.max_model_bytes;
        check_file(&own.join(name), most)?;
        integrity::digest(own, [name], most, digests)
    }

    /// What holds for every file. `is_known` looks at the digests before what costs more; `again`: what failed its
    /// trial before is tried again.
    fn check(
        &self,
        examinee: &mut ExaminedFile<'_>,
        manifest: &Manifest,
        libraries: &Libraries,
        is_known: impl FnOnce(&Digests) -> Result<(), String>,
        again: bool,
    ) -> Result<(), String> {
        let ExaminedFile { folder, file, inspection, digests, size } = examinee;
        inspection.leave_out_functions(libraries);
        inspection.check(folder, libraries)?;
        check_operators(&inspection.operators, &manifest.unchecked_operators)?;
        let external = inspection.external.iter().map(String::as_str);
        let more = integrity::digest(folder, external, self.settings.max_model_bytes, digests)?;
        *size = size.saturating_add(more);
        is_known(digests)?;
        signature::check(&self.settings.signing_keys, folder, digests)?;
        if let (Some(trial), Ok(library)) = (&self.settings.trial, &self.library) {
            let runtime = library.version().unwrap_or_default();
            let trial_of = trial::Trial { file, digests, size: *size, operators: libraries };
            trial::ensure_passed(trial, runtime, library.file(), trial_of, again)?;
        }
        Ok(())
    }

    /// Whether files are those with which the version was served first.
    fn check_known(&self, name: &str, version: &str, files: &Digests) -> Result<(), String> {
        let known = self.known.read();
        match known.get(&(name.to_owned(), version.to_owned())) {
            Some(first) => integrity::same(first, files),
            None => Ok(()),
        }
    }

    /// The model that a file of the repository is a version of.
    pub(crate) fn model_of(&self, file: &Path) -> Option<String> {
        let (file, repository) = (file.canonicalize().ok()?, self.settings.model_dir.canonicalize().ok()?);
        let model = file.parent()?.parent()?;
        let is_model = model.parent() == Some(&repository);
        model.file_name().filter(|_| is_model)?.to_str().map(str::to_owned)
    }

    /// Whether files are those that `[source]` names, or else the settings, as far as they name them.
    fn check_source(&self, of: ModelFolder<'_>, version: &str, files: &Digests) -> Result<(), String> {
        let source = of.manifest.source.digests(version);
        if let Some(file) = other(&source, files) {
            return Err(format!("{file} is not the file that [source] in model.toml names"));
        }
        let by_settings = self.settings.named_files.get(&(of.name.to_owned(), version.to_owned()));
        match by_settings.filter(|_| source.is_empty()).and_then(|named| other(named, files)) {
            Some(file) => Err(format!(
                "{file} is not the file that MODEL_URL_SHA256 names; put that one back, or give another file a \
                 MODEL_URL_VERSION of its own"
            )),
            None => Ok(()),
        }
    }

    fn manifest(&self, model: Option<&str>) -> Result<Manifest, String> {
        let folder = model.and_then(|name| model_folder(&self.settings.model_dir, name));
        folder.map_or(Ok(Manifest::default()), |folder| read_manifest(&folder))
    }
}

/// A file's folder and its name there.
fn parts(file: &Path) -> Result<(&Path, &str), String> {
    let (Some(folder), Some(name)) = (file.parent(), file.file_name().and_then(|name| name.to_str())) else {
        return Err("this is not the name of a file".to_owned());
    };
    Ok((if folder.as_os_str().is_empty() { Path::new(".") } else { folder }, name))
}

/// The first file that is not what is named for it.
fn other<'a>(named: &Digests, files: &'a Digests) -> Option<&'a String> {
    let differs =
        |(file, sha256): &(&String, &String)| named.get(*file).is_some_and(|named| named != *sha256);
    files.iter().find(differs).map(|(file, _)| file)
}
