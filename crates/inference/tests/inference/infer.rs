//! Tensors in, tensors out.

use inference::{DataType, Error, InferRequest, NamedTensor, TensorData};
use proptest::prelude::*;

use crate::{
    fixture::{Repository, floats, named, request, ticket},
    onnx_file::{FLOAT, INT64, STRING, arithmetic, graph, identity, identity_of, model, node, shapeless},
};

/// Every type by its number in the ONNX format.
const TYPES: [(u64, DataType); 14] = [
    (FLOAT, DataType::Fp32),
    (2, DataType::Uint8),
    (3, DataType::Int8),
    (4, DataType::Uint16),
    (5, DataType::Int16),
    (6, DataType::Int32),
    (INT64, DataType::Int64),
    (STRING, DataType::Bytes),
    (9, DataType::Bool),
    (10, DataType::Fp16),
    (11, DataType::Fp64),
    (12, DataType::Uint32),
    (13, DataType::Uint64),
    (16, DataType::Bf16),
];

fn refused(error: Result<inference::InferResponse, Error>, part: &str) {
    match error {
        Err(Error::InvalidInput(message)) => assert!(message.contains(part), "{part} is not in: {message}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_datatype_goes_through_unchanged() {
    let mut repository = Repository::new();
    for (number, datatype) in TYPES {
        repository = repository.with(&format!("{datatype}/1/model.onnx"), identity(number));
    }
    let registry = repository.open();
    for (_, datatype) in TYPES {
        let model = registry.find(datatype.name(), None).unwrap();
        assert_eq!(model.inputs()[0].datatype, datatype);
        assert_eq!(model.inputs()[0].shape, [-1, 2]);
        for rows in [3, 1, 0] {
            let input = named("x", &[rows, 2], TensorData::zeros(datatype, rows * 2));
            let response = model.infer(request(vec![input.clone()])).await.unwrap();
            assert_eq!(response.outputs[0], NamedTensor { name: "y".to_owned(), ..input });
        }
    }
    registry.shutdown();
}

#[tokio::test]
async fn a_model_that_says_nothing_of_shapes_takes_all_of_them() {
    let nodes = [node("Identity", &["x"], &["y"], &[])];
    let open = model(&graph(&nodes, &[], &[shapeless("x", FLOAT)], &[shapeless("y", FLOAT)]));
    let scalar = identity_of(FLOAT, &[]);
    let registry =
        Repository::new().with("open/1/model.onnx", open).with("scalar/1/model.onnx", scalar).open();
    let open = registry.find("open", None).unwrap();
    assert_eq!((&open.inputs()[0].shape, &open.outputs()[0].shape), (&vec![-1], &vec![-1]));
    for shape in [&[][..], &[3], &[0, 2], &[1, 2, 1, 2]] {
        let input = floats("x", shape, &vec![1.5; shape.iter().product()]);
        let response = open.infer(request(vec![input.clone()])).await.unwrap();
        assert_eq!(response.outputs[0].tensor, input.tensor);
    }
    let scalar = registry.find("scalar", None).unwrap();
    assert!(scalar.inputs()[0].shape.is_empty());
    refused(scalar.infer(request(vec![floats("x", &[1], &[1.5])])).await, "expects []");
    registry.shutdown();
}

#[tokio::test]
async fn values_are_not_only_zeros() {
    let registry = Repository::new()
        .with("text/1/model.onnx", identity(STRING))
        .with("sum/1/model.onnx", arithmetic("n"))
        .open();
    let words = TensorData::Bytes(["", "zwölf"].map(|word| word.as_bytes().to_vec()).into());
    let text = registry.find("text", Some("1")).unwrap();
    let response = text.infer(request(vec![named("x", &[1, 2], words.clone())])).await.unwrap();
    assert_eq!(*response.outputs[0].tensor.data(), words);
    let invalid = named("x", &[1, 2], TensorData::Bytes(vec![vec![0xff], vec![]]));
    refused(text.infer(request(vec![invalid])).await, "UTF-8");

    let sum = registry.find("sum", None).unwrap();
    let inputs = vec![floats("b", &[2], &[10.0, 20.0]), floats("a", &[2], &[1.0, 2.0])];
    let all = sum.infer(request(inputs.clone())).await.unwrap();
    assert_eq!(all.outputs, [floats("sum", &[2], &[11.0, 22.0]), floats("product", &[2], &[10.0, 40.0])]);
    let outputs = vec!["product".to_owned(), "sum".to_owned()];
    let chosen = sum.infer(InferRequest { inputs, outputs, ticket: ticket() }).await.unwrap();
    assert_eq!(chosen.outputs[0].name, "product");
    registry.shutdown();
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_what_to_do() {
    let registry = Repository::new()
        .with("sum/1/model.onnx", arithmetic("n"))
        .with("loose/1/model.onnx", arithmetic("m"))
        .open();
    let sum = registry.find("sum", None).unwrap();
    let good = || floats("a", &[2], &[1.0, 2.0]);
    let infer = |inputs| sum.infer(request(inputs));
    refused(infer(vec![good()]).await, "\"b\" is missing");
    refused(infer(vec![good(), good()]).await, "given twice");
    refused(infer(vec![good(), floats("c", &[1], &[0.0])]).await, "no input \"c\"; it has \"a\", \"b\"");
    let wrong_type = named("b", &[2], TensorData::Int64(vec![1, 2]));
    refused(infer(vec![good(), wrong_type]).await, "datatype INT64, but the model expects FP32");
    refused(infer(vec![good(), floats("b", &[1, 2], &[1.0, 2.0])]).await, "expects [-1]");
    refused(infer(vec![good(), floats("b", &[3], &[0.0; 3])]).await, "dimension \"n\"");
    let outputs = |names: &[&str]| InferRequest {
        inputs: vec![good(), floats("b", &[2], &[0.0; 2])],
        outputs: names.iter().map(ToString::to_string).collect(),
        ticket: ticket(),
    };
    refused(sum.infer(outputs(&["nothing"])).await, "no output \"nothing\"");
    refused(sum.infer(outputs(&["sum", "sum"])).await, "asked for twice");

    // What only the run shows is the caller's to mend as well.
    let loose = registry.find("loose", None).unwrap();
    let response = loose.infer(request(vec![good(), floats("b", &[3], &[0.0; 3])])).await;
    refused(response, "do not fit together");
    registry.shutdown();
}

proptest! {
    #[test]
    fn a_tensor_has_as_many_elements_as_its_shape_says(
        shape in prop::collection::vec(prop_oneof![0_usize..5, Just(usize::MAX)], 0..5),
        length in 0_usize..700,
    ) {
        let product = shape.iter().try_fold(1_u128, |product, &size| product.checked_mul(size as u128));
        let tensor = inference::Tensor::new(shape.clone(), TensorData::Uint8(vec![0; length]));
        prop_assert_eq!(tensor.is_ok(), product == Some(length as u128) && inference::element_count(&shape).is_some());
    }

    #[test]
    fn datatypes_are_known_by_their_names(name in "[A-Z]{2,5}[0-9]{0,2}") {
        let known = DataType::ALL.iter().any(|datatype| datatype.name() == name);
        prop_assert_eq!(name.parse::<DataType>().is_ok(), known);
    }
}
