//! Models that ONNX Runtime does not survive, or runs too long or too large, with inputs that a caller may choose: the
//! server goes on.

use std::fs;

use serde_json::{Value, json};

use crate::harness::onnx_file::{
    self, Dimension, FLOAT, INT64, bytes, graph, model, node, number, number_attribute, value,
};
use crate::harness::{Client, Reply, Repository, Server, World, eventually, promise, sample};

/// Of a model whose callers are trusted.
const UNCHECKED: &str =
    "unchecked_operators = [\"Inverse\", \"DynamicQuantizeMatMul\", \"MatMulIntegerToFloat\"]";

const ANY: Dimension = Dimension::Named("n");

/// `quotient = a / b` and `remainder`, all of whole numbers.
fn division() -> Vec<u8> {
    let vector = |name| value(name, INT64, &[ANY]);
    let nodes = [node("Div", &["a", "b"], &["quotient"], &[]), node("Mod", &["a", "b"], &["remainder"], &[])];
    let outputs = [vector("quotient"), vector("remainder")];
    model(&graph(&nodes, &[], &[vector("a"), vector("b")], &outputs))
}

/// What an LSTM of one cell says to `x`, of shape `[steps, rows, 1]`.
fn memory() -> Vec<u8> {
    let weights = |name| onnx_file::constant(name, FLOAT, &[1, 4, 1], &[0; 16]);
    let cell = node("LSTM", &["x", "w", "r"], &["y"], &[number_attribute("hidden_size", 1)]);
    let (steps, one) = (|| Dimension::Named("steps"), || Dimension::Fixed(1));
    let input = value("x", FLOAT, &[steps(), ANY, one()]);
    let output = value("y", FLOAT, &[steps(), one(), ANY, one()]);
    model(&graph(&[cell], &[weights("w"), weights("r")], &[input], &[output]))
}

/// What an operator for pictures says to `x`, of shape `[pictures, 1, width]`.
fn normalised() -> Vec<u8> {
    let one = |name| onnx_file::constant(name, FLOAT, &[1], &1_f32.to_le_bytes());
    let node = node("InstanceNormalization", &["x", "scale", "bias"], &["y"], &[]);
    let shape = || [ANY, Dimension::Fixed(1), Dimension::Named("width")];
    let (input, output) = (value("x", FLOAT, &shape()), value("y", FLOAT, &shape()));
    model(&graph(&[node], &[one("scale"), one("bias")], &[input], &[output]))
}

/// What a GRU of one cell says to `x`, of shape `[steps, 1, 1]`, without its first `skip` steps. The runtime ends where
/// none is left.
fn brittle() -> Vec<u8> {
    let weights = |name| onnx_file::constant(name, FLOAT, &[1, 3, 1], &[0; 12]);
    let end = onnx_file::constant("end", INT64, &[1], &i64::MAX.to_le_bytes());
    let nodes = [
        node("Slice", &["x", "skip", "end"], &["z"], &[]),
        node("GRU", &["z", "w", "r"], &["y"], &[number_attribute("hidden_size", 1)]),
    ];
    let one = || Dimension::Fixed(1);
    let inputs = [value("x", FLOAT, &[ANY, one(), one()]), value("skip", INT64, &[one()])];
    let output = value("y", FLOAT, &[Dimension::Named("steps"), one(), one(), one()]);
    model(&graph(&nodes, &[weights("w"), weights("r"), end], &inputs, &[output]))
}

/// The product of `a` and `b`, multiplied by itself again and again: a number where they are a row and a column, a
/// large table where they are a column and a row.
fn products() -> Vec<u8> {
    let matrix = |name| value(name, FLOAT, &[Dimension::Named("rows"), Dimension::Named("columns")]);
    let names = ["p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7"];
    let squares = names.windows(2).map(|two| node("MatMul", &[two[0], two[0]], &[two[1]], &[]));
    let sum = node("ReduceSum", &["p7"], &["y"], &[number_attribute("keepdims", 0)]);
    let nodes: Vec<Vec<u8>> =
        [node("MatMul", &["a", "b"], &["p0"], &[])].into_iter().chain(squares).chain([sum]).collect();
    let other = value("b", FLOAT, &[Dimension::Named("columns"), Dimension::Named("rows")]);
    model(&graph(&nodes, &[], &[matrix("a"), other], &[value("y", FLOAT, &[])]))
}

