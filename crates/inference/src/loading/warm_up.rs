//! First runs of a model before it counts as ready, so that the first caller does not wait for what the runtime does
//! only once.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use half::{bf16, f16};

use crate::{
    engine::{Engine, Failure},
    error::Error,
    manifest::{WarmUp, WarmUpInput},
    predict::Predictor,
    tensor::{DataType, NamedTensor, Tensor, TensorData, TensorSpec, check_inputs, element_count},
};

/// Elements of all inputs of a first run together; texts count by their bytes.
pub(super) const MAX_ELEMENTS: usize = 64 << 20;

/// Runs each engine: on what `[warm_up]` says, and then a failure is the reason why the model cannot be served; or
/// else on a sample of what `model.toml` describes, or zeros, and then it says nothing, for these may be no valid input.
pub(super) fn warm_up(
    name: &str,
    engines: &mut [Box<dyn Engine>],
    table: Option<&WarmUp>,
    predictor: Option<&Predictor>,
    time: Duration,
) -> Result<(), String> {
    for engine in engines {
        let outputs: Vec<usize> = (0..engine.outputs().len()).collect();
        let Some(table) = table else {
            let inputs = match predictor.and_then(Predictor::sample) {
                Some(sample) => sample.and_then(|sample| check_inputs(engine.inputs(), sample)),
                None => zeros(engine.inputs()),
            };
            let run = |inputs: Vec<Tensor>| run_within(time, engine.as_mut(), &[&inputs], &outputs).map(drop);
            let begun = Instant::now();
            if let Err(failure) = inputs.map_err(Failure::from).and_then(run) {
                tracing::debug!(model = name, ?failure, "the first run failed");
            }
            if begun.elapsed() >= time {
                tracing::warn!(
                    model = name,
                    "the first run did not end in time; the model is served without"
                );
                break;
            }
            continue;
        };
        for &size in &table.batch_sizes {
            let inputs = stated(table, size, engine.inputs())?;
            if let Err(failure) = run_within(time, engine.as_mut(), &[&inputs], &outputs) {
                tracing::error!(model = name, size, ?failure, "a stated first run failed");
                return Err(format!("[warm_up] the run on {size} rows failed; the log says why"));
            }
        }
    }
    Ok(())
}

/// The outputs of a run of these calls, which is interrupted when it takes too long.
pub(super) fn run_within(
    time: Duration,
    engine: &mut dyn Engine,
    calls: &[&[Tensor]],
    outputs: &[usize],
) -> Result<Vec<Vec<Tensor>>, Failure> {
    let interrupt = engine.interrupt();
    let (done, over) = mpsc::sync_channel::<()>(1);
    let result = thread::scope(|scope| {
        let interrupt = &interrupt;
        scope.spawn(move || {
            if over.recv_timeout(time) == Err(mpsc::RecvTimeoutError::Timeout) {
                interrupt.raise();
            }
        });
        let result = engine.run(calls, outputs);
        drop(done);
        result
    });
    interrupt.clear();
    result.map(|ran| ran.outputs)
}

fn zeros(specs: &[TensorSpec]) -> Result<Vec<Tensor>, Error> {
    let mut left = MAX_ELEMENTS;
    let zeros = |spec: &TensorSpec| {
        let shape = spec.shape.iter().map(|&dimension| usize::try_from(dimension).unwrap_or(1));
        let shape: Vec<usize> = shape.collect();
        let count = take(&mut left, &shape, 1);
        let count =
            count.ok_or_else(|| Error::InvalidInput(format!("input \"{}\" is too large", spec.name)))?;
        Tensor::new(shape, TensorData::zeros(spec.datatype, count))
    };
    specs.iter().map(zeros).collect()
}

/// How many elements an input of this shape has, each of which counts as `each`; none where that is more than is left.
fn take(left: &mut usize, shape: &[usize], each: usize) -> Option<usize> {
    let count = element_count(shape)?;
    *left = left.checked_sub(count.checked_mul(each)?)?;
    Some(count)
}

/// The inputs that the table states for a batch of `size` rows.
pub(super) fn stated(table: &WarmUp, size: usize, specs: &[TensorSpec]) -> Result<Vec<Tensor>, String> {
    if let Some(name) = table.inputs.keys().find(|name| !specs.iter().any(|spec| spec.name == **name)) {
        return Err(format!("[warm_up] the model has no input \"{name}\""));
    }
    let default = WarmUpInput::default();
    let mut left = MAX_ELEMENTS;
    let inputs = specs.iter().map(|spec| {
        let input = table.inputs.get(&spec.name).unwrap_or(&default);
        let dimensions = input.shape.as_ref().unwrap_or(&spec.shape).iter().enumerate();
        let shape: Vec<usize> = dimensions
            .map(|(place, &dimension)| {
                usize::try_from(dimension).unwrap_or(if place == 0 { size } else { 1 })
            })
            .collect();
        let each = match spec.datatype {
            DataType::Bytes => size_of::<Vec<u8>>() + input.text.as_ref().map_or(0, String::len),
            _ => 1,
        };
        let message = match spec.datatype {
            DataType::Bytes => input.value.map(|_| "has text, not value"),
            _ => input.text.as_ref().map(|_| "has value, not text"),
        };
        if let Some(message) = message {
            return Err(format!("[warm_up] input \"{}\" of datatype {} {message}", spec.name, spec.datatype));
        }
        let count = take(&mut left, &shape, each);
        let count = count.ok_or_else(|| format!("[warm_up] input \"{}\" is too large", spec.name))?;
        let tensor = Tensor::new(shape, filled(spec.datatype, count, input));
        Ok(NamedTensor { name: spec.name.clone(), tensor: tensor.map_err(|error| error.to_string())? })
    });
    let inputs: Vec<NamedTensor> = inputs.collect::<Result<_, String>>()?;
    check_inputs(specs, inputs).map_err(|error| format!("[warm_up] {error}"))
}

/// `count` elements of the stated value; a fraction is cut off and what is out of range becomes the nearest.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the casts saturate, as meant")]
fn filled(datatype: DataType, count: usize, input: &WarmUpInput) -> TensorData {
    let value = input.value.unwrap_or_default();
    match datatype {
        DataType::Bool => TensorData::Bool(vec![value != 0.0; count]),
        DataType::Uint8 => TensorData::Uint8(vec![value as u8; count]),
        DataType::Uint16 => TensorData::Uint16(vec![value as u16; count]),
        DataType::Uint32 => TensorData::Uint32(vec![value as u32; count]),
        DataType::Uint64 => TensorData::Uint64(vec![value as u64; count]),
        DataType::Int8 => TensorData::Int8(vec![value as i8; count]),
        DataType::Int16 => TensorData::Int16(vec![value as i16; count]),
        DataType::Int32 => TensorData::Int32(vec![value as i32; count]),
        DataType::Int64 => TensorData::Int64(vec![value as i64; count]),
        DataType::Fp16 => TensorData::Fp16(vec![f16::from_f64(value); count]),
        DataType::Bf16 => TensorData::Bf16(vec![bf16::from_f64(value); count]),
        DataType::Fp32 => TensorData::Fp32(vec![value as f32; count]),
        DataType::Fp64 => TensorData::Fp64(vec![value; count]),
        DataType::Bytes => {
            TensorData::Bytes(vec![input.text.clone().unwrap_or_default().into_bytes(); count])
        }
    }
}
