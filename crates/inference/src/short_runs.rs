//! Runs so short that waking a thread for them takes longer than they do: whoever asks runs them at once.
//!
//! Only a call that is alone is run so: where several come at once it is the model's thread that is quicker, since each
//! thread then does much of the same in a row, and clients that wait together are woken together.
//!
//! A run keeps a web worker from everything else, so nothing is run there that could take long. The model is of operators
//! whose work the shapes of the inputs decide and not their values, it is computed by the processor, its calls are not
//! gathered into batches, and a call brings no more bytes than others did whose runs were short.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
    time::Duration,
};

/// What a short run takes at most; waking a thread and being woken by it takes a tenth of that.
const SHORT: Duration = Duration::from_micros(100);
/// What a busy machine does not make of a short run.
const LONG: Duration = Duration::from_millis(10);
/// Short runs in a row that show how long a call of that size takes; twice as many after each that was long.
const TRIALS: u32 = 16;
/// The most of them.
const MOST_TRIALS: u32 = 1 << 20;

/// Operators that cannot be made to take long by the values they are given: none that repeats something or whose
/// result's size is computed.
#[rustfmt::skip]
const EVEN: [&str; 122] = [
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
pub(crate) fn is_even(operators: &BTreeMap<(String, String), u64>) -> bool {
    let known = ["", "ai.onnx", "ai.onnx.ml"];
    operators
        .keys()
        .all(|(domain, operator)| known.contains(&domain.as_str()) && EVEN.contains(&operator.as_str()))
}

/// What is known of how long the runs of a model take.
pub(crate) struct ShortRuns {
    possible: bool,
    /// Calls of up to so many bytes are short; 0 where nothing is known yet.
    proven: AtomicUsize,
    /// Short runs of larger calls in a row, and how many it takes.
    seen: AtomicU32,
    needed: AtomicU32,
    /// Calls that came, and those of them that look whether they are alone.
    came: AtomicUsize,
    looking: AtomicUsize,
}

impl ShortRuns {
    /// Of a model that has none, or may have.
    pub(crate) fn new(possible: bool) -> Self {
        Self {
            possible,
            proven: AtomicUsize::new(0),
            seen: AtomicU32::new(0),
            needed: AtomicU32::new(TRIALS),
            came: AtomicUsize::new(0),
            looking: AtomicUsize::new(0),
        }
    }

    /// Whether a call of so many bytes is sure to be short and no other comes with it: those that have arrived already
    /// are read first.
    pub(crate) async fn is_for_now(&self, bytes: usize) -> bool {
        if !self.is_sure(bytes) {
            return false;
        }
        let number = self.came.fetch_add(1, Ordering::Relaxed) + 1;
        let looking = Looking(&self.looking);
        if looking.0.fetch_add(1, Ordering::Relaxed) > 0 {
            return false;
        }
        tokio::task::yield_now().await;
        self.came.load(Ordering::Relaxed) == number
    }

    /// Whether a call of so many bytes is sure to be short.
    fn is_sure(&self, bytes: usize) -> bool {
        self.possible && bytes <= self.proven.load(Ordering::Relaxed)
    }

    /// A call of so many bytes took so long. Counts are not exact between threads, which only delays what follows.
    pub(crate) fn note(&self, bytes: usize, took: Duration) {
        if !self.possible || (took <= SHORT && bytes <= self.proven.load(Ordering::Relaxed)) {
            return;
        }
        let needed = self.needed.load(Ordering::Relaxed);
        if took > SHORT {
            self.proven.store(0, Ordering::Relaxed);
            self.seen.store(0, Ordering::Relaxed);
            if took > LONG {
                self.needed.store(needed.saturating_mul(2).min(MOST_TRIALS), Ordering::Relaxed);
            }
        } else if self.seen.fetch_add(1, Ordering::Relaxed) + 1 >= needed {
            self.proven.fetch_max(bytes, Ordering::Relaxed);
            self.seen.store(0, Ordering::Relaxed);
        }
    }
}

/// A call that looks; no more once this is dropped.
struct Looking<'a>(&'a AtomicUsize);

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_micros(10);

    fn note(runs: &ShortRuns, times: u32, bytes: usize) {
        (0..times).for_each(|_| runs.note(bytes, QUICK));
    }

    #[test]
    fn a_call_is_sure_to_be_short_when_as_large_ones_were_again_and_again() {
        let runs = ShortRuns::new(true);
        note(&runs, TRIALS - 1, 64);
        assert!(!runs.is_sure(64), "not yet");
        runs.note(64, QUICK);
        assert!(runs.is_sure(64) && !runs.is_sure(65), "more may take longer");
        note(&runs, TRIALS, 128);
        assert!(runs.is_sure(128));
        runs.note(64, SHORT * 2);
        assert!(!runs.is_sure(1), "one was not");
        note(&runs, TRIALS, 64);
        assert!(runs.is_sure(64));
    }

    #[tokio::test]
    async fn of_calls_that_come_together_none_but_the_last_may_be_alone() {
        let runs = ShortRuns::new(true);
        assert!(!runs.is_for_now(64).await, "nothing is known yet");
        note(&runs, TRIALS, 64);
        assert!(runs.is_for_now(64).await && runs.is_for_now(64).await, "one after the other");
        let (first, second, third) =
            tokio::join!(runs.is_for_now(64), runs.is_for_now(64), runs.is_for_now(64));
        assert!(!first && !second && !third);
        drop(runs.is_for_now(64));
        assert!(runs.is_for_now(64).await, "one that was dropped looks no more");
    }

    #[test]
    fn a_long_run_takes_twice_as_many_to_be_forgotten() {
        let runs = ShortRuns::new(true);
        for round in 1..4 {
            runs.note(64, LONG * 2);
            note(&runs, (TRIALS << round) - 1, 64);
            assert!(!runs.is_sure(64));
            runs.note(64, QUICK);
            assert!(runs.is_sure(64));
        }
        let never = ShortRuns::new(false);
        note(&never, TRIALS, 64);
        assert!(!never.is_sure(1));
    }

    #[test]
    fn what_repeats_or_computes_sizes_is_not_even() {
        let of = |operators: &[(&str, &str)]| {
            let count = |(domain, name): &(&str, &str)| (((*domain).to_owned(), (*name).to_owned()), 1);
            is_even(&operators.iter().map(count).collect())
        };
        assert!(of(&[("", "Gemm"), ("ai.onnx.ml", "ZipMap")]));
        for operator in ["Loop", "Scan", "If", "Range", "Expand", "Tile", "ConstantOfShape", "NonZero"] {
            assert!(!of(&[("", "Gemm"), ("", operator)]), "{operator}");
        }
        assert!(!of(&[("elsewhere", "Gemm")]), "a function of the file");
    }
}