/// The spectrum of a signal `x`, in frames of a `length`.
fn spectrum() -> Vec<u8> {
    let step = onnx_file::scalar("step", INT64, &8_i64.to_le_bytes());
    let frames = node("STFT", &["x", "step", "", "length"], &["y"], &[]);
    let signal = value("x", FLOAT, &[Dimension::Fixed(1), ANY, Dimension::Fixed(1)]);
    let output = ["a", "b", "c", "d"].map(Dimension::Named);
    model(&graph(&[frames], &[step], &[signal, value("length", INT64, &[])], &[value("y", FLOAT, &output)]))
}

/// The products of each of `a` with each of `b`.
fn pairs() -> Vec<u8> {
    let (row, column) =
        ([Dimension::Named("rows"), Dimension::Fixed(1)], [Dimension::Fixed(1), Dimension::Named("columns")]);
    let all = [Dimension::Named("rows"), Dimension::Named("columns")];
    let inputs = [value("a", FLOAT, &row), value("b", FLOAT, &column)];
    model(&graph(&[node("Mul", &["a", "b"], &["y"], &[])], &[], &inputs, &[value("y", FLOAT, &all)]))
}

/// A model of one operator of another domain, which says `y` to `x`, of shape `[rows, columns]`.
fn contributed(operator: &str) -> Vec<u8> {
    const DOMAIN: &str = "com.microsoft";
    let matrix = |name| value(name, FLOAT, &[Dimension::Named("rows"), Dimension::Named("columns")]);
    let node = [node(operator, &["x"], &["y"], &[]), bytes(7, DOMAIN)].concat();
    let operators = bytes(8, [bytes(1, DOMAIN), number(2, 1)].concat());
    [model(&graph(&[node], &[], &[matrix("x")], &[matrix("y")])), operators].concat()
}

/// The product of `x`, quantised, and a column, times `scale`: the runtime knows a faster form, which believes that there is
/// one element of `scale` for each column.
fn quantised() -> Vec<u8> {
    const UINT8: u64 = 2;
    let column = onnx_file::constant("w", UINT8, &[4, 1], &[1, 2, 3, 4]);
    let nodes = [
        node("DynamicQuantizeLinear", &["x"], &["a", "a_scale", "a_zero"], &[]),
        node("MatMulInteger", &["a", "w", "a_zero"], &["whole"], &[]),
        node("Cast", &["whole"], &["product"], &[number_attribute("to", FLOAT)]),
        node("Mul", &["a_scale", "scale"], &["scales"], &[]),
        node("Mul", &["product", "scales"], &["y"], &[]),
    ];
    let matrix = |name, columns| value(name, FLOAT, &[Dimension::Named("rows"), columns]);
    let inputs = [matrix("x", Dimension::Fixed(4)), value("scale", FLOAT, &[Dimension::Named("columns")])];
    model(&graph(&nodes, &[column], &inputs, &[matrix("y", Dimension::Named("columns"))]))
}

/// The sum of `x` and itself in a quantised model: the runtime computes it by an operator of its own.
fn quantised_sum() -> Vec<u8> {
    const UINT8: u64 = 2;
    let constants =
        [onnx_file::scalar("scale", FLOAT, &1_f32.to_le_bytes()), onnx_file::scalar("zero", UINT8, &[0])];
    let nodes = [
        node("QuantizeLinear", &["x", "scale", "zero"], &["q"], &[]),
        node("DequantizeLinear", &["q", "scale", "zero"], &["d"], &[]),
        node("Add", &["d", "d"], &["sum"], &[]),
        node("QuantizeLinear", &["sum", "scale", "zero"], &["p"], &[]),
        node("DequantizeLinear", &["p", "scale", "zero"], &["y"], &[]),
    ];
    let matrix = |name| value(name, FLOAT, &[Dimension::Named("rows"), Dimension::Named("columns")]);
    model(&graph(&nodes, &constants, &[matrix("x")], &[matrix("y")]))
}

/// `x` and `x` beside each other, of any number of dimensions.
fn joined() -> Vec<u8> {
    let join = node("Concat", &["x", "x"], &["y"], &[number_attribute("axis", 0)]);
    model(&graph(&[join], &[], &[onnx_file::shapeless("x", FLOAT)], &[onnx_file::shapeless("y", FLOAT)]))
}

