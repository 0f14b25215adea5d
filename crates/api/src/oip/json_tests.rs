//! Calls as clients write them, and what is wrong with the others.
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use super::*;

/// An input `x` of this type and of any shape of as many dimensions.
fn spec(datatype: DataType, dimensions: usize) -> TensorSpec {
    TensorSpec { name: "x".to_owned(), datatype, shape: vec![-1; dimensions], symbols: Vec::new() }
}

/// A call with one input of this shape, type and data to a model that takes that type and shape.
fn call(shape: &str, datatype: &str, data: &str) -> Result<ParsedInfer, String> {
    let body = format!(
        r#"{{"inputs": [{{"name": "x", "shape": {shape}, "datatype": "{datatype}", "data": {data}}}]}}"#
    );
    let dimensions = if shape == "[]" { 0 } else { shape.matches(',').count() + 1 };
    let datatype = datatype.parse().unwrap_or(DataType::Fp32);
    parse_infer_request(body.as_bytes(), &[spec(datatype, dimensions)])
}

fn data(shape: &str, datatype: &str, text: &str) -> TensorData {
    call(shape, datatype, text).unwrap().inputs.remove(0).tensor.into_parts().1
}

fn refused(outcome: Result<ParsedInfer, String>, part: &str) {
    let message = outcome.unwrap_err();
    assert!(message.contains(part), "\"{part}\" is not in: {message}");
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
    let parsed = parse_infer_request(body, &[spec(DataType::Fp32, 2)]).unwrap();
    let tensor = Tensor::new(vec![2, 2], TensorData::Fp32(vec![1.0, 2.0, 3.0, 4.5])).unwrap();
    let expected = ParsedInfer {
        id: Some("42".to_owned()),
        inputs: vec![NamedTensor { name: "x".to_owned(), tensor }],
        outputs: vec!["b".to_owned(), "a".to_owned()],
        timeout: Some(Duration::from_micros(1500)),
        priority: Some(2),
    };
    assert_eq!(parsed, expected);
}

#[test]
fn each_datatype_takes_its_own_values() {
    assert_eq!(data("[2]", "BOOL", "[true, false]"), TensorData::Bool(vec![true, false]));
    assert_eq!(data("[1]", "UINT64", "[18446744073709551615]"), TensorData::Uint64(vec![u64::MAX]));
    assert_eq!(data("[2]", "INT8", "[-128, 127]"), TensorData::Int8(vec![-128, 127]));
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
    refused(call("[1]", "INT64", "[1.0]"), "INT64");
    refused(call("[1]", "INT64", "[9223372036854775808]"), "INT64");
    refused(call("[1]", "FP32", "[1e39]"), "FP32");
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
    refused(call("[1000000000000]", "FP32", "[1]"), "needs 1000000000000");
    refused(call("[1.5]", "FP32", "[1]"), "not an inference request");
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
        parse_infer_request(body.as_bytes(), &specs)
    };
    refused(call("z", "FP32", "[1]"), "no input \"z\"; it has \"x\"");
    refused(call("x", "BYTES", "[1]"), "datatype BYTES, but the model expects FP32");
    refused(call("x", "FP32", "[1, 2]"), "shape [1, 2], but the model expects [-1]");
}

#[test]
fn what_is_no_call_is_refused() {
    let parse = |text: &str| parse_infer_request(text.as_bytes(), &[spec(DataType::Fp32, 1)]);
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
    refused(parse(r#"{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32"}]}"#), "\"data\" is missing");
    refused(parse(r#"{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1, 2"#), "line 1");
}

#[test]
fn parameters_that_would_change_the_answer_are_refused() {
    let with = |parameters: &str| {
        parse_infer_request(format!(r#"{{"inputs": [], "parameters": {parameters}}}"#).as_bytes(), &[])
    };
    assert_eq!(with("{\"timeout\": 0, \"priority\": 0}").unwrap(), ParsedInfer::default());
    for name in ["sequence_id", "sequence_start", "sequence_end", "headers", "triton_x"] {
        refused(with(&format!("{{\"{name}\": 1}}")), "reserved");
    }
    refused(with("{\"mine\": [1]}"), "a string, a number or a boolean");
    refused(with("{\"timeout\": -1}"), "whole number");
    refused(with("{\"priority\": \"high\"}"), "whole number");
    let output = r#"{"inputs": [], "outputs": [{"name": "y", "parameters": {"classification": 2}}]}"#;
    refused(parse_infer_request(output.as_bytes(), &[]), "classification");
}

fn rendered(data: TensorData) -> Result<Value, String> {
    let tensor = Tensor::new(vec![data.len()], data).unwrap();
    let output = NamedTensor { name: "y".to_owned(), tensor };
    let bytes = render_infer_response("m", "3", Some("i"), &[output])?;
    Ok(serde_json::from_slice(&bytes).unwrap())
}

#[test]
fn answers_say_what_the_model_said() {
    let answer = rendered(TensorData::Fp32(vec![0.1, -2.0, f32::NAN, f32::INFINITY])).unwrap();
    let expected = serde_json::json!({
        "model_name": "m", "model_version": "3", "id": "i",
        "outputs": [{"name": "y", "shape": [4], "datatype": "FP32", "data": [0.1, -2.0, null, null]}],
    });
    assert_eq!(answer, expected);
    let words = rendered(TensorData::Bytes(vec![b"a\"b".to_vec()])).unwrap();
    assert_eq!(words["outputs"][0]["data"], serde_json::json!(["a\"b"]));
    let anonymous = render_infer_response("m", "1", None, &[]).unwrap();
    assert_eq!(anonymous, br#"{"model_name":"m","model_version":"1","outputs":[]}"#);
}

#[test]
fn what_json_cannot_carry_is_said() {
    assert!(rendered(TensorData::zeros(DataType::Fp16, 1)).unwrap_err().contains("FP16"));
    assert!(rendered(TensorData::zeros(DataType::Bf16, 0)).unwrap_err().contains("BF16"));
    assert!(rendered(TensorData::Bytes(vec![vec![0xff]])).unwrap_err().contains("UTF-8"));
}

#[test]
fn what_is_rendered_can_be_read_again() {
    let numbers: Vec<f32> = (0..1000_u16).map(|number| f32::from(number) / 7.0).collect();
    let text = serde_json::to_string(&numbers).unwrap();
    assert_eq!(data("[1000]", "FP32", &text), TensorData::Fp32(numbers));
}
