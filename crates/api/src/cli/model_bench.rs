//! `modelgate model bench`

use std::collections::HashMap;
use std::time::{Duration, Instant};

use clap::Args;
use inference::{
    DesiredState, InferRequest, Model, NamedTensor, Registry, Tensor, TensorData, TensorSpec, Ticket,
    element_count,
};

use super::model_list::Remembered;
use super::{CommandResult, print};
use crate::settings::Settings;
use crate::start;

/// Rows of the largest batch that is tried.
const MAX_ROWS: usize = 4096;
/// Elements of one input, at most.
const MAX_ELEMENTS: usize = 64 << 20;
/// Width of the plot in characters.
const WIDTH: f64 = 40.0;
/// How long one run may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to measure.
#[derive(Args, Debug)]
pub struct Bench {
    /// The model's name.
    name: String,
    /// The version; left out: the one that answers calls which name none.
    #[arg(long)]
    version: Option<String>,
    /// Rows of a call, one measurement for each.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,32,64")]
    rows: Vec<usize>,
    /// Seconds for each measurement.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

/// What came out for one number of rows.
struct Measured {
    rows: usize,
    /// Each call's time, shortest first.
    times: Vec<Duration>,
    elapsed: Duration,
}

impl Bench {
    /// Runs the command: calls the model with zeros, one call after the other, in this process and without a server.
    pub async fn run(self, settings: &Settings) -> CommandResult {
        if !(0.01..=600.0).contains(&self.seconds) {
            return Err("--seconds takes 0.01 to 600".into());
        }
        // An answer that is kept says nothing about the model.
        let registry = Registry::start(inference::Settings { cache_bytes: 0, ..start::inference(settings) });
        if !registry.has(&self.name) {
            return Err(format!("MODEL_DIR has no model {:?}", self.name));
        }
        let mut remembered = Remembered::read(settings).await;
        registry.set_known_files(remembered.known);
        let desired = remembered.desired.remove(&self.name).unwrap_or_default();
        let active = self.version.clone().or(desired.active);
        let desired = DesiredState { active, unloaded: false, ..desired };
        registry.reconcile(&HashMap::from([(self.name.clone(), desired)]), inference::Revision::default());
        let model = registry.find(&self.name, self.version.as_deref()).map_err(|error| error.to_string())?;
        print(&format!("{} version {}, one caller, zeros", model.name(), model.version()));
        let mut all = Vec::new();
        for &rows in &self.rows {
            match measure(&model, rows, Duration::from_secs_f64(self.seconds)).await {
                Ok(measured) => all.push(measured),
                Err(reason) => print(&format!("{rows:>5} rows: {reason}")),
            }
        }
        print_measured(&all);
        registry.shutdown();
        if all.is_empty() { Err("nothing could be measured".into()) } else { Ok(()) }
    }
}

async fn measure(model: &Model, rows: usize, time: Duration) -> Result<Measured, String> {
    let inputs = inputs(model, rows)?;
    let (mut times, begun) = (Vec::new(), Instant::now());
    while times.is_empty() || begun.elapsed() < time {
        let ticket = Ticket { caller: 0, priority: 0, deadline: Instant::now() + PATIENCE };
        let request = InferRequest { inputs: inputs.clone(), outputs: Vec::new(), ticket };
        let started = Instant::now();
        model.infer(request).await.map_err(|error| error.to_string())?;
        times.push(started.elapsed());
    }
    let elapsed = begun.elapsed();
    times.sort();
    Ok(Measured { rows, times, elapsed })
}

fn inputs(model: &Model, rows: usize) -> Result<Vec<NamedTensor>, String> {
    if !(1..=MAX_ROWS).contains(&rows) {
        return Err(format!("1 to {MAX_ROWS} rows can be measured"));
    }
    let takes_rows = model.inputs().iter().any(|spec| spec.has_open_rows());
    if rows > 1 && !takes_rows {
        return Err("the model does not take several rows".to_owned());
    }
    let zeros = |spec: &TensorSpec| {
        // What is fixed, such as a setting beside the rows, stays as it is.
        let dimension = |(place, &dimension): (usize, &i64)| {
            usize::try_from(dimension).unwrap_or(if place == 0 { rows } else { 1 })
        };
        let shape: Vec<usize> = spec.shape.iter().enumerate().map(dimension).collect();
        let count =
            element_count(&shape).filter(|&count| count <= MAX_ELEMENTS).ok_or("an input is too large")?;
        let tensor = Tensor::new(shape, TensorData::zeros(spec.datatype, count));
        Ok(NamedTensor { name: spec.name.clone(), tensor: tensor.map_err(|error| error.to_string())? })
    };
    model.inputs().iter().map(zeros).collect()
}

fn print_measured(all: &[Measured]) {
    let speed = |measured: &Measured| {
        measured.rows as f64 * measured.times.len() as f64 / measured.elapsed.as_secs_f64()
    };
    let most = all.iter().map(speed).fold(1.0, f64::max);
    print(" rows      p50 ms      p99 ms      rows/s");
    for measured in all {
        let at = |part: f64| measured.times[(part * (measured.times.len() - 1) as f64) as usize];
        let (half, late) = (at(0.5).as_secs_f64() * 1e3, at(0.99).as_secs_f64() * 1e3);
        let bar = "#".repeat((speed(measured) / most * WIDTH).ceil() as usize);
        print(&format!("{:>5} {half:>11.3} {late:>11.3} {:>11.0}  {bar}", measured.rows, speed(measured)));
    }
}
