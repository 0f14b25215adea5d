//! Operators whose work the shapes of their inputs decide and not their values.

use std::collections::BTreeMap;

/// Operators that cannot be made to take long by the values they are given: none that repeats something or whose
/// result's size is computed.
#[rustfmt::skip]
const FIXED_COST_OPERATORS: [&str; 122] = [
    "Abs", "Acos", "Add", "And", "ArgMax", "ArgMin", "ArrayFeatureExtractor", "Asin", "Atan", "AveragePool",
    "BatchNormalization", "Binarizer", "Cast", "CastLike", "CastMap", "Ceil", "Celu", "Clip", "Concat", "Constant",
    "Conv", "Cos", "Cosh", "DequantizeLinear", "DictVectorizer", "Div", "Dropout", "DynamicQuantizeLinear", "Elu",
    "Equal", "Erf", "Exp", "FeatureVectorizer", "Flatten", "Floor", "Gather", "GatherElements", "Gelu", "Gemm",
    "GlobalAveragePool", "GlobalMaxPool", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Hardmax", "Identity",
    "Imputer", "InstanceNormalization", "IsInf", "IsNaN", "LabelEncoder", "LayerNormalization", "LeakyRelu", "Less",
    "LessOrEqual", "LinearClassifier", "LinearRegressor", "Log", "LogSoftmax", "LpNormalization", "MatMul",
    "MatMulInteger", "Max", "MaxPool", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Normalizer", "Not", "OneHotEncoder",
    "Or", "PRelu", "Pow", "QuantizeLinear", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape", "Round",
    "SVMClassifier", "SVMRegressor", "Scaler", "Selu", "Shape", "Sigmoid", "Sign", "Sin", "Sinh", "Size", "Slice",
    "Softmax", "Softplus", "Softsign", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tan", "Tanh", "ThresholdedRelu",
    "Transpose", "TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor", "Unsqueeze", "Where", "Xor", "ZipMap",
];

/// Whether a model is of such operators alone; `operators` by domain and name, as its file counts them.
pub(crate) fn has_fixed_cost(operators: &BTreeMap<(String, String), u64>) -> bool {
    let known = ["", "ai.onnx", "ai.onnx.ml"];
    operators.keys().all(|(domain, operator)| {
        known.contains(&domain.as_str()) && FIXED_COST_OPERATORS.contains(&operator.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_or_computes_sizes_has_no_fixed_cost() {
        let of = |operators: &[(&str, &str)]| {
            let count = |(domain, name): &(&str, &str)| (((*domain).to_owned(), (*name).to_owned()), 1);
            has_fixed_cost(&operators.iter().map(count).collect())
        };
        assert!(of(&[("", "Gemm"), ("ai.onnx.ml", "ZipMap")]));
        for operator in ["Loop", "Scan", "If", "Range", "Expand", "Tile", "ConstantOfShape", "NonZero"] {
            assert!(!of(&[("", "Gemm"), ("", operator)]), "{operator}");
        }
        assert!(!of(&[("elsewhere", "Gemm")]), "a function of the file");
    }
}
