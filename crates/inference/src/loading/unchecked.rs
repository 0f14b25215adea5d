//! Operators of the runtime that do not check what a caller gives them (ONNX Runtime 1.31, found with random shapes). A
//! model with one is not served, unless its `model.toml` accepts the operator under `unchecked_operators`.

use std::collections::BTreeMap;

use crate::{operators::is_onnx, tensor::TensorSpec};

/// They read beyond their inputs where the shapes of these do not fit together; what lies there may be another caller's.
const OUT_OF_BOUNDS: [(&str, &str); 4] = [
    ("com.microsoft", "DynamicQuantizeMatMul"),
    ("com.microsoft", "Inverse"),
    ("com.microsoft", "MatMulIntegerToFloat"),
    ("com.microsoft", "MultiHeadAttention"),
];

/// The runtime itself puts them in the place of `MatMulInteger` and what follows it when it loads a model; these
/// optimizers do. `MatMulIntegerToFloat` comes about for `MatMul` behind `DequantizeLinear` as well: there its scales are
/// checked by what it replaces, and nothing was read beyond them in 1,400 calls.
const FUSIONS: [(&str, &str); 2] = [
    ("DynamicQuantizeMatMul", "DynamicQuantizeMatMulFusion"),
    ("MatMulIntegerToFloat", "MatMulIntegerToFloatFusion"),
];

/// They end the process when an input has fewer dimensions than they take. Where a model declares how many its inputs
/// have, the runtime refuses others.
const NEEDS_RANKS: [&str; 12] = [
    "AffineGrid",
    "Attention",
    "Concat",
    "ConvInteger",
    "DFT",
    "Einsum",
    "MaxRoiPool",
    "Multinomial",
    "QLinearConv",
    "ReverseSequence",
    "RoiAlign",
    "STFT",
];

/// Refuses operators that read beyond their inputs; `operators` by domain and name, as a model's file counts them.
pub(super) fn check_operators(
    operators: &BTreeMap<(String, String), u64>,
    accepted: &[String],
) -> Result<(), String> {
    let is_refused = |(domain, operator): &&(String, String)| {
        OUT_OF_BOUNDS.contains(&(domain.as_str(), operator.as_str())) && !accepted.contains(operator)
    };
    operators.keys().find(is_refused).map_or(Ok(()), |(domain, operator)| {
        Err(format!(
            "its operator {operator} of {domain} does not check what callers send; where they are trusted, \
             name it under unchecked_operators in model.toml"
        ))
    })
}

/// What must not be optimised, so that a model gets no operator that it would be refused for.
pub(super) fn disabled_optimizers(accepted: &[String]) -> String {
    let is_refused = |(operator, _): &&(&str, &str)| !accepted.iter().any(|name| name == operator);
    FUSIONS.iter().filter(is_refused).map(|(_, optimizer)| *optimizer).collect::<Vec<_>>().join(";")
}

/// Refuses operators that need to be told how many dimensions the inputs have, where the model leaves that open. Of
/// those that are not of ONNX itself nothing is known.
pub(super) fn check_ranks(
    operators: &BTreeMap<(String, String), u64>,
    inputs: &[TensorSpec],
    accepted: &[String],
) -> Result<(), String> {
    let Some(open) = inputs.iter().find(|input| input.any_rank) else { return Ok(()) };
    let is_refused = |(domain, operator): &&(String, String)| {
        (!is_onnx(domain) || NEEDS_RANKS.contains(&operator.as_str())) && !accepted.contains(operator)
    };
    operators.keys().find(is_refused).map_or(Ok(()), |(_, operator)| {
        Err(format!(
            "it does not say how many dimensions its input \"{}\" has, and its operator {operator} does not check \
             that; export it with a shape for each input, or, where callers are trusted, name the operator under \
             unchecked_operators in model.toml",
            open.name
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DataType;

    fn operators(names: &[(&str, &str)]) -> BTreeMap<(String, String), u64> {
        names.iter().map(|(domain, name)| (((*domain).to_owned(), (*name).to_owned()), 1)).collect()
    }

    #[test]
    fn what_reads_beyond_its_inputs_is_accepted_by_name_only() {
        let attention = operators(&[("", "MatMul"), ("com.microsoft", "MultiHeadAttention")]);
        assert!(check_operators(&attention, &[]).is_err_and(|told| told.contains("MultiHeadAttention")));
        assert!(check_operators(&attention, &["Inverse".to_owned()]).is_err());
        assert_eq!(check_operators(&attention, &["MultiHeadAttention".to_owned()]), Ok(()));
        assert_eq!(check_operators(&operators(&[("", "Attention"), ("com.microsoft", "Gelu")]), &[]), Ok(()));
    }

    #[test]
    fn what_would_be_refused_does_not_come_by_optimisation() {
        let both = "DynamicQuantizeMatMulFusion;MatMulIntegerToFloatFusion";
        assert_eq!(disabled_optimizers(&[]), both);
        let one = disabled_optimizers(&["DynamicQuantizeMatMul".to_owned()]);
        assert_eq!(one, "MatMulIntegerToFloatFusion");
    }

    #[test]
    fn what_needs_dimensions_is_told_how_many() {
        let input = |any_rank| TensorSpec {
            name: "x".to_owned(),
            datatype: DataType::Fp32,
            shape: vec![-1],
            symbols: Vec::new(),
            any_rank,
        };
        let check = |operator, any_rank, accepted: &[String]| {
            check_ranks(&operators(&[operator]), &[input(false), input(any_rank)], accepted)
        };
        assert_eq!(check(("", "Relu"), true, &[]), Ok(()));
        assert_eq!(check(("", "Concat"), false, &[]), Ok(()));
        assert!(check(("", "Concat"), true, &[]).is_err_and(|told| told.contains("\"x\"")));
        assert!(check(("com.microsoft", "Gelu"), true, &[]).is_err());
        assert_eq!(check(("", "Concat"), true, &["Concat".to_owned()]), Ok(()));
    }
}