/// The rows of `x` that are different.
fn distinct() -> Vec<u8> {
    let matrix = |name, rows| value(name, FLOAT, &[Dimension::Named(rows), Dimension::Named("columns")]);
    let node = node("Unique", &["x"], &["y"], &[number_attribute("axis", 0)]);
    model(&graph(&[node], &[], &[matrix("x", "rows")], &[matrix("y", "different")]))
}

/// `x` with as many zeros around it as `p` says: a number for each side.
fn padded() -> Vec<u8> {
    let matrix =
        |name, rows, columns| value(name, FLOAT, &[Dimension::Named(rows), Dimension::Named(columns)]);
    let inputs = [matrix("x", "rows", "columns"), value("p", INT64, &[Dimension::Named("sides")])];
    model(&graph(&[node("Pad", &["x", "p"], &["y"], &[])], &[], &inputs, &[matrix("y", "more", "wider")]))
}

fn tensor(name: &str, datatype: &str, shape: &[usize], data: &Value) -> Value {
    json!({"name": name, "datatype": datatype, "shape": shape, "data": data})
}

fn ask(client: &Client, model: &str, inputs: &Value) -> Reply {
    client.post(&format!("/v2/models/{model}/infer"), &json!({"inputs": inputs}))
}

/// The smallest number has no opposite.
fn whole_numbers_without_a_quotient_end_nothing(client: &Client) {
    let (a, b) = (json!([i64::MIN, 7, i64::MIN]), json!([-1, -2, 3]));
    let divided =
        ask(client, "division", &json!([tensor("a", "INT64", &[3], &a), tensor("b", "INT64", &[3], &b)]));
    let divided = divided.is(200).json()["outputs"].clone();
    assert_eq!(divided[0]["data"], json!([i64::MIN, -3, i64::MIN / 3]));
    assert_eq!(divided[1]["data"], json!([0, -1, 1]));
    let (one, none) = (json!([1]), json!([0]));
    let by_zero = json!([tensor("a", "INT64", &[1], &one), tensor("b", "INT64", &[1], &none)]);
    ask(client, "division", &by_zero).is(400);
}

/// An operator that divides by what it is given, and does not look.
fn a_division_inside_of_an_operator_ends_nothing(client: &Client) {
    let spectrum = |length: i64| {
        let signal = tensor("x", "FP32", &[1, 64, 1], &json!(vec![1; 64]));
        ask(client, "spectrum", &json!([signal, tensor("length", "INT64", &[], &json!([length]))]))
    };
    spectrum(16).is(200);
    if cfg!(target_arch = "x86_64") {
        assert!(spectrum(0).is(400).member("error").contains("divides by zero"));
    }
    spectrum(16).is(200);
}

/// `[side, 1]` and `[1, side]`, which a model makes a square of.
fn square(client: &Client, model: &str, side: usize) -> Reply {
    let ones = json!(vec![1; side]);
    ask(
        client,
        model,
        &json!([tensor("a", "FP32", &[side, 1], &ones), tensor("b", "FP32", &[1, side], &ones)]),
    )
}

/// 240 KB are sent, and the model would need 3.6 GB.
fn a_run_that_needs_too_much_memory_is_refused(server: &Server, client: &Client) {
    let sum = |side| square(client, "table", side);
    assert_eq!(sum(1000).is(200).json()["outputs"][0]["data"], json!([1_000_000.0]));
    let before = server.metric("process_resident_memory_bytes");
    assert!(sum(30_000).is(400).member("error").contains("more memory"));
    assert!(server.metric("process_resident_memory_bytes") - before < 300e6);
    sum(1000).is(200);
}

/// The answer would be 200 MB. The model ran for both calls; the one without an answer is not charged.
fn an_answer_that_is_too_large_is_refused_and_costs_nothing(client: &Client) {
    let refused = square(client, "pairs", 5000).is(413);
    let answered = square(client, "pairs", 600).is(200);
    assert_eq!(answered.json()["outputs"][0]["data"].as_array().map(Vec::len), Some(360_000));
    let left = |reply: &Reply| reply.number("x-ratelimit-remaining");
    assert_eq!((left(&refused), left(&answered)), (left(&answered) + 1, left(&answered)));
    let metered = eventually("usage is written", || {
        let items = client.get("/api/v1/me/usage").is(200).items();
        items.into_iter().find(|item| item["model"] == "pairs" && item["requests"] == 2)
    });
    assert_eq!((&metered["failures"], &metered["inferences"]), (&json!(1), &json!(600)));
}

