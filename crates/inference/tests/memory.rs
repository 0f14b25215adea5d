//! What models take and give back of this process's memory, so in a process of its own.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed test may panic")]
#![allow(dead_code, clippy::allow_attributes, reason = "it uses part of what the other tests are made of")]

#[path = "inference/fixture.rs"]
mod fixture;
#[path = "inference/onnx_file.rs"]
mod onnx_file;

use std::{
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
};

use fixture::{Repository, floats, request};
use onnx_file::linear;

const SIDE: usize = 3600;

/// One test at a time.
fn quiet() -> MutexGuard<'static, ()> {
    static QUIET: Mutex<()> = Mutex::new(());
    QUIET.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Resident memory in MiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

fn repository(instances: usize) -> Repository {
    let weights: Vec<f32> = (0..SIDE * SIDE).map(|place| (place % 7) as f32).collect();
    Repository::new()
        .with("large/1/model.onnx", linear(SIDE as u64, SIDE as u64, &weights))
        .with("large/model.toml", format!("[runtime]\ninstances = {instances}"))
}

#[test]
fn sessions_share_their_weights_and_memory_is_given_back() {
    let _quiet = quiet();
    tokio::runtime::Runtime::new().unwrap().block_on(four_sessions());
}

async fn four_sessions() {
    // What the library itself takes, and what only the first model makes it take.
    let small = Repository::new().with("small/1/model.onnx", linear(2, 2, &[1.0; 4])).open();
    let (one, four) = (repository(1), repository(4));
    let base = resident();

    let registry = four.open();
    let model = registry.find("large", None).unwrap();
    let x: Vec<f32> = (0..SIDE).map(|place| (place % 3) as f32).collect();
    let calls: Vec<_> = (0..16)
        .map(|_| {
            let (model, input) = (model.clone(), floats("x", &[1, SIDE], &x));
            tokio::spawn(async move { model.infer(request(vec![input])).await.unwrap().outputs })
        })
        .collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    let growth = resident() - base;
    eprintln!("four sessions of a 50 MB model: {growth} MiB");
    assert!(growth < 80, "{growth} MiB");
    registry.shutdown();
    drop((model, registry));
    let rest = resident().saturating_sub(base);
    eprintln!("after it was ended: {rest} MiB");
    assert!(rest < 20, "{rest} MiB");

    // A session that shares nothing says the same.
    let registry = one.open();
    let alone = registry.find("large", None).unwrap().infer(request(vec![floats("x", &[1, SIDE], &x)])).await;
    let alone = alone.unwrap().outputs;
    assert!(answers.iter().all(|answer| *answer == alone));
    registry.shutdown();
    small.shutdown();
}

/// `CYCLES=1000` for more of them.
#[test]
fn memory_does_not_grow_with_loading_and_ending() {
    let _quiet = quiet();
    let weights = vec![0.5; 500 * 500];
    let repository = Repository::new().with("m/1/model.onnx", linear(500, 500, &weights));
    let cycles = std::env::var("CYCLES").ok().and_then(|cycles| cycles.parse().ok()).unwrap_or(100);
    for _ in 0..20 {
        repository.open().shutdown();
    }
    let base = resident();
    for _ in 0..cycles {
        let registry = repository.open();
        assert!(registry.find("m", None).is_ok());
        registry.shutdown();
    }
    let growth = resident().saturating_sub(base);
    eprintln!("{cycles} models loaded and ended: {growth} MiB");
    assert!(growth < 20, "{growth} MiB");
}
