//! The limit: the runtime in process, one session, nothing around it.

use std::error::Error;
use std::time::{Duration, Instant};

use clap::Args;
use ort::value::TensorRef;
use serde_json::{Value, json};

use crate::figures::quantile;
use crate::subject::Subject;

/// Which model, and for how long.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    subject: Subject,
    /// How long, in seconds.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

/// Runs a second, and the quantiles of their times.
pub fn measure(options: &Options) -> Result<Value, Box<dyn Error>> {
    let environment = ort::init_from(&options.subject.library)?.with_telemetry(false).build()?;
    let mut session = options.subject.open(&environment)?;
    let data = vec![0.5_f32; options.subject.shape.iter().product()];
    let input = session.inputs()[0].name().to_owned();
    let mut run = || {
        let value = TensorRef::from_array_view((options.subject.shape.as_slice(), data.as_slice()))?;
        session.run(ort::inputs![input.as_str() => value]).map(drop)
    };
    let begun = Instant::now();
    let (counting, seconds) = (begun + Duration::from_millis(500), Duration::from_secs_f64(options.seconds));
    let mut times = Vec::new();
    loop {
        let start = Instant::now();
        if start >= counting + seconds {
            break;
        }
        run()?;
        if start >= counting {
            times.push(start.elapsed());
        }
    }
    let busy: Duration = times.iter().sum();
    let runs = times.len();
    times.sort_unstable();
    Ok(json!({
        "runs": runs,
        "per second": runs as f64 / busy.as_secs_f64(),
        "p50 us": quantile(&times, 0.5),
        "p99 us": quantile(&times, 0.99),
    }))
}
