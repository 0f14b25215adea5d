//! An output as its highest values (the protocol's `classification` extension): a tensor of type BYTES whose elements
//! are `<value>:<index>`, or `<value>:<index>:<label>` where the model has labels for that output, highest value first.
//! Values that are no whole numbers by type have at least the six decimals that Triton writes, or an exponent.
//!
//! An output of shape `[batch, …]` becomes `[batch, n]`, whatever its other dimensions are; one of a single dimension,
//! or of none, becomes `[n]`. `n` is at most the number of values there are.

use std::fmt::Debug;
use std::iter;
use std::num::NonZeroUsize;

use inference::{Tensor, TensorData, highest};

use super::binary::MAX_TEXTS;

/// Bytes that one of the texts takes, about: where it lies, itself, and itself once more in the answer.
const TEXT: usize = 96;

/// Fewest decimals of a value that may have some.
const DECIMALS: usize = 6;

/// How much memory the `classes` highest values of each row take until they are written, about: the values, the order of
/// those of a row, and the texts. Refuses more of them than an answer may have.
pub fn size(tensor: &Tensor, classes: NonZeroUsize) -> Result<usize, String> {
    let (batch, width) = batch_and_width(tensor);
    let texts = batch.unwrap_or(1).saturating_mul(classes.get().min(width));
    if texts > MAX_TEXTS {
        return Err(format!(
            "{texts} classes are too many for one answer, which has at most {MAX_TEXTS}; ask for fewer"
        ));
    }
    Ok(tensor.data().size() + width * size_of::<usize>() + texts * TEXT)
}

/// The `classes` highest values of each row. Values that are no numbers (NaN) come last, equal ones in the order of
/// their indexes. Fails where the elements have no highest value.
pub fn classify(tensor: &Tensor, classes: NonZeroUsize, labels: Option<&[String]>) -> Result<Tensor, String> {
    let (batch, width) = batch_and_width(tensor);
    let count = classes.get().min(width);
    let texts = match tensor.data() {
        TensorData::Uint8(values) => rows(values, width, count, labels),
        TensorData::Uint16(values) => rows(values, width, count, labels),
        TensorData::Uint32(values) => rows(values, width, count, labels),
        TensorData::Uint64(values) => rows(values, width, count, labels),
        TensorData::Int8(values) => rows(values, width, count, labels),
        TensorData::Int16(values) => rows(values, width, count, labels),
        TensorData::Int32(values) => rows(values, width, count, labels),
        TensorData::Int64(values) => rows(values, width, count, labels),
        TensorData::Fp16(values) => rows(values, width, count, labels),
        TensorData::Bf16(values) => rows(values, width, count, labels),
        TensorData::Fp32(values) => rows(values, width, count, labels),
        TensorData::Fp64(values) => rows(values, width, count, labels),
        data @ (TensorData::Bool(_) | TensorData::Bytes(_)) => {
            return Err(format!("elements of type {} have no highest value to classify by", data.datatype()));
        }
    };
    let shape = batch.into_iter().chain([count]).collect();
    Tensor::new(shape, TensorData::Bytes(texts)).map_err(|error| error.to_string())
}

/// How many rows there are, where there is a dimension for them, and the values of each.
fn batch_and_width(tensor: &Tensor) -> (Option<usize>, usize) {
    match tensor.shape() {
        [] => (None, 1),
        [width] => (None, *width),
        [rows, row @ ..] => (Some(*rows), row.iter().product()),
    }
}

fn rows<T: Copy + PartialOrd + Debug>(
    values: &[T],
    width: usize,
    count: usize,
    labels: Option<&[String]>,
) -> Vec<Vec<u8>> {
    let row =
        |row| highest(row, count, |_| true).into_iter().map(move |index| text(row[index], index, labels));
    values.chunks_exact(width.max(1)).flat_map(row).collect()
}

