//! From an output to the answer: labelled probabilities by `[classification]`, or its numbers by `[regression]`.

use std::path::Path;

use serde::Serialize;

use super::{
    MAX_PREDICTIONS,
    labels::{self, Prediction},
};
use crate::{
    error::Error,
    manifest::{Classification, Manifest},
    onnx::KEYS,
    tensor::{DataType, NamedTensor, Tensor, TensorData, TensorSpec},
};

/// The answer to one picture, row or text.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Its likeliest classes, likeliest first.
    Classes(Vec<Prediction>),
    /// The output's elements of this row, in row-major order.
    Values(Values),
}

impl Outcome {
    /// Bytes that it takes, about.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Classes(classes) => {
                classes.iter().map(|class| size_of::<Prediction>() + class.label.len()).sum()
            }
            Self::Values(Values::Texts(texts)) => {
                texts.iter().map(|text| size_of::<String>() + text.len()).sum()
            }
            Self::Values(values) => values.len().saturating_mul(size_of::<f64>()),
        }
    }
}

/// Elements of an output.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Values {
    /// Of an output of FP32, FP16 or BF16.
    Floats(Vec<f32>),
    /// Of an output of FP64.
    Doubles(Vec<f64>),
    /// Of an output of signed integers, or unsigned ones of at most 32 bits.
    Integers(Vec<i64>),
    /// Of an output of UINT64.
    Unsigned(Vec<u64>),
    /// Of an output of booleans.
    Booleans(Vec<bool>),
    /// Of an output of strings.
    Texts(Vec<String>),
}

