//! Whether calls of a model may run together, as far as runs of its own show it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::warm_up::{run_within, stated};
use crate::{
    engine::{Engine, Failure},
    manifest::{WarmUp, WarmUpInput},
    scheduling::{Batching, FAILS, NOT_BY_ROWS, OTHER_VALUES},
    tensor::{DataType, Tensor, TensorData, TensorSpec},
};

/// How far a value may be from that of a run alone, as a part of the largest: what is computed in few bits, with a scale
/// of all rows, is off by some per cent.
const TOLERANCE: f64 = 0.1;

/// A call and what it is answered alone.
struct Sample {
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

/// Runs a row of zeros, one of ones and two of ones, each alone and then the first with each of the others, and tells
/// `batching` what that shows. It shows nothing where the model takes none of these inputs: then calls show it.
pub(super) fn look(
    model: &str,
    engine: &mut dyn Engine,
    table: Option<&WarmUp>,
    time: Duration,
    batching: &Batching,
) {
    let mut samples = Vec::new();
    for (rows, value) in [(1, 0.0), (1, 1.0), (2, 1.0)] {
        let (own, begun) = (filled(value, engine.inputs()), Instant::now());
        samples.push(alone(model, engine, table.unwrap_or(&own), rows, time, batching));
        // Nor would it end with others.
        if begun.elapsed() >= time {
            return;
        }
    }
    let [Some(zero), one, ones] = samples.as_slice() else { return };
    for other in [one, ones].into_iter().flatten() {
        if batching.max_rows().is_none() {
            return;
        }
        if let Some((output, reason)) = together(engine, [zero, other], time) {
            batching.refuse(model, &output, reason);
        }
    }
}

fn alone(
    model: &str,
    engine: &mut dyn Engine,
    table: &WarmUp,
    rows: usize,
    time: Duration,
    batching: &Batching,
) -> Option<Sample> {
    let inputs = stated(table, rows, engine.inputs()).ok()?;
    let places: Vec<usize> = (0..engine.outputs().len()).collect();
    match run_within(time, engine, &[&inputs], &places) {
        Ok(mut outputs) => {
            let outputs = outputs.pop().unwrap_or_default();
            batching.look(model, engine.outputs(), (&inputs, &places), &outputs);
            Some(Sample { inputs, outputs })
        }
        Err(failure) => {
            tracing::debug!(model, rows, ?failure, "a run to look at its rows failed");
            None
        }
    }
}

/// The output of two calls that run together which is not what it is of each alone, and why.
fn together(
    engine: &mut dyn Engine,
    samples: [&Sample; 2],
    time: Duration,
) -> Option<(String, &'static str)> {
    let places: Vec<usize> = (0..engine.outputs().len()).collect();
    let calls = samples.map(|sample| sample.inputs.as_slice());
    let begun = Instant::now();
    let answers = match run_within(time, engine, &calls, &places) {
        Ok(answers) => answers,
        Err(Failure::NotByRows(output)) => return Some((output, NOT_BY_ROWS)),
        Err(_) if begun.elapsed() >= time => return None,
        Err(Failure::Failed(_)) => {
            return engine.outputs().first().map(|spec| (spec.name.clone(), FAILS));
        }
    };
    let compared = samples.iter().zip(&answers).flat_map(|(sample, answer)| {
        let differs = |(place, (alone, together)): (usize, (&Tensor, &Tensor))| {
            Some((place, difference(alone, together)?))
        };
        sample.outputs.iter().zip(answer).enumerate().filter_map(differs)
    });
    let (place, reason) = compared.into_iter().next()?;
    engine.outputs().get(place).map(|spec| (spec.name.clone(), reason))
}

fn difference(alone: &Tensor, together: &Tensor) -> Option<&'static str> {
    if alone.shape() != together.shape() {
        return Some(NOT_BY_ROWS);
    }
    let (alone, together) = (floats(alone.data()), floats(together.data()));
    let largest = alone.iter().chain(&together).map(|value| value.abs()).fold(0.0, f64::max);
    let is_near = |(one, other): (&f64, &f64)| {
        let distance = (one - other).abs();
        // What is no number, or without bounds, is compared with nothing.
        distance.is_nan() || distance <= TOLERANCE * largest
    };
    (!alone.iter().zip(&together).all(is_near)).then_some(OTHER_VALUES)
}

/// The elements that may be compared: of whole numbers and texts a last bit may decide.
fn floats(data: &TensorData) -> Vec<f64> {
    match data {
        TensorData::Fp32(elements) => elements.iter().map(|&element| element.into()).collect(),
        TensorData::Fp64(elements) => elements.clone(),
        TensorData::Fp16(elements) => elements.iter().map(|element| element.to_f64()).collect(),
        TensorData::Bf16(elements) => elements.iter().map(|element| element.to_f64()).collect(),
        _ => Vec::new(),
    }
}

/// Inputs of which each element is `value`, or a text of as many words.
fn filled(value: f64, specs: &[TensorSpec]) -> WarmUp {
    let input = |spec: &TensorSpec| match spec.datatype {
        DataType::Bytes if value > 0.0 => {
            WarmUpInput { text: Some("one two three".to_owned()), ..WarmUpInput::default() }
        }
        DataType::Bytes => WarmUpInput::default(),
        _ => WarmUpInput { value: Some(value), ..WarmUpInput::default() },
    };
    let inputs: BTreeMap<_, _> = specs.iter().map(|spec| (spec.name.clone(), input(spec))).collect();
    WarmUp { batch_sizes: Vec::new(), inputs }
}
