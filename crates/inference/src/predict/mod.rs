//! Prediction as `model.toml` describes it: pictures, rows of named columns or texts in, labelled probabilities or
//! numbers out.

mod answer;
mod buffer;
mod cell;
mod labels;
mod pictures;
mod rows;
mod table;
mod texts;
mod workplace;

use std::{path::Path, sync::Arc};

use bytes::Bytes;

pub use answer::{Outcome, Values};
pub use cell::{Cell, MAX_EXACT};
pub use labels::Prediction;
pub use rows::{MAX_PROBLEMS, RowReader, Rows};
pub use table::Table;
pub use texts::{TextBatch, Texts};
pub use workplace::{AnyPlace, Workplace};

use self::answer::Answer;
use self::pictures::Pictures;
use crate::{
    error::Error,
    manifest::Manifest,
    model::{InferRequest, Model},
    named::named_enum,
    scheduling::{Ticket, Timing},
    tensor::{DataType, NamedTensor, TensorSpec},
};

/// Elements of one batch; what exceeds it runs in several batches. 16 Mi elements are 64 MiB of FP32.
const MAX_BATCH_ELEMENTS: usize = 16 << 20;

/// Classes in the answer to one call, those of all its pictures, rows or texts together.
const MAX_PREDICTIONS: usize = 100_000;

named_enum! {
    /// The kind of input that [`Model::predict`] expects.
    pub enum InputKind {
        /// Pictures.
        Images = "images",
        /// Rows of named columns.
        Rows = "rows",
        /// Texts.
        Texts = "texts",
    }
}

/// What to predict from.
#[derive(Debug)]
pub enum PredictInput {
    /// Files: JPEG, PNG, GIF, BMP or WebP.
    Images(Vec<Bytes>),
    /// Rows that a [`RowReader`] of the same model read.
    Rows(Rows),
    /// Texts that the same model's [`Texts`] checked.
    Texts(TextBatch),
}

impl PredictInput {
    /// How many pictures, rows or texts.
    fn len(&self) -> usize {
        match self {
            Self::Images(images) => images.len(),
            Self::Rows(rows) => rows.len(),
            Self::Texts(texts) => texts.len(),
        }
    }

    pub(crate) fn kind(&self) -> InputKind {
        match self {
            Self::Images(_) => InputKind::Images,
            Self::Rows(_) => InputKind::Rows,
            Self::Texts(_) => InputKind::Texts,
        }
    }
}

/// The answer to [`Model::predict`].
#[derive(Debug)]
pub struct PredictResponse {
    /// One for each picture, row or text, in their order.
    pub results: Vec<Outcome>,
    /// Where the time went.
    pub timing: Timing,
}

/// How one model predicts.
pub(crate) struct Predictor {
    /// None where `model.toml` says only what an output means.
    pub(crate) input: Option<Input>,
    answer: Answer,
}

/// What one model predicts from.
pub(crate) enum Input {
    Images(Pictures),
    Rows(Table),
    Texts(Texts),
}

impl Predictor {
    /// None where `model.toml` says nothing of what the model takes and answers; the reason where it does not fit the
    /// model.
    pub(crate) fn new(
        manifest: &Manifest,
        inputs: &[TensorSpec],
        outputs: &[TensorSpec],
        folder: &Path,
    ) -> Result<Option<Self>, String> {
        let input = match (&manifest.image, &manifest.table, &manifest.text) {
            (Some(image), ..) => Some(Input::Images(Pictures::new(image, inputs)?)),
            (_, Some(table), _) => Some(Input::Rows(Table::new(table, inputs)?)),
            (.., Some(text)) => Some(Input::Texts(Texts::new(text, inputs)?)),
            (None, None, None) => None,
        };
        if input.is_none() && manifest.classification.is_none() && manifest.regression.is_none() {
            return Ok(None);
        }
        let answer = Answer::new(manifest, outputs, folder)?;
        Ok(Some(Self { input, answer }))
    }

    pub(crate) fn input_kind(&self) -> Option<InputKind> {
        Some(match self.input.as_ref()? {
            Input::Images(_) => InputKind::Images,
            Input::Rows(_) => InputKind::Rows,
            Input::Texts(_) => InputKind::Texts,
        })
    }

    /// Whether the answers are labelled probabilities.
    pub(crate) fn classifies(&self) -> bool {
        matches!(self.answer, Answer::Classes { .. })
    }

    /// Names for the classes of this output.
    pub(crate) fn labels(&self, output: &str) -> Option<&[String]> {
        match &self.answer {
            Answer::Classes { classification, labels, .. } if classification.output == output => {
                labels.as_deref()
            }
            Answer::Classes { .. } | Answer::Values { .. } => None,
        }
    }

    /// Neutral inputs of one picture, row or text, for the first run.
    pub(crate) fn sample(&self) -> Option<Result<Vec<NamedTensor>, Error>> {
        Some(match self.input.as_ref()? {
            Input::Images(pictures) => pictures.sample().map(|sample| vec![sample]),
            Input::Rows(table) => table.sample(),
            Input::Texts(texts) => texts.tensor(vec![String::new()]).map(|sample| vec![sample]),
        })
    }