/// Operators that the runtime ends with when they are given nothing.
fn inputs_without_elements_end_nothing(client: &Client) {
    for (model, shape, data, status) in [
        ("memory", [2, 1, 1], json!([1, 2]), 200),
        ("memory", [2, 0, 1], json!([]), 400),
        ("memory", [0, 1, 1], json!([]), 400),
        ("normalised", [1, 1, 2], json!([1, 2]), 200),
        ("normalised", [0, 1, 2], json!([]), 200),
        ("normalised", [1, 1, 0], json!([]), 400),
    ] {
        ask(client, model, &json!([tensor("x", "FP32", &shape, &data)])).is(status);
    }
    for (model, shape, data, status) in [
        ("distinct", [2, 1], json!([1, 1]), 200),
        ("distinct", [0, 3], json!([]), 200),
        ("distinct", [3, 0], json!([]), 400),
        // What is not ONNX's own is not known well enough.
        ("contributed", [2, 1], json!([1, 2]), 200),
        ("contributed", [0, 1], json!([]), 400),
        ("quantised-sum", [1, 2], json!([1, 2]), 200),
        ("quantised-sum", [0, 2], json!([]), 400),
    ] {
        ask(client, model, &json!([tensor("x", "FP32", &shape, &data)])).is(status);
    }
}

/// The runtime's text about it speaks of an allocator, and still it is not memory that was missing.
fn what_an_operator_refuses_is_the_callers_fault(client: &Client) {
    let pad = |sides: &[i64]| {
        let (x, sides) =
            (tensor("x", "FP32", &[1, 1], &json!([1])), tensor("p", "INT64", &[sides.len()], &json!(sides)));
        ask(client, "padded", &json!([x, sides]))
    };
    assert_eq!(pad(&[0, 1, 0, 1]).is(200).json()["outputs"][0]["data"], json!([0.0, 1.0, 0.0]));
    assert!(pad(&[0]).is(400).member("error").contains("do not fit together"));
}

/// One that reads beyond what it is given is not served, nor one that has to be told the number of dimensions: unless
/// an operator of the server takes that on.
fn an_operator_that_checks_nothing_is_not_served(client: &Client) {
    let square =
        |model: &str| ask(client, model, &json!([tensor("x", "FP32", &[2, 2], &json!([2, 0, 0, 4]))]));
    assert!(square("inverse").is(503).member("error").contains("does not check what callers send"));
    assert_eq!(square("accepted").is(200).json()["outputs"][0]["data"], json!([0.5, 0.0, 0.0, 0.25]));
    let x = tensor("x", "FP32", &[1, 4], &json!([1, 1, 1, 1]));
    let scaled =
        ask(client, "quantised", &json!([x, tensor("scale", "FP32", &[5], &json!([1, 1, 1, 1, 1]))]));
    assert_eq!(scaled.is(200).json()["outputs"][0]["shape"], json!([1, 5]));
    assert!(square("joined").is(503).member("error").contains("how many dimensions its input \"x\" has"));
}

/// Rows and columns exchanged: as many bytes, and a long run; the short ones before it do not bring it to a web worker.
fn a_long_run_keeps_the_server_from_nobody(server: &Server, client: &Client) {
    const SIDE: usize = 1400;
    let numbers = json!(vec![0; SIDE]);
    let multiply = |a: [usize; 2], b: [usize; 2]| {
        ask(
            client,
            "products",
            &json!([tensor("a", "FP32", &a, &numbers), tensor("b", "FP32", &b, &numbers)]),
        )
        .is(200);
    };
    (0..40).for_each(|_| multiply([1, SIDE], [SIDE, 1]));
    std::thread::scope(|scope| {
        let long = scope.spawn(|| multiply([SIDE, 1], [1, SIDE]));
        let answered = (0..).take_while(|_| {
            server.anon().get("/health/live").is(200);
            !long.is_finished()
        });
        assert!(answered.count() >= 3, "nobody was answered meanwhile");
    });
}

