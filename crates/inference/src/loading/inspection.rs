//! What an ONNX file declares, read without the runtime: which files it refers to, which operators it needs. The file
//! is untrusted: every count, depth and length is bounded, and tensors are skipped, not read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, BufRead, BufReader, Seek, SeekFrom},
    path::{Component, Path},
};

use crate::{
    operators::Libraries,
    repository::{self, is_file_name},
};

/// The deepest nesting of messages; a graph inside a graph is three.
const MAX_DEPTH: usize = 100;
/// The most fields of a file: about those of ten million operators.
const MAX_FIELDS: u64 = 100_000_000;
/// The longest name, in bytes; no real model has a longer one.
const MAX_TEXT: u64 = 4096;
/// Different operators, domains or files that a model may name.
const MAX_NAMES: usize = 10_000;

/// The first bytes of a Git LFS pointer, whose content is kept elsewhere.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// The operators of these domains are part of the runtime.
const DOMAINS: [&str; 10] = [
    "",
    "ai.onnx",
    "ai.onnx.ml",
    "ai.onnx.training",
    "ai.onnx.preview",
    "ai.onnx.preview.training",
    "com.microsoft",
    "com.microsoft.nchwc",
    "com.microsoft.experimental",
    "com.ms.internal.nhwc",
];

/// Why a file is refused that refers to files outside its folder.
pub(super) const OUTSIDE: &str = "it refers to data that is not a file in the version's folder";

/// What an ONNX file declares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Version of the file format.
    pub ir_version: u64,
    /// The program that wrote the file; empty where the file does not say.
    pub producer: String,
    /// The version of each set of operators, by its domain; the empty one is ONNX itself.
    pub operator_sets: BTreeMap<String, u64>,
    /// How often each operator stands in the graphs, by domain and name.
    pub operators: BTreeMap<(String, String), u64>,
    /// The functions that the file brings, by domain and name.
    functions: BTreeSet<(String, String)>,
    /// The files, relative to the model's, that its tensors lie in.
    pub external: BTreeSet<String>,
    /// Constant tensors.
    pub initializers: u64,
}

impl Inspection {
    /// Reads a file. The error says what is wrong with it and names no path.
    pub fn read(file: &Path) -> Result<Self, String> {
        let opened = repository::open(file).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (length, file) = opened.map_err(|_| "model.onnx cannot be read".to_owned())?;
        let mut reader = BufReader::new(file);
        if reader.fill_buf().is_ok_and(|start| start.starts_with(LFS_POINTER)) {
            return Err(
                "model.onnx is a pointer of Git LFS and not the model; get it with git lfs pull".to_owned()
            );
        }
        Self::of(reader, length)
    }

    fn of(reader: impl BufRead + Seek, length: u64) -> Result<Self, String> {
        let mut walk = Walk { reader, position: 0, fields: 0, found: Self::default() };
        match walk.message(Kind::Model, length, 0) {
            Ok(()) => Ok(walk.found),
            Err(Problem::Unreadable) => Err("model.onnx is not a valid ONNX file".to_owned()),
            Err(Problem::Excessive(what)) => Err(format!("model.onnx has too many or too long {what}")),
        }
    }

    /// Counts no more as operators what are functions of the file, for their own nodes are counted. One that is called like
    /// an operator of the runtime, or of one of the libraries, could hide it.
    pub(super) fn leave_out_functions(&mut self, libraries: &Libraries) {
        if !libraries.is_empty() {
            return;
        }
        for function in self.functions.iter().filter(|(domain, _)| !DOMAINS.contains(&domain.as_str())) {
            self.operators.remove(function);
        }
    }

    /// Refuses a model that needs files from outside its version's folder, or operators that the runtime does not have
    /// by itself: those come in libraries, and a library is a program. Where the model has one, the runtime reports
    /// what is missing.
    pub(super) fn check(&self, folder: &Path, libraries: &Libraries) -> Result<(), String> {
        let foreign = |(domain, _): &&(String, String)| !DOMAINS.contains(&domain.as_str());
        if let Some((domain, operator)) = self.operators.keys().find(foreign).filter(|_| libraries.is_empty())
        {
            return Err(format!(
                "it needs the operator {operator:?} of {domain:?}, and its model.toml names no library of operators"
            ));
        }
        self.external.iter().try_for_each(|location| check_location(folder, location))
    }
}

/// A path without its `.` parts: `./weights.bin` is `weights.bin`.
fn plain(location: &str) -> String {
    location.split('/').filter(|part| *part != ".").collect::<Vec<_>>().join("/")
}

/// External data is a plain file below the version's folder, on a way without links.
fn check_location(folder: &Path, location: &str) -> Result<(), String> {
    // The text is the model's own, and may well be a path of this machine.
    let outside = || OUTSIDE.to_owned();
    let path = Path::new(location);
    if location.is_empty() || location.contains(['\\', '\0']) || location.len() as u64 > MAX_TEXT {
        return Err(outside());
    }
    let mut way = folder.to_owned();
    for component in path.components() {
        let part = match component {
            Component::Normal(part) => part,
            Component::CurDir => continue,
            _ => return Err(outside()),
        };
        way.push(part);
        match fs::symlink_metadata(&way) {
            Ok(metadata) if metadata.is_symlink() => return Err(outside()),
            Ok(_) => {}
            Err(_) if is_file_name(location) => {
                return Err(format!("it refers to the data file {location:?}, which is missing"));
            }
            Err(_) => return Err("a data file that it refers to is missing".to_owned()),
        }
    }
    if way.is_file() { Ok(()) } else { Err(outside()) }
}

