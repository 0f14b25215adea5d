//! Calls that run together: nobody notices, except by how fast it is.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use inference::{Error, InferRequest, InferResponse, Model, NamedTensor, Registry, TensorData, Ticket};
use proptest::{prelude::*, test_runner::TestRunner};
use tokio::task::JoinHandle;

use crate::{
    fixture::{Repository, floats, named, request, ticket, ticket_for, until},
    onnx_file::{
        Dimension, STRING, arithmetic, distinct, identity, linear, lookup, over_rows, parts, patient, places,
        places_of_four, products, products_with_four, softmax, sums_over_rows,
    },
};

/// One session that waits so long for calls that all of a test's come together.
const TOGETHER: &str = "[batching]\nmax_rows = 8\nmax_delay_us = 100000\n[runtime]\ninstances = 1";

fn open(model: Vec<u8>, toml: &str) -> (Registry, Arc<Model>) {
    let registry =
        Repository::new().with("called/1/model.onnx", model).with("called/model.toml", toml).open();
    let model = registry.find("called", None).unwrap();
    (registry, model)
}

fn spawn(model: &Arc<Model>, call: InferRequest) -> JoinHandle<Result<InferResponse, Error>> {
    let model = Arc::clone(model);
    let mut call = Box::pin(async move { model.infer(call).await });
    // It waits in the queue before anything else happens.
    match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => tokio::spawn(std::future::ready(answer)),
        Poll::Pending => tokio::spawn(call),
    }
}

fn outputs(answer: Result<InferResponse, Error>) -> Result<Vec<NamedTensor>, Error> {
    answer.map(|answer| answer.outputs)
}

/// A call of one of the models, by small whole numbers, which add up exactly in whatever order.
fn any_call() -> impl Strategy<Value = (&'static str, Vec<NamedTensor>, Vec<String>, u64)> {
    let numbers = |count| prop::collection::vec((-50_i8..50).prop_map(f32::from), count);
    let rows = || prop_oneof![4 => 1_usize..4, 1 => Just(0), 1 => 7_usize..11];
    let linear = rows().prop_flat_map(move |rows| numbers(rows * 3).prop_map(move |x| (rows, x)));
    let linear = linear.prop_map(|(rows, x)| ("linear", vec![floats("x", &[rows, 3], &x)], Vec::new()));
    let both = rows().prop_flat_map(move |rows| (numbers(rows), numbers(rows)));
    let wanted =
        prop::sample::subsequence(vec!["sum".to_owned(), "product".to_owned()], 0..=2).prop_shuffle();
    let both = (both, wanted).prop_map(|((a, b), wanted)| {
        ("arithmetic", vec![floats("b", &[b.len()], &b), floats("a", &[a.len()], &a)], wanted)
    });
    let softmax = rows().prop_flat_map(move |rows| numbers(rows * 3).prop_map(move |x| (rows, x)));
    let softmax = softmax.prop_map(|(rows, x)| ("softmax", vec![floats("x", &[rows, 3], &x)], Vec::new()));
    let words = prop::collection::vec(
        prop::collection::vec(
            prop_oneof![19 => any::<char>().prop_map(|c| c.to_string().into_bytes()), 1 => Just(vec![0xff])],
            2,
        ),
        0..4,
    );
    let words = words.prop_map(|rows| {
        let (count, words) = (rows.len(), rows.concat());
        ("words", vec![named("x", &[count, 2], TensorData::Bytes(words))], Vec::new())
    });
    let places = prop::collection::vec(prop_oneof![9 => -4_i64..4, 1 => Just(9)], 1..4);
    let places =
        places.prop_map(|x| ("lookup", vec![named("x", &[x.len()], TensorData::Int64(x))], Vec::new()));
    (prop_oneof![linear, both, softmax, words, places], 0_u64..4)
        .prop_map(|((model, inputs, wanted), caller)| (model, inputs, wanted, caller))
}

