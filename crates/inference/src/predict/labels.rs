//! Names for the classes of an output, and the choice of the most likely.

use std::path::Path;

use crate::{
    error::Error,
    manifest::Activation,
    ranking::highest,
    tensor::{NamedTensor, TensorData},
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
/// numbers, those that are no numbers (NaN) last; none where there are no classes. What is close together is told apart
/// as exactly as the model does, whatever precision it is answered in. `name` is asked for a row's class.
/// [`Error::InvalidInput`] for any other shape.
pub(super) fn predictions(
    output: &NamedTensor,
    choice: &Choice,
    name: impl Fn(usize, usize) -> Option<String>,
) -> Result<Vec<Vec<Prediction>>, Error> {
    let scores = floats(output.tensor.data()).ok_or(Error::Runtime)?;
    let shape = output.tensor.shape();
    let (rows, classes) = rows_and_classes(shape).ok_or_else(|| {
        Error::InvalidInput(format!(
            "output \"{}\" of this model has shape {shape:?} for this input, not [batch, classes]; use /v2",
            output.name
        ))
    })?;
    let of_row = |place: usize| {
        let probabilities = activate(&scores[place * classes..(place + 1) * classes], choice.activation);
        let answered = |index: usize| narrow(probabilities[index]);
        // A NaN is never below the threshold: where nothing else is left, the caller sees it.
        let likely = |index: usize| !choice.threshold.is_some_and(|least| answered(index) < least);
        let predict = |index| Prediction {
            label: name(place, index).unwrap_or_else(|| index.to_string()),
            index,
            probability: answered(index),
        };
        highest(&probabilities, choice.top_k, likely).into_iter().map(predict).collect()
    };
    Ok((0..rows).map(of_row).collect())
}

/// The rows and classes of `[batch, classes]`. Further dimensions of size 1, as some exporters leave them, change nothing;
/// none for any other shape.
fn rows_and_classes(shape: &[usize]) -> Option<(usize, usize)> {
    let (&rows, rest) = shape.split_first().filter(|(_, rest)| !rest.is_empty())?;
    let mut classes = rest.iter().copied().filter(|&size| size != 1);
    let (first, second) = (classes.next(), classes.next());
    second.is_none().then(|| (rows, first.unwrap_or(1)))
}

#[expect(clippy::cast_possible_truncation, reason = "a probability needs no more than f32")]
fn narrow(probability: f64) -> f32 {
    probability as f32
}

fn floats(data: &TensorData) -> Option<Vec<f64>> {
    match data {
        TensorData::Fp32(values) => Some(values.iter().map(|&value| value.into()).collect()),
        TensorData::Fp64(values) => Some(values.clone()),
        TensorData::Fp16(values) => Some(values.iter().map(|value| value.to_f64()).collect()),
        TensorData::Bf16(values) => Some(values.iter().map(|value| value.to_f64()).collect()),
        _ => None,
    }
}

fn activate(row: &[f64], activation: Activation) -> Vec<f64> {
    match activation {
        Activation::None => row.to_vec(),
        Activation::Sigmoid => row.iter().map(|&score| 1.0 / (1.0 + (-score).exp())).collect(),
        Activation::Softmax => {
            // Subtracting the largest keeps the exponentials finite.
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let powers: Vec<f64> = row.iter().map(|&score| (score - largest).exp()).collect();
            let sum: f64 = powers.iter().sum();
            powers.into_iter().map(|power| power / sum).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;
    use crate::tensor::Tensor;

    fn unnamed(_: usize, _: usize) -> Option<String> {
        None
    }

    fn choice(activation: Activation, top_k: usize) -> Choice {
        Choice { activation, threshold: None, top_k }
    }

    fn output(shape: Vec<usize>, data: TensorData) -> NamedTensor {
        NamedTensor { name: "scores".into(), tensor: Tensor::new(shape, data).unwrap() }
    }

    fn scores(shape: Vec<usize>, scores: &[f32]) -> NamedTensor {
        output(shape, TensorData::Fp32(scores.to_vec()))
    }

    #[test]
    fn the_likeliest_come_first_in_each_row() {
        let given = scores(vec![2, 3], &[0.1, 0.7, 0.2, 0.5, 0.0, 0.5]);
        let labels = ["a", "b", "c"].map(String::from);
        let rows =
            predictions(&given, &choice(Activation::None, 2), |_, index| labels.get(index).cloned()).unwrap();
        let names: Vec<Vec<&str>> =
            rows.iter().map(|row| row.iter().map(|prediction| prediction.label.as_str()).collect()).collect();
        assert_eq!(names, [["b", "c"], ["a", "c"]]);
    }

    #[test]
    fn what_is_no_number_comes_last_whatever_its_sign() {
        let given = scores(vec![1, 4], &[f32::NAN, 0.1, -f32::NAN, 0.7]);
        let row = &predictions(&given, &choice(Activation::None, 9), unnamed).unwrap()[0];
        assert_eq!(row.iter().map(|prediction| prediction.index).collect::<Vec<_>>(), [3, 1, 0, 2]);
    }

    #[test]
    fn activations_give_probabilities() {
        let given = scores(vec![1, 2, 1, 1], &[1000.0, 1000.0]);
        let row = &predictions(&given, &choice(Activation::Softmax, 9), unnamed).unwrap()[0];
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
    fn an_output_without_classes_has_no_prediction_and_one_of_another_shape_is_refused() {
        let none = scores(vec![2, 0], &[]);
        assert_eq!(predictions(&none, &choice(Activation::None, 1), unnamed), Ok(vec![vec![], vec![]]));
        for (shape, count) in [(vec![], 1), (vec![2], 2), (vec![1, 2, 3], 6)] {
            let refused =
                predictions(&scores(shape, &vec![0.0; count]), &choice(Activation::None, 1), unnamed);
            assert!(
                matches!(&refused, Err(Error::InvalidInput(told)) if told.contains("not [batch, classes]"))
            );
        }
    }

    #[test]
    fn what_differs_in_the_last_digits_is_told_apart() {
        let close = output(vec![1, 2], TensorData::Fp64(vec![0.123_456_781, 0.123_456_782]));
        assert_eq!(predictions(&close, &choice(Activation::None, 1), unnamed).unwrap()[0][0].index, 1);
        let large = output(vec![1, 2], TensorData::Fp64(vec![20_000_000.0, 20_000_001.0]));
        let row = &predictions(&large, &choice(Activation::Softmax, 2), unnamed).unwrap()[0];
        assert!((row[0].probability - 0.731_058_6).abs() < 1e-6 && row[0].index == 1);
    }

    #[test]
    fn a_threshold_leaves_the_unlikely_out() {
        let given = scores(vec![2, 3], &[3.0, -3.0, 0.0, -9.0, -9.0, -9.0]);
        let choice = Choice { activation: Activation::Sigmoid, threshold: Some(0.5), top_k: 9 };
        let rows = predictions(&given, &choice, unnamed).unwrap();
        let indexes: Vec<Vec<usize>> =
            rows.iter().map(|row| row.iter().map(|prediction| prediction.index).collect()).collect();
        assert_eq!(indexes, [vec![0, 2], vec![]]);
    }
}
