//! Calls as clients write them, and what is wrong with the others.
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use inference::TensorData;
use proptest::prelude::*;

use super::*;

/// An input `x` of this type and of any shape of as many dimensions.
fn spec(datatype: DataType, dimensions: usize) -> TensorSpec {
    TensorSpec {
        name: "x".to_owned(),
        datatype,
        shape: vec![-1; dimensions],
        symbols: Vec::new(),
        any_rank: false,
    }
}

/// A call with one input of this shape, type and data to a model that takes that type and shape.
fn call(shape: &str, datatype: &str, data: &str) -> Result<ParsedInfer, String> {
    let body = format!(
        r#"{{"inputs": [{{"name": "x", "shape": {shape}, "datatype": "{datatype}", "data": {data}}}]}}"#
    );
    let dimensions = if shape == "[]" { 0 } else { shape.matches(',').count() + 1 };
    let datatype = datatype.parse().unwrap_or(DataType::Fp32);
    parsed(body.as_bytes(), &[spec(datatype, dimensions)])
}

/// Reads JSON for a model with these inputs and an output `y` of type FP32.
fn parsed(json: &[u8], inputs: &[TensorSpec]) -> Result<ParsedInfer, String> {
    parse(json, Layout::Json, Signature { inputs, outputs: &[output(DataType::Fp32)] })
}

/// An output `y`.
fn output(datatype: DataType) -> TensorSpec {
    TensorSpec { name: "y".to_owned(), ..spec(datatype, 1) }
}

fn data(shape: &str, datatype: &str, text: &str) -> TensorData {
    call(shape, datatype, text).unwrap().inputs.remove(0).tensor.into_parts().1
}

fn refused(outcome: Result<ParsedInfer, String>, part: &str) {
    let message = outcome.unwrap_err();
    assert!(message.contains(part), "\"{part}\" is not in: {message}");
}

fn wanted(name: &str, binary: bool) -> WantedOutput {
    WantedOutput { name: name.to_owned(), binary, classes: None }
}

#[test]
fn a_whole_call_in_any_order_of_its_members() {
    let body = br#"{
        "unknown": {"deep": [1]},
        "outputs": [{"name": "b", "parameters": {"binary_data": false}}, {"name": "a"}],
        "inputs": [{"data": [[1, 2], [3, 4.5]], "more": null, "datatype": "FP32", "shape": [2, 2], "name": "x"}],
        "parameters": {"timeout": 1500, "priority": 2, "mine": "yes", "binary_data_output": true},
        "id": "42"
    }"#;
    let parsed = parsed(body, &[spec(DataType::Fp32, 2)]).unwrap();
    let tensor = Tensor::new(vec![2, 2], TensorData::Fp32(vec![1.0, 2.0, 3.0, 4.5])).unwrap();
    let expected = ParsedInfer {
        id: Some("42".to_owned()),
        inputs: vec![NamedTensor { name: "x".to_owned(), tensor }],
        outputs: vec![wanted("b", false), wanted("a", true)],
        timeout: Some(Duration::from_micros(1500)),
        priority: 2,
    };
    assert_eq!(parsed, expected);
}

