//! Tensors without elements, and operators that cannot process them.
//!
//! Most operators give an empty output for an empty input. Those listed here end the process, read invalid memory, or
//! never end (ONNX Runtime 1.31, found by giving the example of each operator in ONNX's own test data empty inputs, and
//! models of one operator with free dimensions random ones): a model that has one of them is given inputs with elements
//! only, and so is one with operators that are not ONNX's own, of which nothing is known.

use std::collections::BTreeMap;

use crate::{
    error::Error,
    operators::is_onnx,
    tensor::{Tensor, TensorSpec},
};

/// In any domain. What stands between `DequantizeLinear` and `QuantizeLinear` becomes an operator of the runtime's own when
/// a model is loaded, such as `QLinearAdd`.
const FRAGILE: [&str; 9] = [
    "Attention",
    "ConvTranspose",
    "DequantizeLinear",
    "FeatureVectorizer",
    "GRU",
    "LSTM",
    "QuantizeLinear",
    "RoiAlign",
    "STFT",
];
/// Operators that accept zero rows, but no rows without elements.
const FRAGILE_WITHIN: [&str; 3] = ["Conv", "InstanceNormalization", "Unique"];

/// The operator for which every input of a model must have elements, if there is one.
#[derive(Debug)]
pub(crate) struct NeedsElements {
    operator: Option<String>,
    /// Whether there may be no rows.
    bears_no_rows: bool,
}

impl NeedsElements {
    /// `operators` by domain and name, as the model's file counts them; those that are `accepted` are not looked at.
    pub(crate) fn of(operators: &BTreeMap<(String, String), u64>, accepted: &[String]) -> Self {
        let of = |is_fragile: fn(&str, &str) -> bool| {
            let mut names = operators.keys().filter(|(_, name)| !accepted.contains(name));
            names.find(|(domain, name)| is_fragile(domain, name)).map(|(_, name)| name.clone())
        };
        let fragile = of(|domain, name| !is_onnx(domain) || FRAGILE.contains(&name));
        let bears_no_rows = fragile.is_none();
        Self { operator: fragile.or_else(|| of(|_, name| FRAGILE_WITHIN.contains(&name))), bears_no_rows }
    }

    /// Refuses inputs without elements where the model cannot process them.
    pub(super) fn check(&self, specs: &[TensorSpec], inputs: &[Tensor]) -> Result<(), Error> {
        let Some(operator) = &self.operator else { return Ok(()) };
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
        let of = |operator: &str| {
            let (domain, name) = operator.rsplit_once(':').unwrap_or(("", operator));
            NeedsElements::of(&[((domain.to_owned(), name.to_owned()), 1)].into(), &[])
        };
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
        for operator in [
            "LSTM",
            "Conv",
            "Unique",
            "DequantizeLinear",
            "ai.onnx.ml:FeatureVectorizer",
            "com.microsoft:Gelu",
        ] {
            assert!(check(operator, [1, 0]).is_err(), "{operator}");
        }
        assert!(check("FeatureVectorizer", [0, 1]).is_err() && check("com.microsoft:Gelu", [0, 1]).is_err());
        let message = check("LSTM", [0, 1]).unwrap_err().to_string();
        assert!(message.contains("input \"x\"") && message.contains("LSTM"), "{message}");
    }
}
