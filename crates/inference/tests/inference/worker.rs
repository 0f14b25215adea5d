//! Queues, deadlines and the end.

use std::{
    future::ready,
    time::{Duration, Instant},
};

use inference::{Error, InferRequest, Ticket};

use crate::{
    fixture::{Repository, floats, request, ticket, ticket_for, until},
    onnx_file::{FLOAT, broadcast, endless, identity},
};

/// One session, and room for two more requests.
fn slow() -> Repository {
    let mut repository = Repository::new()
        .with("slow/1/model.onnx", endless())
        .with("slow/model.toml", "[runtime]\ninstances = 1\nwarm_up = false");
    repository.settings.queue_capacity = 2;
    repository
}

fn call(time: Duration) -> InferRequest {
    InferRequest { inputs: vec![floats("x", &[], &[1.0])], outputs: Vec::new(), ticket: ticket_for(time) }
}

#[tokio::test]
async fn an_endless_run_ends_at_its_deadline() {
    let registry = slow().open();
    let model = registry.find("slow", None).unwrap();
    let started = Instant::now();
    let outcome = model.infer(call(Duration::from_millis(100))).await;
    assert!(matches!(outcome, Err(Error::Deadline)), "{outcome:?}");
    assert!(started.elapsed() < Duration::from_secs(5));
    // The session survived.
    assert!(matches!(model.infer(call(Duration::from_millis(50))).await, Err(Error::Deadline)));
    registry.shutdown();
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_a_waiting_call_ends_at_its_deadline() {
    let registry = slow().open();
    let model = registry.find("slow", None).unwrap();
    let spawn = |time| {
        let model = registry.find("slow", None).unwrap();
        tokio::spawn(async move { model.infer(call(time)).await })
    };
    let running = spawn(Duration::from_millis(1500));
    while model.queue_depth() > 0 || running.is_finished() {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let waiting = [spawn(Duration::from_millis(100)), spawn(Duration::from_secs(20))];
    while model.queue_depth() < 2 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(model.infer(call(Duration::from_secs(1))).await, Err(Error::Overloaded)));
    let [soon, late] = waiting;
    assert!(matches!(soon.await.unwrap(), Err(Error::Deadline)));
    assert!(!running.is_finished(), "the waiting call ended first");
    // Whoever goes away is not waited for.
    late.abort();
    assert!(matches!(running.await.unwrap(), Err(Error::Deadline)));
    while model.queue_depth() > 0 {
        tokio::task::yield_now().await;
    }
    registry.shutdown();
}

#[tokio::test]
async fn who_goes_away_before_a_thread_was_woken_for_them_leaves_nothing_behind() {
    let registry = Repository::new().with("echo/1/model.onnx", identity(FLOAT)).open();
    let model = registry.find("echo", None).unwrap();
    let call = || model.infer(request(vec![floats("x", &[1, 2], &[1.0, 2.0])]));
    // At first the watch is awake; after a second without calls it sleeps.
    for idle in [Duration::ZERO, Duration::from_millis(1200)] {
        tokio::time::sleep(idle).await;
        tokio::select! {
            biased;
            _ = call() => panic!("it was answered before a thread was woken"),
            () = ready(()) => {}
        }
        until(|| model.queue_depth() == 0).await;
    }
    assert_eq!(model.statistics().success.count, 0, "nobody asked any more");
    call().await.unwrap();
    registry.shutdown();
}

#[tokio::test]
async fn a_run_takes_no_more_memory_than_its_model_may() {
    let models = Repository::new().with("broad/1/model.onnx", broadcast());
    let model = models.with("broad/model.toml", "[runtime]\nmemory_mb = 64\ninstances = 2").open();
    let broad = model.find("broad", None).unwrap();
    let call = |side: usize| {
        let ones = vec![1.0; side];
        broad.infer(request(vec![floats("a", &[side, 1], &ones), floats("b", &[1, side], &ones)]))
    };
    for _ in 0..4 {
        call(1000).await.unwrap();
        let refused = call(8000).await.unwrap_err();
        assert!(matches!(&refused, Error::InvalidInput(why) if why.contains("more memory")), "{refused:?}");
    }
    model.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_are_all_answered_and_none_after_the_end() {
    let registry = Repository::new().with("echo/1/model.onnx", identity(FLOAT)).open();
    let calls: Vec<_> = (0..100_u8)
        .map(|number| {
            let model = registry.find("echo", None).unwrap();
            let input = floats("x", &[1, 2], &[f32::from(number), 0.5]);
            let caller = Ticket { caller: u64::from(number % 7), ..ticket() };
            tokio::spawn(async move {
                let request =
                    InferRequest { inputs: vec![input.clone()], outputs: Vec::new(), ticket: caller };
                let response = model.infer(request).await.unwrap();
                assert_eq!(response.outputs[0].tensor, input.tensor);
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    let model = registry.find("echo", None).unwrap();
    registry.shutdown();
    let outcome = model.infer(request(vec![floats("x", &[1, 2], &[0.0; 2])])).await;
    assert!(matches!(outcome, Err(Error::Unavailable(_))));
}

#[tokio::test]
async fn calls_are_counted_by_how_they_ended() {
    let registry = slow().with("echo/1/model.onnx", identity(FLOAT)).open();
    let echo = registry.find("echo", None).unwrap();
    assert_eq!(echo.statistics(), inference::Statistics::default());
    for rows in [1, 3, 3] {
        echo.infer(request(vec![floats("x", &[rows, 2], &vec![0.0; rows * 2])])).await.unwrap();
    }
    // What does not fit the model is not a call of it.
    assert!(echo.infer(request(Vec::new())).await.is_err());
    let counted = echo.statistics();
    assert_eq!((counted.success.count, counted.fail.count), (3, 0));
    assert_eq!((counted.inference_count, counted.execution_count), (7, 3));
    let stages = [counted.queue, counted.compute_input, counted.compute_infer, counted.compute_output];
    assert!(stages.iter().all(|stage| stage.count == 3), "{stages:?}");
    let spent: Duration = stages.iter().map(|stage| stage.time).sum();
    assert!(spent <= counted.success.time && counted.last_inference.is_some(), "{counted:?}");
    let batches: Vec<_> =
        counted.batches.iter().map(|batch| (batch.rows, batch.compute_infer.count)).collect();
    assert_eq!(batches, [(1, 1), (3, 2)]);

    let slow = registry.find("slow", None).unwrap();
    assert_eq!(slow.infer(call(Duration::from_millis(30))).await.unwrap_err(), Error::Deadline);
    let waiting =
        tokio::time::timeout(Duration::from_millis(30), slow.infer(call(Duration::from_millis(300))));
    assert!(waiting.await.is_err(), "the caller went away");
    let counted = slow.statistics();
    assert_eq!((counted.success.count, counted.fail.count, counted.execution_count), (0, 2, 0));
    assert!(counted.fail.time >= Duration::from_millis(60));
    registry.shutdown();
}