#[test]
fn what_is_null_is_left_out() {
    let input = r#"{"name": "x", "shape": [1], "datatype": "FP32", "parameters": null, "data": [1]}"#;
    let body = |rest: &str| format!(r#"{{"id": null, "inputs": [{input}], {rest}}}"#);
    let specs = [spec(DataType::Fp32, 1)];
    let nulls = r#""outputs": null, "parameters": {"content_type": null, "headers": null, "timeout": null}"#;
    let written = parsed(body(nulls).as_bytes(), &specs).unwrap();
    assert_eq!(written, parsed(body(r#""parameters": null"#).as_bytes(), &specs).unwrap());
    assert_eq!((written.id, written.outputs), (None, vec![wanted("y", false)]));
    refused(parsed(br#"{"inputs": null}"#, &specs), "sequence");
}

#[test]
fn a_list_is_no_object() {
    let specs = [spec(DataType::Fp32, 1)];
    let input = r#"{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}"#;
    for body in [
        "[]".to_owned(),
        "null".to_owned(),
        r#"{"inputs": [["x", [1], "FP32", {}, [1]]]}"#.to_owned(),
        format!(r#"{{"inputs": [{input}], "outputs": [["y", {{}}]]}}"#),
        format!(r#"{{"inputs": [{input}], "outputs": ["y"]}}"#),
    ] {
        refused(parsed(body.as_bytes(), &specs), "expected a JSON object");
    }
    refused(call(r#"["1"]"#, "FP32", "[1]"), "expected a JSON number");
    refused(call("[1.0]", "FP32", "[1]"), "dimension 1.0 in \"shape\" is not a size");
}

#[test]
fn each_datatype_takes_its_own_values() {
    assert_eq!(data("[2]", "BOOL", "[true, false]"), TensorData::Bool(vec![true, false]));
    assert_eq!(data("[1]", "UINT64", "[18446744073709551615]"), TensorData::Uint64(vec![u64::MAX]));
    assert_eq!(data("[2]", "INT8", "[-128, 127]"), TensorData::Int8(vec![-128, 127]));
    assert_eq!(data("[4]", "INT16", "[1.0, 1e2, -0, -3.0]"), TensorData::Int16(vec![1, 100, 0, -3]));
    assert_eq!(data("[2]", "FP64", "[-1, 1e300]"), TensorData::Fp64(vec![-1.0, 1e300]));
    let words = ["ä\n", ""].map(|word| word.as_bytes().to_vec()).to_vec();
    assert_eq!(data("[2]", "BYTES", r#"["\u00e4\n", ""]"#), TensorData::Bytes(words));
    assert_eq!(data("[]", "FP32", "[7]"), TensorData::Fp32(vec![7.0]));
    assert_eq!(data("[3, 0]", "FP32", "[[], [], []]"), TensorData::Fp32(Vec::new()));
}

#[test]
fn values_of_another_kind_are_refused() {
    refused(call("[1]", "INT8", "[128]"), "holds 128, which is not a value of type INT8");
    refused(call("[1]", "UINT8", "[-1]"), "UINT8");
    refused(call("[1]", "INT64", "[1.5]"), "INT64");
    refused(call("[1]", "UINT8", "[2.56e2]"), "holds 256, which is not a value of type UINT8");
    refused(call("[1]", "UINT64", "[1e19]"), "UINT64");
    refused(call("[1]", "INT64", "[9223372036854775808]"), "INT64");
    refused(
        call("[1]", "FP32", "[1e39]"),
        "holds 1e39, which is not a value of type FP32 (a number from -3.4028235e38 to 3.4028235e38)",
    );
    refused(
        call("[2]", "FP64", "[0, 1e400]"),
        "holds a number that is not a value of type FP64 (a number from -1.7976931348623157e308 to \
         1.7976931348623157e308) at line 1",
    );
    refused(call("[1]", "INT8", "[1e400]"), "type INT8 (a whole number from -128 to 127)");
    refused(call("[1]", "FP32", "[\"1\"]"), "a string");
    refused(call("[1]", "FP32", "[null]"), "FP32");
    refused(call("[1]", "FP32", "[NaN]"), "not an inference request");
    refused(call("[1]", "BOOL", "[1]"), "BOOL");
    refused(call("[1]", "BYTES", "[1]"), "BYTES");
    refused(call("[1]", "FP16", "[1]"), "FP16 cannot be given as JSON");
    refused(call("[1]", "BF16", "[1]"), "BF16");
    refused(call("[1]", "fp32", "[1]"), "unknown datatype \"fp32\"");
    refused(call("[1]", "FP32", "1"), "a list of elements of type FP32");
    refused(call("[1]", "FP32", "{\"a\": 1}"), "a list of elements of type FP32");
}

#[test]
fn the_count_is_that_of_the_shape() {
    refused(call("[3]", "FP32", "[1, 2]"), "needs 3 elements, but \"data\" has 2");
    refused(call("[2]", "FP32", "[1, 2, 3]"), "more than the 2 elements");
    refused(call("[-1]", "FP32", "[1]"), "dimension -1");
    refused(call("[4294967296, 4294967296]", "FP32", "[1]"), "too large");
    refused(call("[99999999999999999999999]", "FP32", "[1]"), "not a size");
    refused(call("[1000000000]", "FP32", "[1]"), "needs 1000000000");
    refused(call("[1000000000000]", "FP32", "[1]"), "is too large");
    refused(call("[1.5]", "FP32", "[1]"), "dimension 1.5");
    let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
    refused(call("[1]", "FP32", &deep), "recursion");
    refused(call(&format!("[{}1]", "1,".repeat(40)), "FP32", "[1]"), "more than 32 dimensions");
}

#[test]
fn what_the_model_does_not_take_is_refused_before_its_data_is_read() {
    let specs = [spec(DataType::Fp32, 1)];
    let call = |name: &str, datatype: &str, shape: &str| {
        let body = format!(
            r#"{{"inputs": [{{"name": "{name}", "datatype": "{datatype}", "shape": {shape}, "data": "unread"}}]}}"#
        );
        parsed(body.as_bytes(), &specs)
    };
    refused(call("z", "FP32", "[1]"), "no input \"z\"; it has \"x\"");
    refused(call("x", "BYTES", "[1]"), "datatype BYTES, but the model expects FP32");
    refused(call("x", "FP32", "[1, 2]"), "shape [1, 2], but the model expects [-1]");
}

#[test]
fn what_is_no_call_is_refused() {
    let parse = |text: &str| parsed(text.as_bytes(), &[spec(DataType::Fp32, 1)]);
    for text in [
        "",
        "{",
        "[]",
        "null",
        "{}",
        r#"{"inputs": 1}"#,
        r#"{"inputs": [], "inputs": []}"#,
        "{\"inputs\":[]}x",
    ] {
        refused(parse(text), "not an inference request");
    }
    refused(
        parse(r#"{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32"}]}"#),
        "\"data\" is missing, and so is",
    );
    refused(parse(r#"{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1, 2"#), "line 1");
}

#[test]
fn no_more_parts_are_kept_than_are_taken() {
    let many = |part: &str, count: usize| vec![part; count].join(",");
    let call = |members: &str| parsed(format!("{{{members}}}").as_bytes(), &[spec(DataType::Fp32, 1)]);
    let empty = many("{\"\":0}", 100_000);
    refused(call(&format!(r#""inputs": [], "parameters": {{"x": [{empty}]}}"#)), "\"x\" must be a string");
    let nested = format!("{{\"a\":[{empty}]}}");
    refused(call(&format!(r#""inputs": [], "parameters": {{"x": {nested}}}"#)), "\"x\" must be a string");
    let named: Vec<String> = (0..129).map(|number| format!("\"p{number}\": 1")).collect();
    refused(
        call(&format!(r#""inputs": [], "parameters": {{{}}}"#, named.join(","))),
        "more than 128 parameters",
    );
    let input = r#"{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}"#;
    refused(call(&format!(r#""inputs": [{}]"#, many(input, 1025))), "at most 1024 inputs");
    let output = r#"{"name": "y"}"#;
    refused(call(&format!(r#""inputs": [], "outputs": [{}]"#, many(output, 1025))), "at most 1024 outputs");
    let ranks =
        format!(r#"{{"name": "x", "shape": [{}], "datatype": "FP32", "data": [1]}}"#, many("1", 100_000));
    refused(call(&format!(r#""inputs": [{ranks}]"#)), "more than 32 dimensions");
}

#[test]
fn parameters_that_would_change_the_answer_are_refused() {
    let with =
        |parameters: &str| parsed(format!(r#"{{"inputs": [], "parameters": {parameters}}}"#).as_bytes(), &[]);
    let plain = ParsedInfer { outputs: vec![wanted("y", false)], ..ParsedInfer::default() };
    assert_eq!(with("{\"timeout\": 0, \"priority\": 0}").unwrap(), plain);
    for name in ["sequence_id", "sequence_start", "sequence_end", "headers", "triton_x"] {
        refused(with(&format!("{{\"{name}\": 1}}")), "reserved");
    }
    refused(with("{\"mine\": [1]}"), "a string, a number or a boolean");
    refused(with("{\"timeout\": -1}"), "whole number");
    refused(with("{\"priority\": \"high\"}"), "whole number");
    refused(with("{\"binary_data_output\": 1}"), "true or false");
}

#[test]
fn each_output_comes_as_it_is_wanted() {
    let outputs = |outputs: &str, datatype: DataType| {
        let json = format!(r#"{{"inputs": [], "outputs": [{{"name": "y", "parameters": {outputs}}}]}}"#);
        parse(json.as_bytes(), Layout::Json, Signature { inputs: &[], outputs: &[output(datatype)] })
    };
    let classes = outputs("{\"classification\": 2}", DataType::Fp32).unwrap().outputs;
    assert_eq!(classes, [WantedOutput { classes: NonZeroUsize::new(2), ..wanted("y", false) }]);
    let none = outputs("{\"classification\": 0, \"binary_data\": true}", DataType::Fp32).unwrap().outputs;
    assert_eq!(none, [wanted("y", true)]);
    refused(outputs("{\"classification\": -1}", DataType::Fp32), "whole number");
    refused(outputs("{\"classification\": 1}", DataType::Bytes), "no highest value");
    refused(outputs("{\"binary_data\": \"yes\"}", DataType::Fp32), "true or false");
    refused(outputs("{\"binary_data\": false}", DataType::Fp16), "which JSON cannot carry");
    assert_eq!(outputs("{\"binary_data\": true}", DataType::Bf16).unwrap().outputs, [wanted("y", true)]);
    // As text it is JSON's again.
    assert!(outputs("{\"classification\": 1}", DataType::Fp16).is_ok());
}

/// A call with JSON of these inputs and the bytes behind it.
fn mixed(inputs: &str, bytes: &[u8], specs: &[TensorSpec]) -> Result<ParsedInfer, String> {
    let json = format!("{{\"inputs\": [{inputs}]}}");
    let body = [json.as_bytes(), bytes].concat();
    parse(&body, Layout::Mixed(json.len()), Signature { inputs: specs, outputs: &[] })
}

/// An input `x` that is given as so many bytes.
fn given(shape: &str, datatype: &str, size: &str) -> String {
    format!(
        r#"{{"name": "x", "shape": {shape}, "datatype": "{datatype}", "parameters": {{"binary_data_size": {size}}}}}"#
    )
}

#[test]
fn binary_data_is_taken_in_the_order_of_the_inputs() {
    let specs = [spec(DataType::Int16, 1), TensorSpec { name: "z".to_owned(), ..spec(DataType::Bytes, 1) }];
    let texts = r#"{"name": "z", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": 11}}"#;
    let both = format!("{texts}, {}", given("[2]", "INT16", "4"));
    let bytes = b"\x02\0\0\0\xff\xfe\x01\0\0\0a\x01\0\xff\xff";
    let inputs = mixed(&both, bytes, &specs).unwrap().inputs;
    assert_eq!(*inputs[0].tensor.data(), TensorData::Bytes(vec![vec![0xff, 0xfe], b"a".to_vec()]));
    assert_eq!(*inputs[1].tensor.data(), TensorData::Int16(vec![1, -1]));
    let json = r#"{"name": "z", "shape": [1], "datatype": "BYTES", "data": ["a"]}"#;
    let inputs = mixed(&format!("{json}, {}", given("[1]", "INT16", "2")), &[3, 0], &specs).unwrap().inputs;
    assert_eq!(*inputs[1].tensor.data(), TensorData::Int16(vec![3]));
    assert!(mixed(&given("[0]", "INT16", "0"), b"", &specs).is_ok());
}

#[test]
fn binary_data_that_does_not_add_up_is_refused() {
    let specs = [spec(DataType::Int16, 1)];
    refused(mixed(&given("[2]", "INT16", "4"), b"123", &specs), "3 bytes of binary data are left");
    refused(mixed(&given("[2]", "INT16", "4"), b"12345", &specs), "1 bytes more");
    refused(mixed(&given("[2]", "INT16", "2"), b"12", &specs), "needs 2 elements of type INT16, 4 bytes");
    refused(mixed(&given("[1]", "INT16", "-2"), b"12", &specs), "whole number");
    refused(mixed(&given("[1]", "INT16", "18446744073709551615"), b"12", &specs), "are left");
    refused(mixed(&given("[1]", "INT16", "\"2\""), b"12", &specs), "whole number");
    refused(mixed(&given("[2147483647]", "INT16", "2"), b"12", &specs), "needs 2147483647");
    let both = given("[1]", "INT16", "2").replace("\"datatype\"", "\"data\": [1], \"datatype\"");
    refused(mixed(&both, b"12", &specs), "both");
    refused(
        parsed(format!("{{\"inputs\": [{}]}}", given("[1]", "INT16", "2")).as_bytes(), &specs),
        "is missing",
    );
    refused(
        parse(b"{}", Layout::Mixed(3), Signature { inputs: &specs, outputs: &[] }),
        "announced with 3 bytes",
    );
    let stale = parse(b"{\"inputs\":[]}", Layout::Mixed(5), Signature { inputs: &specs, outputs: &[] });
    assert!(stale.is_err_and(|error| error.starts_with("the first 5 bytes of the body")));
    refused(
        mixed("", b"", &specs).map(|_| ParsedInfer::default()).and(Err("no inputs".to_owned())),
        "no inputs",
    );
}

/// A body without JSON for a model whose only input has this type and shape.
fn raw_call(body: &[u8], datatype: DataType, shape: &[i64]) -> Result<Tensor, String> {
    let specs = [TensorSpec { shape: shape.to_vec(), ..spec(datatype, 0) }];
    let model = Signature { inputs: &specs, outputs: &[output(DataType::Fp16)] };
    let parsed = parse(body, Layout::Raw, model)?;
    assert_eq!(parsed.outputs, [wanted("y", true)]);
    Ok(parsed.inputs.into_iter().next().unwrap().tensor)
}

#[test]
fn a_body_without_json_tells_its_shape_by_its_length() {
    let shape = |length: usize, of: &[i64]| {
        raw_call(&vec![0; length], DataType::Fp32, of).map(|tensor| tensor.shape().to_vec())
    };
    assert_eq!(shape(24, &[2, 3]), Ok(vec![2, 3]));
    assert_eq!(shape(24, &[-1, 3]), Ok(vec![2, 3]));
    assert_eq!(shape(24, &[-1, -1, 3]), Ok(vec![1, 2, 3]));
    assert_eq!(shape(24, &[-1, 2, -1]), Ok(vec![1, 2, 3]));
    assert_eq!(shape(0, &[-1, 3]), Ok(vec![0, 3]));
    assert_eq!(shape(0, &[-1, 0]), Ok(vec![0, 0]));
    assert_eq!(shape(4, &[]), Ok(vec![]));
    for (length, of) in [(20, &[2_i64, 3] as &[i64]), (25, &[-1, 3]), (4, &[-1, 0]), (0, &[2]), (3, &[])] {
        assert!(shape(length, of).is_err(), "{length} bytes for {of:?}");
    }
    assert!(shape(24, &[2, -1, -1]).unwrap_err().contains("several variable"));
    let text = |of: &[i64]| raw_call(b"\xff!", DataType::Bytes, of).map(Tensor::into_parts);
    assert_eq!(text(&[-1]), Ok((vec![1], TensorData::Bytes(vec![b"\xff!".to_vec()]))));
    assert_eq!(text(&[-1, 1]).unwrap().0, [1, 1]);
    assert!(text(&[2]).unwrap_err().contains("one element"));
    let two = [spec(DataType::Fp32, 1), spec(DataType::Fp32, 1)];
    refused(parse(b"", Layout::Raw, Signature { inputs: &two, outputs: &[] }), "one input; this one has 2");
}

/// Pieces of calls, so that what is put together at random gets further than the first byte.
const PIECES: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"inputs\"",
    "\"outputs\"",
    "\"name\"",
    "\"x\"",
    "\"shape\"",
    "\"datatype\"",
    "\"FP32\"",
    "\"BYTES\"",
    "\"data\"",
    "\"parameters\"",
    "\"binary_data_size\"",
    "0",
    "1",
    "-1",
    "1e400",
    "null",
    "\"\\ud800\"",
    "18446744073709551616",
];

proptest! {
    #[test]
    fn a_number_is_read_as_what_it_was_written_from(number in prop_oneof![0.0..1.0, any::<f64>()]) {
        let read = data("[1]", "FP64", &format!("[{number:?}]"));
        prop_assert_eq!(read, TensorData::Fp64(vec![number]));
    }

    #[test]
    fn nothing_that_arrives_makes_it_panic(
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        pieces in proptest::collection::vec(0..PIECES.len(), 0..60),
        length in 0..300_usize,
        datatype in 0..DataType::ALL.len(),
        dimensions in proptest::collection::vec(-1..4_i64, 0..4),
    ) {
        let text: String = pieces.iter().map(|&piece| PIECES[piece]).collect();
        let begun = br#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}}]}"#;
        let inputs = [TensorSpec { shape: dimensions, ..spec(DataType::ALL[datatype], 0) }];
        let model = Signature { inputs: &inputs, outputs: &[output(DataType::Fp16)] };
        for body in [&noise[..], text.as_bytes(), &[text.as_bytes(), &noise].concat(), &[&begun[..], &noise].concat()] {
            for layout in [Layout::Json, Layout::Raw, Layout::Mixed(length), Layout::Mixed(begun.len())] {
                drop(parse(body, layout, model));
            }
        }
    }
}
