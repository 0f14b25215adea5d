//! Whether calls of a model may run together, as far as runs of its own show it.

use std::time::{Duration, Instant};

use half::{bf16, f16};

use super::warm_up::{MAX_ELEMENTS, run_within, stated};
use crate::{
    engine::{Engine, Failure},
    manifest::WarmUp,
    predict::Predictor,
    scheduling::{Batching, FAILS, NOT_BY_ROWS, OTHER_VALUES, UNTRIED},
    tensor::{DataType, Tensor, TensorData, TensorSpec, check_inputs, element_count},
};

/// How far a value may be from that of a run alone, as a part of the largest: the runtime adds up in another order, and
/// BF16 has two digits.
const TOLERANCE: f64 = 0.03;
/// Where all are this small, nothing is said by what they are.
const SMALLEST: f64 = 1e-6;
/// What the rows of a call are filled with, in turns: zeros, and two that have little in common. Whole numbers, which may
/// be places in a table, are 0 and 1.
const FLOATS: [&[f64]; 3] = [&[0.0], &[1.0, -0.5, 2.0, 0.25], &[-1.5, 3.0, 0.75, -2.5, 1.25]];
const INTEGERS: [&[u8]; 3] = [&[0], &[1, 0], &[0, 1, 1]];
const TEXTS: [&[&str]; 3] = [&[""], &["one two three"], &["four", "five six"]];

/// What is known of a model's inputs before anybody calls it.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) table: Option<&'a WarmUp>,
    pub(super) predictor: Option<&'a Predictor>,
}

/// A call and what it is answered alone.
struct Sample {
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

/// Runs calls of one and of two rows alone and together, and refuses to have calls of the model run together where an
/// answer is another one then, or where nothing could be tried. First on values of its own, then on those that are known
/// to fit, of which each row is the same.
pub(super) fn try_together(
    model: &str,
    engine: &mut dyn Engine,
    known: Known<'_>,
    time: Duration,
    batching: &Batching,
) {
    let own = |specs: &[TensorSpec], rows: usize, kind: usize| known.varied(specs, rows, kind);
    let fitting = |specs: &[TensorSpec], rows: usize, _: usize| known.fitting(specs, rows);
    let tried = match probe(engine, time, own) {
        Tried::CouldNotRun => probe(engine, time, fitting),
        tried => tried,
    };
    let name = |output: Option<usize>| {
        engine.outputs().get(output.unwrap_or(0)).map_or_else(String::new, |spec| spec.name.clone())
    };
    match tried {
        Tried::Fits(alone) => {
            let places: Vec<usize> = (0..engine.outputs().len()).collect();
            for Sample { inputs, outputs } in &alone {
                batching.look(model, engine.outputs(), (inputs, &places), outputs);
            }
        }
        Tried::Differs(Finding { output, what }) => batching.refuse(model, &name(output), what),
        Tried::CouldNotRun => batching.refuse(model, &name(None), UNTRIED),
    }
}

/// What came out.
enum Tried {
    /// Calls were answered together as they were alone: so.
    Fits(Vec<Sample>),
    Differs(Finding),
    /// The model does not take these inputs, or not in time.
    CouldNotRun,
}

/// What is wrong with calls that ran together.
struct Finding {
    /// The output, where one is meant.
    output: Option<usize>,
    what: &'static str,
}

fn probe(
    engine: &mut dyn Engine,
    time: Duration,
    inputs: impl Fn(&[TensorSpec], usize, usize) -> Option<Vec<Tensor>>,
) -> Tried {
    let places: Vec<usize> = (0..engine.outputs().len()).collect();
    let mut alone = |rows: usize, kind: usize| {
        let inputs = inputs(engine.inputs(), rows, kind)?;
        let outputs = run_within(time, engine, &[&inputs], &places).ok()?.pop()?;
        Some(Sample { inputs, outputs })
    };
    let (Some(one), Some(two)) = (alone(1, 1), alone(2, 2)) else { return Tried::CouldNotRun };
    let zero = alone(1, 0);
    let mut pairs = vec![[&one, &two], [&two, &one]];
    pairs.extend(zero.as_ref().map(|zero| [zero, &one]));
    for pair in pairs {
        if let Some(odd) = compare(engine, time, &places, pair) {
            return odd;
        }
    }
    Tried::Fits([Some(one), Some(two), zero].into_iter().flatten().collect())
}

/// Runs two calls together; none where they are answered as they were alone.
fn compare(engine: &mut dyn Engine, time: Duration, places: &[usize], pair: [&Sample; 2]) -> Option<Tried> {
    let (calls, begun) = (pair.map(|sample| sample.inputs.as_slice()), Instant::now());
    let answers = match run_within(time, engine, &calls, places) {
        Ok(answers) => answers,
        Err(_) if begun.elapsed() >= time => return Some(Tried::CouldNotRun),
        Err(Failure::NotByRows(output)) => {
            let output = engine.outputs().iter().position(|spec| spec.name == output);
            return Some(Tried::Differs(Finding { output, what: NOT_BY_ROWS }));
        }
        Err(Failure::Failed(_)) => return Some(Tried::Differs(Finding { output: None, what: FAILS })),
    };
    let is_exact = engine.inputs().iter().all(|spec| !spec.datatype.is_float());
    pair.iter().zip(&answers).find_map(|(sample, answer)| {
        sample.outputs.iter().zip(answer).enumerate().find_map(|(place, (alone, together))| {
            let what = difference(alone, together, is_exact)?;
            Some(Tried::Differs(Finding { output: Some(place), what }))
        })
    })
}

impl Known<'_> {
    /// Inputs of so many rows of these shapes, filled in a way of their own.
    fn varied(self, specs: &[TensorSpec], rows: usize, kind: usize) -> Option<Vec<Tensor>> {
        let sample = self.sample(specs);
        let input = |(place, spec): (usize, &TensorSpec)| {
            let stated = self.table.and_then(|table| table.inputs.get(&spec.name)?.shape.clone());
            let sampled = sample.as_ref().and_then(|sample| sample.get(place));
            let row: Vec<usize> = match (stated, sampled) {
                (Some(shape), _) => sizes(&shape).skip(1).collect(),
                (None, Some(sample)) => sample.row_shape().to_vec(),
                (None, None) => sizes(&spec.shape).skip(1).collect(),
            };
            let shape = [&[rows], row.as_slice()].concat();
            let count = element_count(&shape).filter(|&count| count <= MAX_ELEMENTS)?;
            Tensor::new(shape, filled(spec.datatype, count, count / rows, kind)).ok()
        };
        specs.iter().enumerate().map(input).collect()
    }

