//! What is done with a model's answers: every kind of output becomes tensors, and some are kept and given again.

use std::sync::Arc;

use inference::{
    AnyPlace, Cell, DataType, Error, InferRequest, Model, NamedTensor, Outcome, PredictInput, Provider,
    Registry, State, TensorData, Ticket,
};

use crate::{
    fixture::{Repository, floats, named, request, ticket},
    onnx_file::{FLOAT, constant_input, distinct, identity, lookup_texts, parts, zip_map},
};

fn open(model: Vec<u8>, toml: &str) -> (Registry, Arc<Model>) {
    let registry =
        Repository::new().with("called/1/model.onnx", model).with("called/model.toml", toml).open();
    let model = registry.find("called", None).unwrap();
    (registry, model)
}

fn specified(model: &Model) -> Vec<(&str, DataType, &[i64])> {
    model.outputs().iter().map(|spec| (spec.name.as_str(), spec.datatype, spec.shape.as_slice())).collect()
}

#[tokio::test]
async fn maps_come_as_their_keys_and_their_values() {
    let x = floats("x", &[2, 3], &[0.25, 0.5, 0.125, 1.0, 0.0, 0.75]);
    let (registry, model) = open(zip_map(&["", "", ""], false), "");
    let expected: [(&str, DataType, &[i64]); 2] =
        [("probability", DataType::Fp32, &[-1, -1]), ("probability_keys", DataType::Int64, &[-1, -1])];
    assert_eq!(specified(&model), expected);
    let keys = named("probability_keys", &[2, 3], TensorData::Int64(vec![10, 11, 12, 10, 11, 12]));
    let values = NamedTensor { name: "probability".to_owned(), ..x.clone() };
    let answer = model.infer(request(vec![x.clone()])).await.unwrap();
    assert_eq!(answer.outputs, [values, keys.clone()]);
    let outputs = vec!["probability_keys".to_owned()];
    let answer = model.infer(InferRequest { outputs, ..request(vec![x.clone()]) }).await.unwrap();
    assert_eq!(answer.outputs, [keys]);
    let none = model.infer(request(vec![floats("x", &[0, 3], &[])])).await.unwrap();
    assert_eq!(none.outputs[0].tensor.shape(), [0, 0]);
    registry.shutdown();

    // Texts in their order, whatever the model's.
    let (registry, model) = open(zip_map(&["b", "a", "c"], true), "");
    let answer = model.infer(request(vec![x])).await.unwrap();
    let words = ["a", "b", "c", "a", "b", "c"].map(|word| word.as_bytes().to_vec()).to_vec();
    let expected = [
        floats("probability", &[2, 3], &[0.5, 0.25, 0.125, 0.0, 1.0, 0.75]),
        named("probability_keys", &[2, 3], TensorData::Bytes(words)),
    ];
    assert_eq!(answer.outputs, expected);
    registry.shutdown();

    // Keys are texts as any: byte for byte.
    let (registry, model) = open(zip_map(&[b"K\xf6ln".as_slice(), b"Bonn"], true), "");
    let answer = model.infer(request(vec![floats("x", &[1, 2], &[0.25, 0.75])])).await.unwrap();
    let words = [b"Bonn".to_vec(), b"K\xf6ln".to_vec()].to_vec();
    let expected = [
        floats("probability", &[1, 2], &[0.75, 0.25]),
        named("probability_keys", &[1, 2], TensorData::Bytes(words)),
    ];
    assert_eq!(answer.outputs, expected);
    registry.shutdown();
}

#[tokio::test]
async fn texts_come_byte_for_byte() {
    let (registry, model) = open(lookup_texts(&[b"a\0b", b"", b"\xff\xfe"]), "");
    let answer =
        model.infer(request(vec![named("x", &[3], TensorData::Int64(vec![2, 1, 0]))])).await.unwrap();
    let texts = vec![b"\xff\xfe".to_vec(), Vec::new(), b"a\0b".to_vec()];
    assert_eq!(answer.outputs, [named("y", &[3], TensorData::Bytes(texts))]);
    registry.shutdown();
}

