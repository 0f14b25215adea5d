//! The `[classification]` table: how an output becomes labelled probabilities.

use serde::Deserialize;

/// The `[classification]` table: from an output to labelled probabilities.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Classification {
    /// Name of the output, of shape `[batch, classes]`.
    pub output: String,
    /// What makes probabilities of it; default `none`.
    #[serde(default)]
    pub activation: Activation,
    /// File in the model's folder with one label per line; without it labels are the class numbers.
    #[serde(default)]
    pub labels: Option<String>,
    /// Predictions in an answer when the caller does not say, at least 1; default 5.
    #[serde(default = "five")]
    pub top_k: usize,
    /// Predictions of a lower probability are left out, 0 to 1; without it none is.
    #[serde(default)]
    pub threshold: Option<f32>,
}

fn five() -> usize {
    5
}

/// What makes probabilities of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// The output is probabilities already.
    #[default]
    None,
    /// Classes exclude each other.
    Softmax,
    /// Each class stands for itself.
    Sigmoid,
}

impl Classification {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.top_k == 0 {
            return Err("[classification] top_k must be at least 1".to_owned());
        }
        if self.threshold.is_some_and(|threshold| !(0.0..=1.0).contains(&threshold)) {
            return Err("[classification] threshold must be 0 to 1".to_owned());
        }
        Ok(())
    }
}

/// The `[regression]` table: an output whose numbers are the answer as they are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regression {
    /// Name of the output; its first dimension is the batch.
    pub output: String,
}