    /// Inputs that the model takes, as `[warm_up]` or its kind of input says; each row is the same.
    fn fitting(self, specs: &[TensorSpec], rows: usize) -> Option<Vec<Tensor>> {
        if let Some(table) = self.table {
            let inputs = stated(table, rows, specs).ok()?;
            return inputs.iter().all(|input| input.rows() == rows).then_some(inputs);
        }
        let sample = self.sample(specs)?;
        sample.iter().map(|input| Tensor::joined(&vec![input; rows])).collect()
    }

    fn sample(self, specs: &[TensorSpec]) -> Option<Vec<Tensor>> {
        let sample = self.predictor?.sample()?.ok()?;
        check_inputs(specs, sample).ok()
    }
}

fn sizes(shape: &[i64]) -> impl Iterator<Item = usize> {
    shape.iter().map(|&size| usize::try_from(size).unwrap_or(1))
}

/// `count` elements in rows of `width`, no two rows after each other alike.
fn filled(datatype: DataType, count: usize, width: usize, kind: usize) -> TensorData {
    let place = |element: usize| element + element.checked_div(width).unwrap_or(0);
    let float = |element: usize| FLOATS[kind][place(element) % FLOATS[kind].len()];
    let integer = |element: usize| INTEGERS[kind][place(element) % INTEGERS[kind].len()];
    macro_rules! each {
        ($variant:ident, $of:expr) => {
            TensorData::$variant((0..count).map($of).collect())
        };
    }
    match datatype {
        DataType::Bool => each!(Bool, |element| integer(element) == 1),
        DataType::Uint8 => each!(Uint8, integer),
        DataType::Uint16 => each!(Uint16, |element| integer(element).into()),
        DataType::Uint32 => each!(Uint32, |element| integer(element).into()),
        DataType::Uint64 => each!(Uint64, |element| integer(element).into()),
        DataType::Int8 => each!(Int8, |element| i8::from(integer(element) == 1)),
        DataType::Int16 => each!(Int16, |element| integer(element).into()),
        DataType::Int32 => each!(Int32, |element| integer(element).into()),
        DataType::Int64 => each!(Int64, |element| integer(element).into()),
        DataType::Fp16 => each!(Fp16, |element| f16::from_f64(float(element))),
        DataType::Bf16 => each!(Bf16, |element| bf16::from_f64(float(element))),
        #[expect(clippy::cast_possible_truncation, reason = "the constants are exact in few bits")]
        DataType::Fp32 => each!(Fp32, |element| float(element) as f32),
        DataType::Fp64 => each!(Fp64, float),
        DataType::Bytes => {
            let texts = TEXTS[kind];
            each!(Bytes, |element| texts[place(element) % texts.len()].as_bytes().to_vec())
        }
    }
}

fn difference(alone: &Tensor, together: &Tensor, is_exact: bool) -> Option<&'static str> {
    if alone.shape() != together.shape() {
        return Some(NOT_BY_ROWS);
    }
    let is_same = match (floats(alone.data()), floats(together.data())) {
        (Some(alone), Some(together)) => are_near(&alone, &together),
        // Of what is computed from fractions a last bit may decide.
        _ => !is_exact || alone.data() == together.data(),
    };
    (!is_same).then_some(OTHER_VALUES)
}

fn are_near(alone: &[f64], together: &[f64]) -> bool {
    let finite = alone.iter().chain(together).filter(|value| value.is_finite());
    let largest = finite.map(|value| value.abs()).fold(0.0, f64::max);
    alone.iter().zip(together).all(|(&one, &other)| {
        let is_same = one == other || one.is_nan() && other.is_nan();
        is_same || (one - other).abs() <= (TOLERANCE * largest).max(SMALLEST)
    })
}

fn floats(data: &TensorData) -> Option<Vec<f64>> {
    match data {
        TensorData::Fp32(elements) => Some(elements.iter().map(|&element| element.into()).collect()),
        TensorData::Fp64(elements) => Some(elements.clone()),
        TensorData::Fp16(elements) => Some(elements.iter().map(|element| element.to_f64()).collect()),
        TensorData::Bf16(elements) => Some(elements.iter().map(|element| element.to_f64()).collect()),
        _ => None,
    }
}
