//! Names for the classes of an output, and the choice of the likeliest.

use std::path::Path;

use crate::{
    error::Error,
    manifest::Activation,
    tensor::{Tensor, TensorData},
};

/// Size of a labels file, in bytes.
const MAX_LABELS_BYTES: u64 = 8 << 20;

/// One class and how probable it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// Name of the class; its number where the model has no labels.
    pub label: String,
    /// Number of the class, from 0.
    pub index: usize,
    /// 0 to 1, as far as the model keeps to it.
    pub probability: f32,
}

/// Reads one label per line. Empty lines at the end do not count.
pub(crate) fn read(path: &Path) -> Result<Vec<String>, String> {
    let metadata = path.symlink_metadata().map_err(|_| "the labels file is missing".to_owned())?;
    if !metadata.is_file() || metadata.len() > MAX_LABELS_BYTES {
        return Err(format!("labels must be a plain file of at most {MAX_LABELS_BYTES} bytes"));
    }
    let text =
        std::fs::read_to_string(path).map_err(|_| "the labels file is not readable as UTF-8".to_owned())?;
    Ok(text.trim_end().lines().map(|line| line.trim().to_owned()).collect())
}

/// The `top_k` likeliest classes of each row of `[batch, classes]`, likeliest first, equal ones in the order of
/// their numbers. Further dimensions of size 1, as some exporters leave them, change nothing.
pub(crate) fn predictions(
    output: &Tensor,
    activation: Activation,
    labels: Option<&[String]>,
    top_k: usize,
) -> Result<Vec<Vec<Prediction>>, Error> {
    let scores = floats(output.data()).ok_or(Error::Runtime)?;
    let classes: usize = output.shape().iter().skip(1).product();
    if output.shape().len() < 2 || classes == 0 {
        return Err(Error::Runtime);
    }
    Ok(scores
        .chunks(classes)
        .map(|row| {
            let probabilities = activate(row, activation);
            let mut order: Vec<usize> = (0..classes).collect();
            order.sort_by(|&left, &right| probabilities[right].total_cmp(&probabilities[left]));
            let name = |index: usize| labels.and_then(|labels| labels.get(index).cloned());
            let predict = |index| Prediction {
                label: name(index).unwrap_or_else(|| index.to_string()),
                index,
                probability: probabilities[index],
            };
            order.into_iter().take(top_k).map(predict).collect()
        })
        .collect())
}

fn floats(data: &TensorData) -> Option<Vec<f32>> {
    match data {
        TensorData::Fp32(values) => Some(values.clone()),
        #[expect(clippy::cast_possible_truncation, reason = "a probability needs no more than f32")]
        TensorData::Fp64(values) => Some(values.iter().map(|&value| value as f32).collect()),
        TensorData::Fp16(values) => Some(values.iter().map(|value| value.to_f32()).collect()),
        TensorData::Bf16(values) => Some(values.iter().map(|value| value.to_f32()).collect()),
        _ => None,
    }
}

fn activate(row: &[f32], activation: Activation) -> Vec<f32> {
    match activation {
        Activation::None => row.to_vec(),
        Activation::Sigmoid => row.iter().map(|&score| 1.0 / (1.0 + (-score).exp())).collect(),
        Activation::Softmax => {
            // Subtracting the largest keeps the exponentials finite.
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let powers: Vec<f32> = row.iter().map(|&score| (score - largest).exp()).collect();
            let sum: f32 = powers.iter().sum();
            powers.into_iter().map(|power| power / sum).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;

    fn scores(shape: Vec<usize>, scores: &[f32]) -> Tensor {
        Tensor::new(shape, TensorData::Fp32(scores.to_vec())).unwrap()
    }

    #[test]
    fn the_likeliest_come_first_in_each_row() {
        let output = scores(vec![2, 3], &[0.1, 0.7, 0.2, 0.5, 0.0, 0.5]);
        let labels = ["a", "b", "c"].map(String::from);
        let rows = predictions(&output, Activation::None, Some(&labels), 2).unwrap();
        let names: Vec<Vec<&str>> =
            rows.iter().map(|row| row.iter().map(|prediction| prediction.label.as_str()).collect()).collect();
        assert_eq!(names, [["b", "c"], ["a", "c"]]);
    }

    #[test]
    fn activations_give_probabilities() {
        let output = scores(vec![1, 2, 1, 1], &[1000.0, 1000.0]);
        let row = &predictions(&output, Activation::Softmax, None, 9).unwrap()[0];
        assert_eq!(row.len(), 2);
        assert_eq!((row[0].label.as_str(), row[0].probability), ("0", 0.5));
        let row = &predictions(&scores(vec![1, 1], &[0.0]), Activation::Sigmoid, None, 1).unwrap()[0];
        assert_eq!(row[0].probability, 0.5);
    }

    #[test]
    fn an_output_without_classes_is_no_panic() {
        assert_eq!(predictions(&scores(vec![1, 0], &[]), Activation::None, None, 1), Err(Error::Runtime));
    }
}
