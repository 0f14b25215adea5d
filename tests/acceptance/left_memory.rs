//! What operators of ONNX Runtime leave unwritten in their outputs is not what another caller's call left there.

use std::fs;

use serde_json::{Value, json};

use crate::harness::onnx_file::{
    Dimension, FLOAT, INT64, constant, graph, model, node, number_attribute, value,
};
use crate::harness::{Client, Repository, promise};

const UINT8: u64 = 2;
const INT32: u64 = 6;

/// A matrix whose size is the caller's.
fn matrix(name: &str, element: u64, [rows, columns]: [&'static str; 2]) -> Vec<u8> {
    value(name, element, &[Dimension::Named(rows), Dimension::Named(columns)])
}

/// `x` and `w` side by side.
fn joined() -> Vec<u8> {
    let join = node("Concat", &["x", "w"], &["y"], &[number_attribute("axis", 1)]);
    let inputs = [matrix("x", FLOAT, ["a", "b"]), matrix("w", FLOAT, ["c", "d"])];
    model(&graph(&[join], &[], &inputs, &[matrix("y", FLOAT, ["e", "f"])]))
}

/// The first `s` rows of `x` and the others, side by side.
fn parted() -> Vec<u8> {
    let (start, end) = (
        constant("start", INT64, &[1], &0_i64.to_le_bytes()),
        constant("end", INT64, &[1], &i64::MAX.to_le_bytes()),
    );
    let nodes = [
        node("Slice", &["x", "start", "s"], &["before"], &[]),
        node("Slice", &["x", "s", "end"], &["after"], &[]),
        node("Concat", &["before", "after"], &["y"], &[number_attribute("axis", 1)]),
    ];
    let inputs = [matrix("x", FLOAT, ["a", "b"]), value("s", INT64, &[Dimension::Fixed(1)])];
    model(&graph(&nodes, &[start, end], &inputs, &[matrix("y", FLOAT, ["c", "d"])]))
}

/// A matrix and a vector, multiplied.
fn applied() -> Vec<u8> {
    let product = node("MatMul", &["x", "w"], &["y"], &[]);
    let inputs = [matrix("x", FLOAT, ["a", "b"]), value("w", FLOAT, &[Dimension::Named("b")])];
    model(&graph(&[product], &[], &inputs, &[value("y", FLOAT, &[Dimension::Named("a")])]))
}

/// Two matrices of whole numbers, multiplied.
fn multiplied() -> Vec<u8> {
    let product = node("MatMulInteger", &["x", "w"], &["y"], &[]);
    let inputs = [matrix("x", UINT8, ["a", "b"]), matrix("w", UINT8, ["b", "c"])];
    model(&graph(&[product], &[], &inputs, &[matrix("y", INT32, ["a", "c"])]))
}

fn tensor(name: &str, datatype: &str, shape: &[usize], element: u32) -> Value {
    let data = vec![element; shape.iter().product()];
    json!({"name": name, "datatype": datatype, "shape": shape, "data": data})
}

/// The numbers that a model answers.
#[track_caller]
fn answer(client: &Client, model: &str, inputs: &[Value]) -> Vec<f64> {
    let reply = client.post(&format!("/v2/models/{model}/infer"), &json!({"inputs": inputs})).is(200).json();
    reply["outputs"][0]["data"].as_array().expect("data").iter().filter_map(Value::as_f64).collect()
}

promise! {
    fn nobody_is_answered_with_what_another_call_left(pair) {
        let of_floats = |name, shape: &[usize], element| tensor(name, "FP32", shape, element);
        let of_bytes = |name, shape: &[usize], element| tensor(name, "UINT8", shape, element);
        let start = |at: u32| tensor("s", "INT64", &[1], at);
        // What one caller sends, and what another sends then: something without elements, or what becomes so.
        let cases = [
            ("joined", joined(), [of_floats("x", &[64, 64], 77), of_floats("w", &[64, 64], 77)],
                [of_floats("x", &[64, 64], 1), of_floats("w", &[0, 64], 1)]),
            ("parted", parted(), [of_floats("x", &[128, 64], 77), start(64)],
                [of_floats("x", &[64, 64], 1), start(0)]),
            ("applied", applied(), [of_floats("x", &[512, 8], 77), of_floats("w", &[8], 1)],
                [of_floats("x", &[512, 0], 1), of_floats("w", &[0], 1)]),
            ("multiplied", multiplied(), [of_bytes("x", &[32, 8], 77), of_bytes("w", &[8, 32], 77)],
                [of_bytes("x", &[32, 0], 1), of_bytes("w", &[0, 32], 1)]),
        ];
        let repository = Repository::new(pair);
        for (name, file, ..) in &cases {
            let folder = repository.add(name);
            fs::write(folder.join("1/model.onnx"), file).expect("a model");
            // One session, so that the second caller has the memory of the first.
            fs::write(folder.join("model.toml"), "[runtime]\ninstances = 1\n").expect("model.toml");
        }
        let (server, ada) = repository.start(&[]);
        let eve = server.person("eve").api;
        for (name, _, hers, then) in &cases {
            for _ in 0..3 {
                assert!(answer(&ada, name, hers).iter().all(|&number| number >= 77.0), "{name}");
                let foreign = answer(&eve, name, then).into_iter().find(|number| ![0.0, 1.0].contains(number));
                assert_eq!(foreign, None, "{name}");
            }
        }
    }
}