#[tokio::test]
async fn an_input_with_a_value_of_its_own_keeps_it() {
    let (registry, model) = open(constant_input(), "");
    let answer = model.infer(request(vec![floats("x", &[1], &[2.0])])).await.unwrap();
    assert_eq!(answer.outputs, [floats("y", &[1], &[3.0])]);
    let both = request(vec![floats("x", &[1], &[2.0]), floats("one", &[1], &[5.0])]);
    assert!(matches!(model.infer(both).await, Err(Error::InvalidInput(_))));
    registry.shutdown();
}

#[tokio::test]
async fn classes_are_called_as_a_map_calls_them() {
    let columns =
        "[table]\ninput = \"x\"\n[[table.columns]]\nname = \"a\"\n[[table.columns]]\nname = \"b\"\n";
    let toml = format!("{columns}[classification]\noutput = \"probability\"\n");
    for (texts, expected) in [(true, ["no", "yes"]), (false, ["11", "10"])] {
        let (registry, model) = open(zip_map(&["yes", "no"], texts), &toml);
        let mut reader = model.table().unwrap().reader(2);
        for row in [[0.25, 0.75], [0.5, 0.125]] {
            assert!(reader.begin());
            for (name, value) in ["a", "b"].into_iter().zip(row) {
                let column = reader.column(name).unwrap();
                reader.cell(column, Cell::Number(value));
            }
            reader.end();
        }
        let rows = reader.finish().unwrap();
        let answer = model.predict(PredictInput::Rows(rows), None, ticket(), AnyPlace).await.unwrap();
        let labels: Vec<Vec<String>> = answer
            .results
            .into_iter()
            .map(|outcome| match outcome {
                Outcome::Classes(classes) => classes.into_iter().map(|class| class.label).collect(),
                Outcome::Values(_) => Vec::new(),
            })
            .collect();
        assert_eq!(labels[0], expected);
        assert_eq!(labels[1], [expected[1], expected[0]]);
        registry.shutdown();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_are_cut_by_rows_when_calls_run_together() {
    let (registry, model) =
        open(zip_map(&["b", "a"], true), "[batching]\nmax_delay_us = 100000\n[runtime]\ninstances = 1");
    let calls: Vec<_> = (1..4_u8)
        .map(|rows| {
            let model = Arc::clone(&model);
            let values: Vec<f32> = (0..rows * 2).map(|place| f32::from(rows * 10 + place)).collect();
            let call = request(vec![floats("x", &[rows.into(), 2], &values)]);
            (values, tokio::spawn(async move { model.infer(call).await.unwrap().outputs }))
        })
        .collect();
    for (values, call) in calls {
        let swapped: Vec<f32> = values.chunks(2).flat_map(|row| [row[1], row[0]]).collect();
        assert_eq!(call.await.unwrap()[0], floats("probability", &[values.len() / 2, 2], &swapped));
    }
    assert_eq!(model.statistics().execution_count, 1);
    registry.shutdown();
}

#[tokio::test]
async fn sequences_come_as_one_tensor_where_their_shapes_agree() {
    let (registry, model) = open(parts(2), "");
    assert_eq!(specified(&model)[0].1, DataType::Fp32);
    let x = floats("x", &[4, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    let answer = model.infer(request(vec![x])).await.unwrap();
    assert_eq!(answer.outputs, [floats("parts", &[2, 2, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])]);
    let uneven = model.infer(request(vec![floats("x", &[3, 2], &[0.0; 6])])).await;
    let told = matches!(&uneven, Err(Error::InvalidInput(reason)) if reason.contains("of different shapes"));
    assert!(told, "{uneven:?}");
    registry.shutdown();
}

fn call(caller: u64, values: &[f32]) -> InferRequest {
    let inputs = vec![floats("x", &[values.len()], values)];
    InferRequest { inputs, outputs: Vec::new(), ticket: Ticket { caller, ..ticket() } }
}

#[tokio::test]
async fn answers_are_given_again_and_never_to_another_caller() {
    let (registry, model) = open(distinct(), "[cache]");
    assert!(model.caches());
    for (caller, values, runs) in [
        (1, [1.0, 2.0], 1),
        (1, [1.0, 2.0], 1),
        (2, [1.0, 2.0], 2),
        (1, [2.0, 1.0], 3),
        (2, [1.0, 2.0], 3),
        (1, [1.0, 2.0], 3),
    ] {
        let answer = model.infer(call(caller, &values)).await.unwrap();
        assert_eq!(answer.outputs, [floats("y", &[2], &[1.0, 2.0])]);
        assert_eq!(model.statistics().execution_count, runs, "caller {caller} with {values:?}");
    }
    let counted = model.statistics();
    assert_eq!((counted.cache_hit.count, counted.cache_miss.count), (3, 3));
    assert_eq!((counted.success.count, counted.inference_count), (6, 6));
    registry.shutdown();

    let (registry, model) = open(distinct(), "[cache]\nshared = true");
    for caller in 1..=3 {
        model.infer(call(caller, &[5.0])).await.unwrap();
    }
    assert_eq!(model.statistics().execution_count, 1, "the operator wanted them shared");
    registry.shutdown();

    let (registry, model) = open(distinct(), "");
    for _ in 0..3 {
        model.infer(call(1, &[5.0])).await.unwrap();
    }
    assert_eq!((model.caches(), model.statistics().execution_count), (false, 3));
    registry.shutdown();
}

#[tokio::test]
async fn a_mistake_is_not_kept() {
    let (registry, model) = open(crate::onnx_file::lookup(&[1.0]), "[cache]");
    for _ in 0..2 {
        let outcome = model.infer(request(vec![named("x", &[1], TensorData::Int64(vec![7]))])).await;
        assert!(matches!(outcome, Err(Error::InvalidInput(_))));
    }
    let counted = model.statistics();
    assert_eq!((counted.fail.count, counted.cache_hit.count), (2, 0));
    registry.shutdown();
}

/// On a machine without an accelerator, as the tests' are meant to be; with one, nothing is refused and nothing shown.
#[test]
fn an_accelerator_that_is_missing_is_told_and_replaced_only_where_that_is_allowed() {
    let mut repository = Repository::new()
        .with("strict/1/model.onnx", identity(FLOAT))
        .with("strict/model.toml", "[runtime]\nproviders = [\"cuda\"]")
        .with("lenient/1/model.onnx", identity(FLOAT))
        .with("lenient/model.toml", "[runtime]\nproviders = [\"tensorrt\", \"cuda\", \"cpu\"]")
        .with("silent/1/model.onnx", identity(FLOAT));
    repository.settings.providers = vec![Provider::OpenVino, Provider::Cpu];
    let registry = repository.open();
    let strict = registry.models().into_iter().find(|model| model.name == "strict").unwrap();
    let reason = strict.reason.unwrap();
    assert_eq!(strict.state, State::Unavailable);
    assert!(reason.contains("cuda: ") && reason.contains("add \"cpu\""), "{reason}");
    assert!(!reason.contains('/'), "a path in {reason}");

    let lenient = registry.find("lenient", None).unwrap();
    assert_eq!(lenient.execution().provider, Provider::Cpu);
    let fallback = lenient.execution().fallback().unwrap();
    assert!(fallback.contains("tensorrt: ") && fallback.contains("cuda: "), "{fallback}");
    let silent = registry.find("silent", None).unwrap();
    assert!(silent.execution().fallback().unwrap().contains("openvino: "), "the setting is the default");
    registry.shutdown();
}