    pub(crate) async fn predict(
        &self,
        model: &Arc<Model>,
        input: PredictInput,
        top_k: Option<usize>,
        ticket: Ticket,
        place: impl Workplace,
    ) -> Result<PredictResponse, Error> {
        self.answer.check(input.len(), top_k)?;
        let mut calls = Calls {
            predictor: self,
            model,
            top_k,
            ticket,
            place,
            held: 0,
            response: PredictResponse::empty(),
        };
        match (&self.input, input) {
            (Some(Input::Images(pictures)), PredictInput::Images(images)) => {
                pictures.predict(&mut calls, &images).await?;
            }
            (Some(Input::Rows(table)), PredictInput::Rows(rows)) => {
                let batches = table.batches(rows)?;
                calls.held = batches.iter().map(|(_, inputs)| size(inputs)).sum();
                calls.place.hold(calls.held)?;
                for (count, inputs) in batches {
                    calls.run(count, inputs).await?;
                }
            }
            (Some(Input::Texts(own)), PredictInput::Texts(texts)) => {
                for batch in own.batches(texts) {
                    calls.run(batch.len(), vec![own.tensor(batch)?]).await?;
                }
            }
            (_, other) => return Err(Error::wrong_input(model, other.kind())),
        }
        Ok(calls.response)
    }
}

impl PredictResponse {
    fn empty() -> Self {
        Self { results: Vec::new(), timing: Timing::default() }
    }
}

/// The runs of the model that one prediction takes, and what came of them.
struct Calls<'a, P> {
    predictor: &'a Predictor,
    model: &'a Arc<Model>,
    top_k: Option<usize>,
    ticket: Ticket,
    place: P,
    /// Bytes of the inputs and of what was made of the outputs so far.
    held: usize,
    response: PredictResponse,
}

impl<P: Workplace> Calls<'_, P> {
    /// One run on `count` pictures, rows or texts.
    async fn run(&mut self, count: usize, inputs: Vec<NamedTensor>) -> Result<(), Error> {
        let outputs = self.predictor.answer.outputs();
        let ran = self.model.infer(InferRequest { inputs, outputs, ticket: self.ticket }).await?;
        self.response.timing.queue += ran.timing.queue;
        self.response.timing.compute += ran.timing.compute;
        self.response.timing.share += ran.timing.share;
        let results = self.read(ran.outputs).await?;
        if results.len() != count {
            let (model, rows) = (self.model.name(), results.len());
            tracing::warn!(model, rows, count, "the model gave another number of rows than it was given");
            return Err(Error::InvalidInput(format!(
                "the model {model} gave {rows} results for {count} inputs, so that nobody knows which is whose; use /v2, \
                 which answers with its tensors as they are"
            )));
        }
        self.response.results.extend(results);
        Ok(())
    }

    async fn read(&mut self, outputs: Vec<NamedTensor>) -> Result<Vec<Outcome>, Error> {
        let made = Answer::read_size(&outputs);
        self.place.hold(self.held.saturating_add(size(&outputs)).saturating_add(made))?;
        let (model, top_k) = (Arc::clone(self.model), self.top_k);
        let read = move || {
            let predictor = model.predictor.as_ref().ok_or(Error::Runtime)?;
            let read = predictor.answer.read(outputs, top_k);
            read.inspect_err(|error| tracing::warn!(model = model.name(), %error, "no answer could be read"))
        };
        let results = self.place.work(made, read).await??;
        self.held = self.held.saturating_add(results.iter().map(Outcome::size).sum());
        Ok(results)
    }
}

/// Bytes that tensors take.
fn size(tensors: &[NamedTensor]) -> usize {
    tensors.iter().map(|tensor| tensor.tensor.data().size()).sum()
}

/// How many pictures, rows or texts of `elements` elements run at once, where the input's first dimension is `first`;
/// none where that is a number that no call could bring.
fn batch_size(first: i64, elements: usize) -> Option<usize> {
    match first {
        1 => Some(1),
        -1 => Some((MAX_BATCH_ELEMENTS / elements.max(1)).max(1)),
        _ => None,
    }
}

/// The model's input of this name, of one of these types.
fn find_input<'a>(
    inputs: &'a [TensorSpec],
    name: &str,
    datatypes: &[DataType],
    place: &str,
) -> Result<&'a TensorSpec, String> {
    let spec = inputs.iter().find(|spec| spec.name == name).ok_or_else(|| {
        let names: Vec<_> = inputs.iter().map(|spec| format!("\"{}\"", spec.name)).collect();
        format!("{place}: the model has no input \"{name}\", but {}", names.join(", "))
    })?;
    if !datatypes.contains(&spec.datatype) {
        let taken: Vec<_> = datatypes.iter().map(|datatype| datatype.name()).collect();
        return Err(format!(
            "{place}: the input \"{name}\" has datatype {}; what can be filled here is {} (tensors of any kind are \
             taken over /v2, without this table)",
            spec.datatype,
            taken.join(", ")
        ));
    }
    Ok(spec)
}
