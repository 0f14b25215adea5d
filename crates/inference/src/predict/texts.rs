//! Texts to the input of one model, as `[text]` says.

use super::{batch_size, cell, find_input, rows::MAX_PROBLEMS};
use crate::{
    error::{Error, Problem},
    manifest::TextInput,
    tensor::{DataType, NamedTensor, Tensor, TensorData, TensorSpec},
};

/// How one model takes texts.
pub struct Texts {
    input: String,
    /// Characters of one text.
    max_length: usize,
    /// Whether the input's shape is `[batch]`, not `[batch, 1]`.
    is_vector: bool,
    /// Texts that may run at once.
    batch: usize,
}

/// Texts that fit a model.
#[derive(Debug)]
pub struct TextBatch(Vec<String>);

impl TextBatch {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none, which is never so of those that were checked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Texts {
    /// The reason where `[text]` does not fit the model.
    pub(super) fn new(text: &TextInput, inputs: &[TensorSpec]) -> Result<Self, String> {
        if inputs.len() != 1 {
            return Err("[text] needs a model with exactly one input".to_owned());
        }
        let spec = find_input(inputs, &text.input, &[DataType::Bytes], "[text]")?;
        let batch = spec.shape.first().and_then(|&first| batch_size(first, 1));
        let fits = spec.shape.len() == 1 || matches!(spec.shape[..], [_, -1 | 1]);
        let batch = batch.filter(|_| fits).ok_or_else(|| {
            format!(
                "[text] gives texts of shape [batch] or [batch, 1], but the input has shape {:?}",
                spec.shape
            )
        })?;
        let is_vector = spec.shape.len() == 1;
        Ok(Self { input: text.input.clone(), max_length: text.max_length, is_vector, batch })
    }

    /// Checks texts; [`Error::Invalid`] tells what is wrong with them.
    pub fn check(&self, texts: Vec<String>) -> Result<TextBatch, Error> {
        let problem = |(place, text): (usize, &String)| {
            let message = cell::checked(text, self.max_length).err()?;
            Some(Problem { place: format!("texts[{place}]"), message })
        };
        let mut problems: Vec<Problem> =
            texts.iter().enumerate().filter_map(problem).take(MAX_PROBLEMS).collect();
        if texts.is_empty() {
            problems
                .push(Problem { place: "texts".to_owned(), message: "give at least one text".to_owned() });
        }
        if problems.is_empty() { Ok(TextBatch(texts)) } else { Err(Error::Invalid(problems)) }
    }

    pub(super) fn batches(&self, texts: TextBatch) -> Vec<Vec<String>> {
        let mut texts = texts.0;
        if texts.len() <= self.batch {
            return vec![texts];
        }
        let count = texts.len().div_ceil(self.batch);
        let mut rest = texts.drain(..);
        (0..count).map(|_| rest.by_ref().take(self.batch).collect()).collect()
    }

    pub(super) fn tensor(&self, texts: Vec<String>) -> Result<NamedTensor, Error> {
        let shape = if self.is_vector { vec![texts.len()] } else { vec![texts.len(), 1] };
        let data = TensorData::Bytes(texts.into_iter().map(String::into_bytes).collect());
        Ok(NamedTensor { name: self.input.clone(), tensor: Tensor::new(shape, data)? })
    }
}