promise! {
    fn nothing_that_is_sent_ends_the_server_or_keeps_it_from_others(pair) {
        let world = World::new(pair);
        let folder = world.folder().join("repository");
        let models = [
            ("division", division()), ("memory", memory()), ("normalised", normalised()), ("products", products()), ("spectrum", spectrum()), ("table", onnx_file::broadcast()), ("pairs", pairs()),
            ("distinct", distinct()), ("padded", padded()), ("contributed", contributed("Gelu")), ("inverse", contributed("Inverse")), ("accepted", contributed("Inverse")), ("joined", joined()), ("quantised", quantised()), ("quantised-sum", quantised_sum()),
        ];
        for (name, model) in models {
            fs::create_dir_all(folder.join(name).join("1")).expect("a folder");
            fs::write(folder.join(name).join("1/model.onnx"), model).expect("a model");
        }
        fs::write(folder.join("accepted/model.toml"), UNCHECKED).expect("model.toml");
        let folder = folder.display().to_string();
        let server = world.start(&[
            ("MODEL_DIR", folder.as_str()), ("WORKERS", "1"), ("INFER_TIMEOUT_SECONDS", "300"), ("MODEL_MEMORY_MB", "256"),
            ("MAX_BODIES_IN_MEMORY_MB", "128"),
        ]);
        let (admin, ada) = (server.admin(), server.person("ada"));
        admin.api.put(&format!("/api/v1/admin/quotas/account/{}/requests/day", ada.id), &json!({"limit": 1000})).is(204);
        let ada = ada.api;
        whole_numbers_without_a_quotient_end_nothing(&ada);
        a_division_inside_of_an_operator_ends_nothing(&ada);
        a_run_that_needs_too_much_memory_is_refused(&server, &ada);
        an_answer_that_is_too_large_is_refused_and_costs_nothing(&ada);
        inputs_without_elements_end_nothing(&ada);
        what_an_operator_refuses_is_the_callers_fault(&ada);
        an_operator_that_checks_nothing_is_not_served(&ada);
        a_long_run_keeps_the_server_from_nobody(&server, &ada);
    }

    fn a_model_that_ends_the_server_does_so_once(pair) {
        let repository = Repository::new(pair);
        repository.add("digits");
        fs::create_dir_all(repository.folder.join("brittle/1")).expect("a folder");
        fs::write(repository.folder.join("brittle/1/model.onnx"), brittle()).expect("a model");
        let (mut server, client) = repository.start(&[]);
        let call = |skip: i64| {
            let (x, skip) = (tensor("x", "FP32", &[2, 1, 1], &json!([1, 2])), tensor("skip", "INT64", &[1], &json!([skip])));
            json!({"inputs": [x, skip]})
        };
        let path = "/v2/models/brittle/infer";
        client.post(path, &call(1)).is(200);
        let (token, body) = (server.person("bob").tokens.access, call(2).to_string());
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n", body.len());
        assert_eq!(server.raw(format!("{head}{body}").as_bytes()), "", "the server is gone");
        assert_eq!(server.wait(), None, "ended by a signal");

        let folder = repository.folder.display().to_string();
        let server = repository.world.start(&[("MODEL_DIR", &folder)]);
        let client = server.log_in("ada@example.com", "Correct-horse-battery-9").api;
        assert!(client.post(path, &call(2)).is(503).member("error").contains("unloaded"));
        client.predict(&sample("7-1")).is(200);
        let events: Vec<Value> = server.world.audit_events();
        let ends: Vec<_> = events.iter().filter(|event| event["action"] == "model.ended_server").collect();
        assert!(ends.len() == 1 && ends[0]["detail"].to_string().contains("brittle"), "{ends:?}");
        // Who loads it again takes it on.
        server.admin().api.act("/api/v1/admin/models/brittle/load").is(204);
        client.post(path, &call(1)).is(200);

        // Who mended it before the server is back does not find it unloaded.
        let body = call(2).to_string();
        let token = server.log_in("bob@example.com", "Correct-horse-battery-9").tokens.access;
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n", body.len());
        assert_eq!(server.raw(format!("{head}{body}").as_bytes()), "", "the server is gone");
        let load = ["model", "load", "brittle"];
        assert_eq!(repository.world.run(&load, &[("MODEL_DIR", &folder)], "").code, Some(0));
        let server = repository.world.start(&[("MODEL_DIR", &folder)]);
        let client = server.log_in("ada@example.com", "Correct-horse-battery-9").api;
        client.post(path, &call(1)).is(200);
    }
}
