//! Copies of tensors around a run: what each costs, and what other ways out of the runtime's memory would.

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use clap::Args;
use ort::memory::Allocator;
use ort::session::{OutputSelector, RunOptions, Session};
use ort::value::{DynValue, Tensor, TensorRef};
use serde_json::{Value, json};

use crate::figures::quantile;
use crate::subject::Subject;

/// Runs that are not counted.
const WARM_UP: usize = 50;

/// Which model, and how often.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    subject: Subject,
    /// How often each way is gone; the ways take turns.
    #[arg(long, default_value_t = 2000)]
    runs: usize,
}

/// A run, and what becomes of its output.
type Way = (&'static str, fn(&mut Session, &[usize], &[f32]) -> ort::Result<Duration>);

const WAYS: [Way; 4] = [
    ("run alone", |session, shape, data| timed(|| run(session, shape, data).map(drop))),
    ("run, output copied", |session, shape, data| {
        timed(|| {
            let output = run(session, shape, data)?;
            let copied = output.try_extract_tensor::<f32>()?.1.to_vec();
            black_box(copied);
            Ok(())
        })
    }),
    ("run, output lent", |session, shape, data| {
        timed(|| {
            let output = run(session, shape, data)?;
            black_box(output.try_extract_tensor::<f32>()?.1);
            // Lent to an answer that is written later: the value lives in a box of its own until then.
            drop(black_box(Box::new(output)));
            Ok(())
        })
    }),
    ("run, output bound", |session, shape, data| {
        timed(|| {
            let output = session.outputs()[0].name().to_owned();
            let bound = Tensor::<f32>::new(&Allocator::default(), shape)?;
            let options =
                RunOptions::new()?.with_outputs(OutputSelector::default().preallocate(output, bound));
            let value = TensorRef::from_array_view((shape, data))?;
            black_box(session.run_with_options(ort::inputs![value], &options)?);
            Ok(())
        })
    }),
];

/// The medians of each way and of a copy by itself, in microseconds.
pub fn measure(options: &Options) -> Result<Value, Box<dyn Error>> {
    let environment = ort::init_from(&options.subject.library)?.with_telemetry(false).build()?;
    let mut session = options.subject.open(&environment)?;
    let data = vec![0.5_f32; options.subject.shape.iter().product()];
    let bytes: Vec<u8> = data.iter().flat_map(|number| number.to_le_bytes()).collect();
    let mut times = vec![Vec::with_capacity(options.runs); WAYS.len() + 1];
    for round in 0..WARM_UP + options.runs {
        for (place, (_, way)) in WAYS.iter().enumerate() {
            let took = way(&mut session, &options.subject.shape, &data)?;
            times[place].extend((round >= WARM_UP).then_some(took));
        }
        let begun = Instant::now();
        black_box(black_box(&bytes).to_vec());
        times[WAYS.len()].extend((round >= WARM_UP).then_some(begun.elapsed()));
    }
    let names = WAYS.iter().map(|(name, _)| *name).chain(["a copy alone"]);
    let median = |(name, mut times): (&str, Vec<Duration>)| {
        times.sort_unstable();
        (name.to_owned(), json!(quantile(&times, 0.5)))
    };
    Ok(names.zip(times).map(median).collect::<serde_json::Map<_, _>>().into())
}

fn timed(way: impl FnOnce() -> ort::Result<()>) -> ort::Result<Duration> {
    let begun = Instant::now();
    way()?;
    Ok(begun.elapsed())
}

fn run(session: &mut Session, shape: &[usize], data: &[f32]) -> ort::Result<DynValue> {
    let output = session.outputs()[0].name().to_owned();
    let value = TensorRef::from_array_view((shape, data))?;
    let mut outputs = session.run(ort::inputs![value])?;
    Ok(outputs.remove(output).expect("the output that the session has"))
}
