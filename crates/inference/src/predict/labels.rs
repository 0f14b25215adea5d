//! Names for the classes of an output, and the choice of the most likely.

use std::path::Path;

use crate::{
    error::Error,
    manifest::Activation,
    ranking::highest,
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

/// Reads one label per line. Empty lines at the end do not count. The error says what is wrong with the file.
pub(super) fn read(path: &Path) -> Result<Vec<String>, String> {
    let metadata = path.symlink_metadata().map_err(|_| "is missing".to_owned())?;
    if !metadata.is_file() || metadata.len() > MAX_LABELS_BYTES {
        return Err(format!("must be a plain file of at most {MAX_LABELS_BYTES} bytes"));
    }
    let text = std::fs::read_to_string(path).map_err(|_| "cannot be read as UTF-8".to_owned())?;
    // Editors mark UTF-8 by a character that nobody sees.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Ok(text.trim_end().lines().map(|line| line.trim().to_owned()).collect())
}

/// Which classes are answered.
pub(super) struct Choice {
    pub(super) activation: Activation,
    /// Those of a lower probability are left out; none without it, whatever the scores are.
    pub(super) threshold: Option<f32>,
    /// At most this many of the others.
    pub(super) top_k: usize,
}

/// The likeliest classes of each row of `[batch, classes]`, likeliest first, equal ones in the order of their
/// numbers, those that are no numbers (NaN) last. Further dimensions of size 1, as some exporters leave them, change
/// nothing. `name` is asked for a row's class.
pub(super) fn predictions(
    output: &Tensor,
    choice: &Choice,
    name: impl Fn(usize, usize) -> Option<String>,
) -> Result<Vec<Vec<Prediction>>, Error> {
    let scores = floats(output.data()).ok_or(Error::Runtime)?;
    let classes: usize = output.shape().iter().skip(1).product();
    if output.shape().len() < 2 || classes == 0 {
        return Err(Error::Runtime);
    }
    Ok(scores
        .chunks(classes)
        .enumerate()
        .map(|(place, row)| {
            let probabilities = activate(row, choice.activation);
            // A NaN is never below the threshold: where nothing else is left, the caller sees it.
            let unlikely = |index: usize| choice.threshold.is_some_and(|least| probabilities[index] < least);
            let predict = |index| Prediction {
                label: name(place, index).unwrap_or_else(|| index.to_string()),
                index,
                probability: probabilities[index],
            };
            let likeliest = highest(&probabilities, choice.top_k, |index| !unlikely(index));
            likeliest.into_iter().map(predict).collect()
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

    fn unnamed(_: usize, _: usize) -> Option<String> {
        None
    }

    fn choice(activation: Activation, top_k: usize) -> Choice {
        Choice { activation, threshold: None, top_k }
    }

    fn scores(shape: Vec<usize>, scores: &[f32]) -> Tensor {
        Tensor::new(shape, TensorData::Fp32(scores.to_vec())).unwrap()
    }

    #[test]
    fn the_likeliest_come_first_in_each_row() {
        let output = scores(vec![2, 3], &[0.1, 0.7, 0.2, 0.5, 0.0, 0.5]);
        let labels = ["a", "b", "c"].map(String::from);
        let rows = predictions(&output, &choice(Activation::None, 2), |_, index| labels.get(index).cloned())
            .unwrap();
        let names: Vec<Vec<&str>> =
            rows.iter().map(|row| row.iter().map(|prediction| prediction.label.as_str()).collect()).collect();
        assert_eq!(names, [["b", "c"], ["a", "c"]]);
    }

    #[test]
    fn what_is_no_number_comes_last_whatever_its_sign() {
        let output = scores(vec![1, 4], &[f32::NAN, 0.1, -f32::NAN, 0.7]);
        let row = &predictions(&output, &choice(Activation::None, 9), unnamed).unwrap()[0];
        assert_eq!(row.iter().map(|prediction| prediction.index).collect::<Vec<_>>(), [3, 1, 0, 2]);
    }

    #[test]
    fn activations_give_probabilities() {
        let output = scores(vec![1, 2, 1, 1], &[1000.0, 1000.0]);
        let row = &predictions(&output, &choice(Activation::Softmax, 9), unnamed).unwrap()[0];
        assert_eq!(row.len(), 2);
        assert_eq!((row[0].label.as_str(), row[0].probability), ("0", 0.5));
        let row =
            &predictions(&scores(vec![1, 1], &[0.0]), &choice(Activation::Sigmoid, 1), unnamed).unwrap()[0];
        assert_eq!(row[0].probability, 0.5);
    }

    #[test]
    fn labels_are_lines_without_what_editors_add() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("labels.txt");
        std::fs::write(&file, "\u{feff}cat\r\n dog \r\n\r\n").unwrap();
        assert_eq!(read(&file).unwrap(), ["cat", "dog"]);
    }

    #[test]
    fn an_output_without_classes_is_no_panic() {
        let none = scores(vec![1, 0], &[]);
        assert_eq!(predictions(&none, &choice(Activation::None, 1), unnamed), Err(Error::Runtime));
    }

    #[test]
    fn a_threshold_leaves_the_unlikely_out() {
        let output = scores(vec![2, 3], &[3.0, -3.0, 0.0, -9.0, -9.0, -9.0]);
        let choice = Choice { activation: Activation::Sigmoid, threshold: Some(0.5), top_k: 9 };
        let rows = predictions(&output, &choice, unnamed).unwrap();
        let indexes: Vec<Vec<usize>> =
            rows.iter().map(|row| row.iter().map(|prediction| prediction.index).collect()).collect();
        assert_eq!(indexes, [vec![0, 2], vec![]]);
    }
}
