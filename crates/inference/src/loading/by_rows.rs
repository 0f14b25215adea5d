//! Whether calls of a model may run together, as far as runs of its own show it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::warm_up::{run_within, stated};
use crate::{
    engine::Engine,
    manifest::{WarmUp, WarmUpInput},
    tensor::{DataType, TensorSpec},
};

/// Rows of the runs, and what fills them: a first dimension that is something else than the rows, such as the number of
/// what was found, is no part of both.
const RUNS: [(usize, f64); 2] = [(2, 0.0), (3, 1.0)];

/// The name of an output that does not have the rows of the inputs. None where all have them, and where the model takes
/// none of these inputs: then the first calls show it.
pub(super) fn without_rows(
    model: &str,
    engine: &mut dyn Engine,
    table: Option<&WarmUp>,
    time: Duration,
) -> Option<String> {
    let places: Vec<usize> = (0..engine.outputs().len()).collect();
    for (rows, value) in RUNS {
        let made;
        let table = match table {
            Some(table) => table,
            None => {
                made = filled(value, engine.inputs());
                &made
            }
        };
        let Ok(inputs) = stated(table, rows, engine.inputs()) else { continue };
        let rows = inputs.first().map_or(0, |input| input.rows());
        let begun = Instant::now();
        match run_within(time, engine, &inputs, &places) {
            Ok(outputs) => {
                let odd = outputs.iter().position(|output| output.shape().first() != Some(&rows));
                if let Some(odd) = odd.and_then(|place| engine.outputs().get(place)) {
                    return Some(odd.name.clone());
                }
            }
            // Nor would it end on others.
            Err(_) if begun.elapsed() >= time => break,
            Err(failure) => tracing::debug!(model, rows, ?failure, "a run on several rows failed"),
        }
    }
    None
}

fn filled(value: f64, specs: &[TensorSpec]) -> WarmUp {
    let numbers = specs.iter().filter(|spec| spec.datatype != DataType::Bytes);
    let input = || WarmUpInput { value: Some(value), ..WarmUpInput::default() };
    let inputs: BTreeMap<_, _> = numbers.map(|spec| (spec.name.clone(), input())).collect();
    WarmUp { batch_sizes: Vec::new(), inputs }
}
