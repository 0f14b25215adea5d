//! What waiting in a queue and changing threads costs. To be run alone and optimised:
//! `cargo test --release -p inference --test inference -- --ignored --nocapture speed`

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use inference::{InferRequest, Model, Ticket};

use crate::{
    fixture::{Repository, floats, ticket},
    onnx_file::linear,
};

const FEATURES: usize = 64;
const CALLS: usize = 20_000;

fn call(caller: u64) -> InferRequest {
    let inputs = vec![floats("x", &[1, FEATURES], &[0.5; FEATURES])];
    InferRequest { inputs, outputs: Vec::new(), ticket: Ticket { caller, ..ticket() } }
}

/// Calls one after the other; the time of each, shortest first.
async fn calls(model: &Model, caller: u64, count: usize) -> Vec<Duration> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let call = call(caller);
        let started = Instant::now();
        model.infer(call).await.unwrap();
        times.push(started.elapsed());
    }
    times.sort_unstable();
    times
}

fn compute(model: &Model) -> (u64, Duration) {
    let counted = model.statistics();
    let stages = [counted.compute_input, counted.compute_infer, counted.compute_output];
    let of_batches = counted
        .batches
        .iter()
        .map(|batch| batch.compute_input.time + batch.compute_infer.time + batch.compute_output.time);
    assert!(stages.iter().all(|stage| stage.count == counted.success.count));
    (counted.execution_count, of_batches.sum())
}

#[test]
#[ignore = "measures; wants an optimised build and an idle machine"]
fn speed_of_one_caller_and_of_many() {
    let weights = vec![0.25; FEATURES * FEATURES];
    let file = linear(FEATURES as u64, FEATURES as u64, &weights);
    for (toml, title) in [
        ("[runtime]\ninstances = 1", "one session, alone"),
        ("[runtime]\ninstances = 2", "two sessions, alone"),
        ("[batching]\n[runtime]\ninstances = 1", "one session, batching"),
        ("[batching]\n[runtime]\ninstances = 2", "two sessions, batching"),
    ] {
        let registry = Repository::new().with("m/1/model.onnx", &file).with("m/model.toml", toml).open();
        let model = registry.find("m", None).unwrap();
        let single = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        single.block_on(calls(&model, 1, CALLS / 10));
        let before = compute(&model);
        let times = single.block_on(calls(&model, 1, CALLS));
        let after = compute(&model);
        let raw = (after.1 - before.1) / u32::try_from(after.0 - before.0).unwrap();
        let (median, late) = (times[CALLS / 2], times[CALLS * 99 / 100]);
        eprintln!(
            "{title}: run {raw:?}; one caller p50 {median:?}, p99 {late:?}, on top {:?}",
            median.saturating_sub(raw)
        );
        for callers in [32_usize, 128] {
            let rate = many(&model, callers);
            let share = rate * raw.as_secs_f64() * 100.0;
            eprintln!(
                "{title}: {callers} callers {rate:.0} calls/s, {share:.0} % of one session's runs alone"
            );
        }
        registry.shutdown();
    }
}

fn many(model: &Arc<Model>, callers: usize) -> f64 {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let started = Instant::now();
    let each = CALLS * 4 / callers;
    runtime.block_on(async {
        let run = |caller| {
            let model = Arc::clone(model);
            tokio::spawn(async move { calls(&model, caller as u64, each).await })
        };
        for task in (0..callers).map(run).collect::<Vec<_>>() {
            task.await.unwrap();
        }
    });
    (callers * each) as f64 / started.elapsed().as_secs_f64()
}