fn text<T: Debug>(value: T, index: usize, labels: Option<&[String]>) -> Vec<u8> {
    let mut text = format!("{value:?}");
    if let Some(point) = text.find('.').filter(|_| !text.contains('e')) {
        let padding = (point + 1 + DECIMALS).saturating_sub(text.len());
        text.extend(iter::repeat_n('0', padding));
    }
    match labels.and_then(|labels| labels.get(index)) {
        Some(label) => format!("{text}:{index}:{label}"),
        None => format!("{text}:{index}"),
    }
    .into_bytes()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;

    fn classified(shape: &[usize], data: TensorData, classes: usize) -> (Vec<usize>, Vec<String>) {
        let labels = ["zero".to_owned(), "one".to_owned()];
        let tensor = Tensor::new(shape.to_vec(), data).unwrap();
        let classes = NonZeroUsize::new(classes).unwrap();
        let (shape, data) = classify(&tensor, classes, Some(&labels)).unwrap().into_parts();
        let TensorData::Bytes(texts) = data else { unreachable!("classes are texts") };
        (shape, texts.into_iter().map(|text| String::from_utf8(text).unwrap()).collect())
    }

    #[test]
    fn no_more_classes_are_written_than_an_answer_may_have() {
        let scores = |shape: Vec<usize>| {
            let count = shape.iter().product();
            Tensor::new(shape, TensorData::zeros(inference::DataType::Uint8, count)).unwrap()
        };
        let all = NonZeroUsize::new(4_000_000_000).unwrap();
        assert_eq!(size(&scores(vec![2, 3]), all), Ok(6 + 3 * size_of::<usize>() + 6 * TEXT));
        let (few, many) = (NonZeroUsize::new(5).unwrap(), scores(vec![2, MAX_TEXTS]));
        let of_one = size_of::<u8>() * 2 + size_of::<usize>();
        assert_eq!(size(&many, few), Ok(MAX_TEXTS * of_one + 10 * TEXT));
        assert!(size(&many, all).unwrap_err().contains("too many for one answer"));
    }

    #[test]
    fn each_row_has_its_own_highest_values() {
        let values = TensorData::Fp32(vec![0.25, 0.5, 0.125, 1.0, 1e-9, 2.5]);
        let (shape, texts) = classified(&[2, 3], values, 2);
        assert_eq!(shape, [2, 2]);
        assert_eq!(texts, ["0.500000:1:one", "0.250000:0:zero", "2.500000:2", "1.000000:0:zero"]);
        let (_, texts) = classified(&[2], TensorData::Fp64(vec![1e-9, 0.123_456_789]), 2);
        assert_eq!(texts, ["0.123456789:1:one", "1e-9:0:zero"], "no digit is lost");
        let (shape, texts) = classified(&[3], TensorData::Int64(vec![-3, 7, 7]), 9);
        assert_eq!((shape, texts), (vec![3], vec!["7:1:one".into(), "7:2".into(), "-3:0:zero".into()]));
        let (shape, texts) = classified(&[1, 2, 1], TensorData::Uint8(vec![1, 2]), 1);
        assert_eq!((shape, texts), (vec![1, 1], vec!["2:1:one".into()]));
    }

    #[test]
    fn odd_shapes_and_values_have_an_answer() {
        let values = TensorData::Fp32(vec![f32::NAN, f32::NEG_INFINITY, f32::NAN]);
        assert_eq!(classified(&[3], values, 3).1, ["-inf:1:one", "NaN:0:zero", "NaN:2"]);
        assert_eq!(
            classified(&[], TensorData::Fp64(vec![3.5]), 4),
            (vec![1], vec!["3.500000:0:zero".into()])
        );
        assert_eq!(classified(&[0, 3], TensorData::Fp32(vec![]), 2), (vec![0, 2], vec![]));
        assert_eq!(classified(&[2, 0], TensorData::Fp32(vec![]), 2), (vec![2, 0], vec![]));
        let text = Tensor::new(vec![1], TensorData::Bytes(vec![vec![]])).unwrap();
        assert!(classify(&text, NonZeroUsize::MIN, None).unwrap_err().contains("BYTES"));
    }
}
