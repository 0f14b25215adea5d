//! Pictures to tensors: as the product does it, on its bounded threads and with its own resizing, and as plain code
//! does it with the `image` crate alone, a thread for each picture.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use actix_web::rt::spawn;
use actix_web::web::Bytes;
use clap::{Args, ValueEnum};
use image::imageops::{FilterType, resize};
use inference::{AnyPlace, Model, PredictInput, Registry, Settings, Ticket};
use serde_json::{Value, json};

use crate::figures::quantile;

/// Width and height of what the model takes.
const SIDE: u32 = 224;
/// Rounds that are not counted.
const WARM_UP: usize = 2;

/// Which picture, how, and how often.
#[derive(Args)]
pub struct Options {
    /// The picture.
    #[arg(long)]
    file: PathBuf,
    /// Who makes a tensor of it. One for each process, whose memory then tells what it took at most.
    #[arg(long)]
    way: Way,
    /// A repository with the model `pictures`, which takes them as 3 × 224 × 224 floats and hardly computes anything.
    #[arg(long)]
    models: PathBuf,
    /// The library.
    #[arg(long)]
    library: PathBuf,
    /// Pictures at a time in the second half.
    #[arg(long, default_value_t = 8)]
    at_once: usize,
    /// Rounds of each half.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Way {
    Product,
    Plain,
}

/// The median time of a picture alone, in milliseconds, pictures a second of several at once, and the most memory, in
/// MiB.
pub async fn measure(options: Options) -> Result<Value, Box<dyn Error>> {
    let file = Bytes::from(std::fs::read(&options.file)?);
    let (model_dir, runtime_library) = (options.models, Some(options.library));
    let registry = Registry::open(Settings { model_dir, runtime_library, ..Settings::default() });
    let model = registry.find("pictures", None).map_err(|error| error.to_string())?;
    let mut alone = Vec::with_capacity(options.rounds);
    for round in 0..WARM_UP + options.rounds {
        let took = together(options.way, &model, &file, 1).await;
        alone.extend((round >= WARM_UP).then_some(took));
    }
    alone.sort_unstable();
    let mut busy = Duration::ZERO;
    for _ in 0..options.rounds {
        busy += together(options.way, &model, &file, options.at_once).await;
    }
    let pictures = options.rounds * options.at_once;
    Ok(json!({
        "p50 ms": quantile(&alone, 0.5) / 1000.0,
        "per second": pictures as f64 / busy.as_secs_f64(),
        "most MiB": most_memory()?,
    }))
}

/// How long it takes until so many are done that begin at the same time.
async fn together(way: Way, model: &Arc<Model>, file: &Bytes, pictures: usize) -> Duration {
    let begun = Instant::now();
    match way {
        Way::Product => {
            let predict = |_| {
                let (model, file) = (Arc::clone(model), file.clone());
                let ticket = Ticket { caller: 0, deadline: begun + Duration::from_secs(60), priority: 0 };
                spawn(
                    async move { model.predict(PredictInput::Images(vec![file]), None, ticket, AnyPlace).await },
                )
            };
            for task in (0..pictures).map(predict).collect::<Vec<_>>() {
                task.await.expect("a task").expect("an answer");
            }
        }
        Way::Plain => {
            let prepare = |_| {
                let file = file.clone();
                thread::spawn(move || plain(&file))
            };
            for task in (0..pictures).map(prepare).collect::<Vec<_>>() {
                assert!(!task.join().expect("a thread").is_empty());
            }
        }
    }
    begun.elapsed()
}

/// Decoded, resized and put plane by plane, as one would write it down.
fn plain(file: &[u8]) -> Vec<f32> {
    let picture = image::load_from_memory(file).expect("a picture").into_rgb8();
    let small = resize(&picture, SIDE, SIDE, FilterType::Triangle);
    (0..3).flat_map(|channel| small.pixels().map(move |pixel| f32::from(pixel[channel]) / 255.0)).collect()
}

/// The most memory that this process had, in MiB.
fn most_memory() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim_end_matches("kB").trim().parse::<f64>()? / 1024.0)
}