impl Values {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Floats(values) => values.len(),
            Self::Doubles(values) => values.len(),
            Self::Integers(values) => values.len(),
            Self::Unsigned(values) => values.len(),
            Self::Booleans(values) => values.len(),
            Self::Texts(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How one model's output is answered.
pub(super) enum Answer {
    Classes {
        classification: Classification,
        labels: Option<Vec<String>>,
        /// How many there are, where the model says so.
        classes: Option<usize>,
        /// The output that names them, where the scores come as a map and no file has labels.
        keys: Option<String>,
    },
    Values {
        output: String,
    },
}

impl Answer {
    pub(super) fn new(manifest: &Manifest, outputs: &[TensorSpec], folder: &Path) -> Result<Self, String> {
        if let Some(classification) = &manifest.classification {
            let classes = class_count(classification, outputs)?;
            let file = classification.labels.as_deref();
            let labels = file.map(|file| read_labels(folder, file, classes)).transpose()?;
            let keys = format!("{}{KEYS}", classification.output);
            // The model may have a tensor of that name that is no map's; a map's has no names for its dimensions.
            let is_of_map = |spec: &&TensorSpec| spec.shape == [-1, -1] && spec.symbols.is_empty();
            let of_map = outputs.iter().find(|spec| spec.name == keys).filter(is_of_map);
            if labels.is_some() && of_map.is_some_and(|keys| keys.datatype == DataType::Bytes) {
                return Err(format!(
                    "[classification] output \"{}\" is a map whose keys are its labels, in an order of their own; leave \
                     labels out",
                    classification.output
                ));
            }
            let keys = of_map.filter(|_| labels.is_none()).map(|_| keys);
            return Ok(Self::Classes { classification: classification.clone(), labels, classes, keys });
        }
        let regression = manifest.regression.as_ref().ok_or_else(|| {
            "model.toml says what the model takes, but not what it answers: [classification] or [regression]"
                .to_owned()
        })?;
        let spec = find_output(outputs, &regression.output, "[regression]")?;
        if spec.shape.is_empty() {
            return Err(format!("[regression] output \"{}\" is a scalar, not [batch, …]", spec.name));
        }
        require_batch(spec, "[regression]")?;
        Ok(Self::Values { output: spec.name.clone() })
    }

    /// The outputs that it is made from: the one that is answered, and the one that names its classes, if any.
    pub(super) fn outputs(&self) -> Vec<String> {
        match self {
            Self::Classes { classification, keys, .. } => {
                [classification.output.clone()].into_iter().chain(keys.clone()).collect()
            }
            Self::Values { output } => vec![output.clone()],
        }
    }

    /// Bytes that reading the outputs takes at most: scores or numbers of at most eight bytes, or texts.
    pub(super) fn read_size(outputs: &[NamedTensor]) -> usize {
        let of = |data: &TensorData| match data {
            TensorData::Bytes(_) => data.size(),
            numbers => numbers.len().saturating_mul(size_of::<f64>()),
        };
        outputs.iter().map(|output| of(output.tensor.data())).sum()
    }

    /// Checks the number of classes requested for `count` pictures, rows or texts.
    pub(super) fn check(&self, count: usize, top_k: Option<usize>) -> Result<(), Error> {
        if let Self::Classes { classification, classes, .. } = self {
            let each = top_k.unwrap_or(classification.top_k).min(classes.unwrap_or(usize::MAX));
            if count.saturating_mul(each) > MAX_PREDICTIONS {
                return Err(Error::InvalidInput(format!(
                    "{count} times {each} classes are more than the {MAX_PREDICTIONS} of one answer: ask for \
                     fewer, or send less at a time"
                )));
            }
        }
        match (self, top_k) {
            (_, Some(0)) => Err(Error::InvalidInput("top_k must be at least 1".to_owned())),
            (Self::Values { .. }, Some(_)) => Err(Error::InvalidInput(
                "this model answers with numbers, so that top_k has no meaning".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// One outcome for each row of the outputs, which are [`Self::outputs`].
    pub(super) fn read(
        &self,
        outputs: Vec<NamedTensor>,
        top_k: Option<usize>,
    ) -> Result<Vec<Outcome>, Error> {
        let mut outputs = outputs.into_iter();
        let output = outputs.next().ok_or(Error::Runtime)?;
        match self {
            Self::Classes { classification, labels, .. } => {
                let choice = labels::Choice {
                    activation: classification.activation,
                    threshold: classification.threshold,
                    top_k: top_k.unwrap_or(classification.top_k),
                };
                let keys = outputs.next().map(|keys| keys.tensor);
                let keys = keys.filter(|keys| keys.shape() == output.tensor.shape());
                let name = |row: usize, index: usize| match (labels, &keys) {
                    (Some(labels), _) => labels.get(index).cloned(),
                    (None, Some(keys)) => key(keys, row, index),
                    (None, None) => None,
                };
                let rows = labels::predictions(&output, &choice, name)?;
                Ok(rows.into_iter().map(Outcome::Classes).collect())
            }
            Self::Values { .. } => Ok(values(output)?.into_iter().map(Outcome::Values).collect()),
        }
    }
}

/// A class of a row as a map calls it.
fn key(keys: &Tensor, row: usize, index: usize) -> Option<String> {
    let place = row * keys.shape().get(1)? + index;
    match keys.data() {
        TensorData::Int64(keys) => keys.get(place).map(ToString::to_string),
        TensorData::Bytes(keys) => keys.get(place).map(|key| String::from_utf8_lossy(key).into_owned()),
        _ => None,
    }
}

/// The elements of each row.
fn values(output: NamedTensor) -> Result<Vec<Values>, Error> {
    let (shape, data) = output.tensor.into_parts();
    let (&rows, rest) = shape.split_first().ok_or_else(|| {
        let name = output.name;
        Error::InvalidInput(format!("output \"{name}\" of this model is a scalar for this input; use /v2"))
    })?;
    let width: usize = rest.iter().product();
    macro_rules! rows {
        ($kind:ident, $elements:expr, $convert:expr) => {
            (0..rows)
                .map(|row| {
                    Values::$kind($elements[row * width..(row + 1) * width].iter().map($convert).collect())
                })
                .collect()
        };
    }
    Ok(match &data {
        TensorData::Fp32(elements) => rows!(Floats, elements, |&value| value),
        TensorData::Fp16(elements) => rows!(Floats, elements, |value| value.to_f32()),
        TensorData::Bf16(elements) => rows!(Floats, elements, |value| value.to_f32()),
        TensorData::Fp64(elements) => rows!(Doubles, elements, |&value| value),
        TensorData::Bool(elements) => rows!(Booleans, elements, |&value| value),
        TensorData::Uint8(elements) => rows!(Integers, elements, |&value| i64::from(value)),
        TensorData::Uint16(elements) => rows!(Integers, elements, |&value| i64::from(value)),
        TensorData::Uint32(elements) => rows!(Integers, elements, |&value| i64::from(value)),
        TensorData::Uint64(elements) => rows!(Unsigned, elements, |&value| value),
        TensorData::Int8(elements) => rows!(Integers, elements, |&value| i64::from(value)),
        TensorData::Int16(elements) => rows!(Integers, elements, |&value| i64::from(value)),
        TensorData::Int32(elements) => rows!(Integers, elements, |&value| i64::from(value)),
        TensorData::Int64(elements) => rows!(Integers, elements, |&value| value),
        TensorData::Bytes(elements) => {
            rows!(Texts, elements, |value| String::from_utf8_lossy(value).into_owned())
        }
    })
}

fn find_output<'a>(outputs: &'a [TensorSpec], name: &str, place: &str) -> Result<&'a TensorSpec, String> {
    outputs.iter().find(|spec| spec.name == *name).ok_or_else(|| {
        let names: Vec<_> = outputs.iter().map(|spec| format!("\"{}\"", spec.name)).collect();
        format!("{place}: the model has no output \"{name}\", but {}", names.join(", "))
    })
}

/// Refuses an output that always has several rows, however many went in.
fn require_batch(spec: &TensorSpec, place: &str) -> Result<(), String> {
    match spec.shape.first() {
        Some(&rows) if rows == 0 || rows > 1 => Err(format!(
            "{place} output \"{}\" has shape {:?}, whose first dimension is not that of the batch",
            spec.name, spec.shape
        )),
        _ => Ok(()),
    }
}

/// How many classes the output has, where the model says so.
fn class_count(classification: &Classification, outputs: &[TensorSpec]) -> Result<Option<usize>, String> {
    let name = &classification.output;
    let spec = find_output(outputs, name, "[classification]")?;
    if !spec.datatype.is_float() {
        return Err(format!(
            "[classification] output \"{name}\" has datatype {}; name the output with the scores or probabilities",
            spec.datatype
        ));
    }
    let is_wide = |&&dimension: &&i64| dimension >= 0 && dimension != 1;
    let has_classes = spec.shape.len() > 1 && spec.shape.iter().skip(1).filter(is_wide).count() <= 1;
    if !has_classes && !spec.any_rank {
        return Err(format!(
            "[classification] output \"{name}\" has shape {:?}, not [batch, classes]",
            spec.shape
        ));
    }
    require_batch(spec, "[classification]")?;
    let known = spec.shape.iter().skip(1).map(|&dimension| usize::try_from(dimension).ok());
    Ok(known.product::<Option<usize>>().filter(|_| spec.shape.len() > 1))
}

fn read_labels(folder: &Path, file: &str, classes: Option<usize>) -> Result<Vec<String>, String> {
    let wrong = |reason: &str| format!("[classification] labels \"{file}\": {reason}");
    if file.is_empty() || file.contains(['/', '\\']) || file.starts_with('.') {
        return Err(wrong("must be a file in the model's folder"));
    }
    let labels = labels::read(&folder.join(file)).map_err(|reason| wrong(&reason))?;
    match classes {
        Some(classes) if classes != labels.len() => {
            Err(wrong(&format!("has {} labels, but the model has {classes} classes", labels.len())))
        }
        _ => Ok(labels),
    }
}