enum Problem {
    Unreadable,
    Excessive(&'static str),
}

impl From<io::Error> for Problem {
    fn from(_: io::Error) -> Self {
        Self::Unreadable
    }
}

/// The messages of the format that lead to what is looked for.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    OperatorSet,
    Graph,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
    Training,
    Function,
    Entry,
}

/// What a field holds, by the message that it stands in and its number in `onnx.proto`.
fn content(kind: Kind, field: u64) -> Option<Kind> {
    Some(match (kind, field) {
        (Kind::Model, 7) | (Kind::Attribute, 6 | 11) | (Kind::Training, 1 | 2) => Kind::Graph,
        (Kind::Model, 8) => Kind::OperatorSet,
        (Kind::Model, 20) => Kind::Training,
        (Kind::Model, 25) => Kind::Function,
        (Kind::Graph, 1) | (Kind::Function, 7) => Kind::Node,
        (Kind::Graph, 5) | (Kind::Attribute, 5 | 10) | (Kind::SparseTensor, 1 | 2) => Kind::Tensor,
        (Kind::Graph, 15) | (Kind::Attribute, 22 | 23) => Kind::SparseTensor,
        (Kind::Node, 5) | (Kind::Function, 11) => Kind::Attribute,
        (Kind::Tensor, 13) => Kind::Entry,
        _ => return None,
    })
}

/// The texts and numbers of one message that are kept until its end.
#[derive(Default)]
struct Fields {
    /// `producer_name`, `domain`, `key`.
    first: String,
    /// `op_type`, `value`.
    second: String,
    number: u64,
}

struct Walk<Reader> {
    reader: Reader,
    position: u64,
    fields: u64,
    found: Inspection,
}

impl<Reader: BufRead + Seek> Walk<Reader> {
    /// Reads one message that ends at `end`.
    fn message(&mut self, kind: Kind, end: u64, depth: usize) -> Result<(), Problem> {
        if depth > MAX_DEPTH {
            return Err(Problem::Excessive("graphs inside of graphs"));
        }
        let mut fields = Fields::default();
        while self.position < end {
            self.fields += 1;
            if self.fields > MAX_FIELDS {
                return Err(Problem::Excessive("fields"));
            }
            let tag = self.varint()?;
            let (field, wire) = (tag >> 3, tag & 7);
            match wire {
                0 => {
                    let number = self.varint()?;
                    match (kind, field) {
                        (Kind::Model, 1) => self.found.ir_version = number,
                        (Kind::OperatorSet, 2) => fields.number = number,
                        _ => {}
                    }
                }
                1 => self.skip(8, end)?,
                5 => self.skip(4, end)?,
                2 => {
                    let length = self.varint()?;
                    let inner = self.position.checked_add(length).filter(|inner| *inner <= end);
                    let inner = inner.ok_or(Problem::Unreadable)?;
                    match content(kind, field) {
                        Some(kind) => self.message(kind, inner, depth + 1)?,
                        None => self.text(kind, field, length, end, &mut fields)?,
                    }
                }
                _ => return Err(Problem::Unreadable),
            }
        }
        if self.position != end {
            return Err(Problem::Unreadable);
        }
        self.keep(kind, fields)
    }

    /// A field that is a text worth keeping, or is skipped.
    fn text(
        &mut self,
        kind: Kind,
        field: u64,
        length: u64,
        end: u64,
        fields: &mut Fields,
    ) -> Result<(), Problem> {
        let place = match (kind, field) {
            (Kind::Model, 2)
            | (Kind::OperatorSet, 1)
            | (Kind::Node, 7)
            | (Kind::Function, 10)
            | (Kind::Entry, 1) => &mut fields.first,
            (Kind::Node, 4) | (Kind::Function, 1) | (Kind::Entry, 2) => &mut fields.second,
            _ => return self.skip(length, end),
        };
        if length > MAX_TEXT {
            return Err(Problem::Excessive("names"));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.reader.read_exact(&mut bytes)?;
        self.position += length;
        *place = String::from_utf8(bytes).map_err(|_| Problem::Unreadable)?;
        Ok(())
    }

    fn keep(&mut self, kind: Kind, fields: Fields) -> Result<(), Problem> {
        let found = &mut self.found;
        match kind {
            Kind::Model => found.producer = fields.first,
            Kind::OperatorSet => drop(found.operator_sets.insert(fields.first, fields.number)),
            Kind::Node => *found.operators.entry((fields.first, fields.second)).or_default() += 1,
            Kind::Function => drop(found.functions.insert((fields.first, fields.second))),
            Kind::Tensor => found.initializers += 1,
            Kind::Entry if fields.first == "location" => drop(found.external.insert(plain(&fields.second))),
            _ => {}
        }
        let most =
            [found.operator_sets.len(), found.operators.len(), found.functions.len(), found.external.len()];
        if most.into_iter().any(|count| count > MAX_NAMES) {
            return Err(Problem::Excessive("names"));
        }
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, Problem> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            self.reader.read_exact(&mut byte)?;
            self.position += 1;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Problem::Unreadable)
    }

    fn skip(&mut self, length: u64, end: u64) -> Result<(), Problem> {
        let target = self.position.checked_add(length).filter(|target| *target <= end);
        let target = target.ok_or(Problem::Unreadable)?;
        match i64::try_from(length) {
            // Small ones lie in the buffer already; a seek would throw it away.
            Ok(length) => self.reader.seek_relative(length)?,
            Err(_) => drop(self.reader.seek(SeekFrom::Start(target))?),
        }
        self.position = target;
        Ok(())
    }
}

#[cfg(test)]
#[path = "inspection_tests.rs"]
mod tests;