/// The heart of it: whatever comes together, with whatever mistakes in it, each call gets what it gets alone.
#[test]
fn every_answer_is_that_of_a_run_of_its_own() {
    const MODELS: [&str; 5] = ["linear", "arithmetic", "softmax", "words", "lookup"];
    let files = || {
        [
            linear(3, 2, &[1.0, 2.0, -3.0, 4.0, 5.0, -6.0]),
            arithmetic("n"),
            softmax(Dimension::Named("n"), 3),
            identity(STRING),
            lookup(&[0.5, 1.5, 2.5, 3.5]),
        ]
    };
    let open = |toml: &str| {
        let with = |repository: Repository, (name, file): (&str, Vec<u8>)| {
            repository.with(&format!("{name}/1/model.onnx"), file).with(&format!("{name}/model.toml"), toml)
        };
        MODELS.into_iter().zip(files()).fold(Repository::new(), with).open()
    };
    let alone = open("[runtime]\ninstances = 1");
    let together = open("[batching]\nmax_rows = 6\nmax_delay_us = 3000\n[runtime]\ninstances = 1");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() });
    let outcome = runner.run(&prop::collection::vec(any_call(), 1..24), |calls| {
        runtime.block_on(async {
            let request =
                |(_, inputs, wanted, caller): &(&str, Vec<NamedTensor>, Vec<String>, u64)| InferRequest {
                    inputs: inputs.clone(),
                    outputs: wanted.clone(),
                    ticket: Ticket { caller: *caller, ..ticket() },
                };
            let running: Vec<_> = calls
                .iter()
                .map(|call| spawn(&together.find(call.0, None).unwrap(), request(call)))
                .collect();
            for (call, running) in calls.iter().zip(running) {
                let expected = alone.find(call.0, None).unwrap().infer(request(call)).await;
                prop_assert_eq!(outputs(running.await.unwrap()), outputs(expected));
            }
            Ok(())
        })
    });
    outcome.unwrap();
    for name in MODELS {
        let counted = together.find(name, None).unwrap().statistics();
        assert!(counted.execution_count < counted.success.count, "{name} ran nothing together: {counted:?}");
    }
    alone.shutdown();
    together.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_less_than_others_would_come_is_answered_in_time() {
    let toml = "[batching]\nmax_rows = 8\nmax_delay_us = 1000000\n[runtime]\ninstances = 1";
    let (registry, model) = open(linear(2, 1, &[1.0, 2.0]), toml);
    let call = |patience: u64| {
        let mut call = request(vec![floats("x", &[1, 2], &[1.0, 2.0])]);
        call.ticket.deadline = Instant::now() + Duration::from_millis(patience);
        call
    };
    outputs(model.infer(call(700)).await).unwrap();
    // Also where somebody with time was there first.
    let first = spawn(&model, call(20_000));
    outputs(model.infer(call(500)).await).unwrap();
    outputs(first.await.unwrap()).unwrap();
    registry.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_has_its_part_of_the_time_of_a_run() {
    let (registry, model) = open(linear(2, 1, &[1.0, 2.0]), TOGETHER);
    let call = |rows: usize| request(vec![floats("x", &[rows, 2], &vec![1.0; rows * 2])]);
    let running = [1, 3].map(|rows| spawn(&model, call(rows)));
    let mut times = Vec::new();
    for answer in running {
        times.push(answer.await.unwrap().unwrap().timing);
    }
    let [small, large] = [times[0], times[1]];
    assert_eq!((small.compute, model.statistics().execution_count), (large.compute, 1));
    assert!(small.share + large.share <= small.compute, "{times:?}");
    assert!(large.share.abs_diff(small.share * 3) < Duration::from_nanos(10), "{times:?}");
    registry.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_runs_together_and_what_cannot_wait_runs_at_once() {
    let (registry, model) = open(patient(), "[batching]\nmax_rows = 8\n[runtime]\ninstances = 1");
    let call =
        |turns: &[i64]| request(vec![named("turns", &[turns.len()], TensorData::Int64(turns.to_vec()))]);
    let first = spawn(&model, call(&[300_000]));
    until(|| model.queue_depth() == 0).await;
    let waiting: Vec<_> = (1..=4).map(|rows| spawn(&model, call(&vec![1; rows]))).collect();
    until(|| first.is_finished() || model.queue_depth() == 4).await;
    first.await.unwrap().unwrap();
    for (rows, call) in (1..).zip(waiting) {
        assert_eq!(call.await.unwrap().unwrap().outputs[0].tensor.shape(), [rows]);
    }
    // Eight rows at most: 1 + 2 + 3, then 4.
    let counted = model.statistics();
    let batches: Vec<_> =
        counted.batches.iter().map(|batch| (batch.rows, batch.compute_infer.count)).collect();
    assert_eq!(batches, [(1, 1), (4, 1), (6, 1)]);
    assert_eq!((counted.inference_count, counted.execution_count, counted.success.count), (11, 3, 5));
    registry.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_callers_mistake_is_not_anothers() {
    let (registry, model) = open(lookup(&[10.0, 20.0]), TOGETHER);
    let call = |place: i64| request(vec![named("x", &[1], TensorData::Int64(vec![place]))]);
    let calls = [0, 7, 1].map(|place| spawn(&model, call(place)));
    let [zero, seven, one] = calls;
    assert_eq!(zero.await.unwrap().unwrap().outputs, [floats("y", &[1], &[10.0])]);
    assert!(matches!(seven.await.unwrap(), Err(Error::InvalidInput(_))));
    assert_eq!(one.await.unwrap().unwrap().outputs, [floats("y", &[1], &[20.0])]);
    registry.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_does_not_work_by_rows_runs_alone() {
    let (registry, model) = open(distinct(), TOGETHER);
    assert_eq!(model.max_batch_rows(), None, "its output's dimension has another name");
    let call = |value: f32| request(vec![floats("x", &[2], &[value, value])]);
    for (value, call) in [1.0, 2.0, 3.0].map(|value| (value, spawn(&model, call(value)))) {
        assert_eq!(call.await.unwrap().unwrap().outputs, [floats("y", &[1], &[value])]);
    }
    registry.shutdown();

    let (registry, model) = open(softmax(Dimension::Fixed(1), 2), TOGETHER);
    assert_eq!(model.max_batch_rows(), None, "its batch is always one");
    assert!(model.infer(request(vec![floats("x", &[1, 2], &[1.0, 1.0])])).await.is_ok());
    registry.shutdown();
}

/// One caller finds nothing and another two: together as many as they have sent.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_finds_nothing_is_not_answered_with_what_another_found() {
    let call = |values: &[f32]| request(vec![floats("x", &[values.len()], values)]);
    let found = |places: &[i64]| [named("y", &[places.len(), 1], TensorData::Int64(places.to_vec()))];
    for (sent, found_by) in [("n", "k"), ("n", "n"), ("unk__1", "unk__2"), ("x_dim_0", "y_dim_0")] {
        let (registry, model) = open(places(true, sent, found_by), TOGETHER);
        assert_eq!(model.max_batch_rows(), None, "{sent} {found_by}: the runs of the start showed it");
        let (nothing, both) = (spawn(&model, call(&[0.0])), spawn(&model, call(&[7.0, 8.0])));
        assert_eq!(nothing.await.unwrap().unwrap().outputs, found(&[]));
        assert_eq!(both.await.unwrap().unwrap().outputs, found(&[0, 1]));
        registry.shutdown();
    }
    // One that finds all that the runs of the start have is known by its first answer.
    let (registry, model) = open(places(false, "n", "n"), TOGETHER);
    assert_eq!(model.max_batch_rows(), Some(8));
    assert_eq!(model.infer(call(&[0.0, 7.0])).await.unwrap().outputs, found(&[0]));
    assert_eq!(model.max_batch_rows(), None);
    registry.shutdown();
}

/// Whatever has the right number of rows: what is beside them, or in them, is another caller's.
#[tokio::test(flavor = "multi_thread")]
async fn whose_rows_are_not_what_they_are_alone_runs_alone() {
    let call = |values: &[f32; 2]| request(vec![floats("x", &[1, 2], values)]);
    for (sent, answered, other) in [("n", "n", "n"), ("n", "n", "m"), ("unk__1", "unk__2", "unk__3")] {
        let (registry, model) = open(products(sent, answered, other), TOGETHER);
        assert_eq!(model.max_batch_rows(), None, "{sent} {answered} {other}");
        let (one, two) = (spawn(&model, call(&[1.0, 0.0])), spawn(&model, call(&[123.5, 4.0])));
        assert_eq!(one.await.unwrap().unwrap().outputs, [floats("y", &[1, 1], &[1.0])]);
        assert_eq!(two.await.unwrap().unwrap().outputs, [floats("y", &[1, 1], &[15_268.25])]);
        registry.shutdown();
    }
    let (registry, model) = open(over_rows(), TOGETHER);
    assert_eq!(model.max_batch_rows(), None);
    let (one, two) = (spawn(&model, call(&[1.0, 0.0])), spawn(&model, call(&[5.0, 4.0])));
    for answer in [one, two] {
        assert_eq!(answer.await.unwrap().unwrap().outputs, [floats("y", &[1, 2], &[1.0, 1.0])]);
    }
    registry.shutdown();
    let (registry, model) = open(sums_over_rows(), TOGETHER);
    assert_eq!(model.max_batch_rows(), None, "zeros alone would not show it");
    registry.shutdown();
}

/// Where nothing could be tried, nothing runs together; `[warm_up]` may say what can be.
#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_tried_runs_alone() {
    let shaped = format!("{TOGETHER}\n[warm_up.inputs.x]\nshape = [-1, 4]\n");
    for (file, toml, rows) in [
        (products_with_four(), TOGETHER, None),
        (products_with_four(), shaped.as_str(), Some(8)),
        (places_of_four(), shaped.as_str(), None),
    ] {
        let (registry, model) = open(file, toml);
        assert_eq!(model.max_batch_rows(), rows, "{toml}");
        registry.shutdown();
    }
    let (registry, model) = open(places_of_four(), TOGETHER);
    let call = |first: f32| request(vec![floats("x", &[1, 4], &[first, 0.0, 0.0, 0.0])]);
    let (both, none) = (spawn(&model, call(7.0)), spawn(&model, call(-7.0)));
    let found = |places: &[i64]| [named("y", &[places.len() / 2, 2], TensorData::Int64(places.to_vec()))];
    assert_eq!(both.await.unwrap().unwrap().outputs, found(&[0, 0, 0, 1]));
    assert_eq!(none.await.unwrap().unwrap().outputs, found(&[]));
    assert_eq!(model.max_batch_rows(), None);
    registry.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tensors_of_a_sequence_are_no_rows_even_where_there_are_as_many() {
    let (registry, model) = open(parts(1), TOGETHER);
    let call = |value: f32| request(vec![floats("x", &[2, 2], &[value; 4])]);
    for (value, call) in [1.0, 2.0].map(|value| (value, spawn(&model, call(value)))) {
        assert_eq!(call.await.unwrap().unwrap().outputs, [floats("parts", &[2, 1, 2], &[value; 4])]);
    }
    assert_eq!(model.max_batch_rows(), None);
    registry.shutdown();
}

fn patience(turns: i64, time: Duration) -> InferRequest {
    let inputs = vec![named("turns", &[1], TensorData::Int64(vec![turns]))];
    InferRequest { inputs, outputs: Vec::new(), ticket: ticket_for(time) }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_or_is_late_does_not_stop_the_others() {
    let (registry, model) = open(patient(), TOGETHER);
    let long = Duration::from_secs(30);
    let started = Instant::now();
    let stays = spawn(&model, patience(2_000_000, long));
    let late = spawn(&model, patience(5, Duration::from_millis(250)));
    let gone = spawn(&model, patience(6, long));
    until(|| model.queue_depth() == 0).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    gone.abort();
    let outcome = late.await.unwrap();
    assert!(matches!(outcome, Err(Error::Deadline)), "{outcome:?}");
    assert!(!stays.is_finished(), "the late one did not wait for the run");
    assert!(stays.await.unwrap().is_ok());
    assert!(started.elapsed() > Duration::from_millis(250));
    assert_eq!(model.statistics().execution_count, 1, "all three ran together");
    registry.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_nobody_waits_for_is_stopped() {
    let (registry, model) = open(patient(), TOGETHER);
    let long = Duration::from_secs(300);
    let calls = [i64::MAX, 5].map(|turns| spawn(&model, patience(turns, long)));
    until(|| model.queue_depth() == 0).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    for call in &calls {
        assert!(!call.is_finished());
        call.abort();
    }
    // The only session is free again.
    let next = tokio::time::timeout(Duration::from_secs(10), model.infer(patience(1, long))).await;
    assert!(next.unwrap().is_ok());
    assert_eq!(model.statistics().fail.count, 2);
    registry.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_leaves_others_a_session() {
    let (registry, model) = open(patient(), "[runtime]\ninstances = 2\ninstances_per_caller = 1");
    let long = Duration::from_secs(300);
    let flood: Vec<_> = (0..20).map(|_| spawn(&model, patience(i64::MAX, long))).collect();
    until(|| model.queue_depth() == 19).await;
    for _ in 0..10 {
        let mut other = patience(1, long);
        other.ticket.caller = 2;
        let answer = tokio::time::timeout(Duration::from_secs(20), model.infer(other)).await;
        assert!(answer.unwrap().is_ok());
    }
    assert_eq!(model.queue_depth(), 19, "the flood still has one session");
    flood.iter().for_each(JoinHandle::abort);
    registry.shutdown();
}
