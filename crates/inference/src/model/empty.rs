//! Tensors without elements, and operators that cannot process them.
//!
//! Most operators give an empty output for an empty input. Those listed here end the process, read invalid memory, or
//! never end (ONNX Runtime 1.31, found by giving the example of each operator in ONNX's own test data empty inputs): a
//! model that has one of them is given inputs with elements only.

use std::collections::BTreeMap;

use crate::{
    error::Error,
    tensor::{Tensor, TensorSpec},
};

/// In any domain.
const FRAGILE: [&str; 6] = ["Attention", "ConvTranspose", "GRU", "LSTM", "RoiAlign", "STFT"];
/// Operators that accept zero rows, but no rows without elements.
const FRAGILE_WITHIN: [&str; 2] = ["Conv", "InstanceNormalization"];

/// The operator for which every input of a model must have elements, if there is one.
#[derive(Debug)]
pub(crate) struct NeedsElements {
    operator: Option<&'static str>,
    /// Whether there may be no rows.
    bears_no_rows: bool,
}

impl NeedsElements {
    /// `operators` by domain and name, as the model's file counts them.
    pub(crate) fn of(operators: &BTreeMap<(String, String), u64>) -> Self {
        let has = |fragile: &&str| operators.keys().any(|(_, operator)| operator == fragile);
        match FRAGILE.into_iter().find(has) {
            Some(operator) => Self { operator: Some(operator), bears_no_rows: false },
            None => Self { operator: FRAGILE_WITHIN.into_iter().find(has), bears_no_rows: true },
        }
    }

    /// Refuses inputs without elements where the model cannot process them.
    pub(super) fn check(&self, specs: &[TensorSpec], inputs: &[Tensor]) -> Result<(), Error> {
        let Some(operator) = self.operator else { return Ok(()) };
        let bears = |input: &Tensor| {
            !input.data().is_empty() || self.bears_no_rows && input.shape().first() == Some(&0)
        };
        match inputs.iter().zip(specs).find(|(input, _)| !bears(input)) {
            Some((_, spec)) => Err(Error::InvalidInput(format!(
                "input \"{}\" has no elements, which the model's operator {operator} cannot work with",
                spec.name
            ))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;
    use crate::tensor::{DataType, TensorData};

    #[test]
    fn a_fragile_operator_is_given_nothing_empty() {
        let of = |operator: &str| NeedsElements::of(&[((String::new(), operator.to_owned()), 1)].into());
        let spec = TensorSpec {
            name: "x".to_owned(),
            datatype: DataType::Fp32,
            shape: vec![-1, -1],
            symbols: Vec::new(),
            any_rank: false,
        };
        let of_shape = |[rows, width]: [usize; 2]| {
            Tensor::new(vec![rows, width], TensorData::Fp32(vec![0.0; rows * width])).unwrap()
        };
        let check = |operator, shape| of(operator).check(std::slice::from_ref(&spec), &[of_shape(shape)]);
        assert_eq!((check("Relu", [0, 1]), check("Relu", [1, 0])), (Ok(()), Ok(())));
        assert_eq!((check("LSTM", [1, 1]), check("Conv", [0, 1])), (Ok(()), Ok(())));
        assert!(check("LSTM", [1, 0]).is_err() && check("Conv", [1, 0]).is_err());
        let message = check("LSTM", [0, 1]).unwrap_err().to_string();
        assert!(message.contains("input \"x\"") && message.contains("LSTM"), "{message}");
    }
}
