//! Answers as they are sent.
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use inference::Tensor;
use serde_json::Value;

use super::*;
use crate::oip::json_data;

fn rendered(data: TensorData) -> Result<Value, String> {
    let tensor = Tensor::new(vec![data.len()], data).unwrap();
    let output = NamedTensor { name: "y".to_owned(), tensor };
    let rendered = render("m", "3", Some("i"), vec![OutputTensor { output, binary: false }])?;
    assert_eq!(rendered.json_length, None);
    Ok(serde_json::from_slice(&rendered.body).unwrap())
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
    let anonymous = render("m", "1", None, vec![]).unwrap();
    assert_eq!(anonymous.body, br#"{"model_name":"m","model_version":"1","outputs":[]}"#);
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
    assert_eq!(json_data::read(&text, DataType::Fp32, 1000), Ok(TensorData::Fp32(numbers)));
}

#[test]
fn binary_data_follows_the_json_in_its_order() {
    let named = |name: &str, data: TensorData| NamedTensor {
        name: name.to_owned(),
        tensor: Tensor::new(vec![data.len()], data).unwrap(),
    };
    let outputs = [
        named("a", TensorData::Uint16(vec![1, 0x0203])),
        named("b", TensorData::Int8(vec![-1])),
        named("c", TensorData::Bytes(vec![vec![0xff]])),
        named("d", TensorData::Fp32(vec![])),
    ];
    let said = |binary: [bool; 4]| -> Vec<OutputTensor> {
        outputs.iter().cloned().zip(binary).map(|(output, binary)| OutputTensor { output, binary }).collect()
    };
    let Rendered { body, lent, json_length } =
        render("m", "1", None, said([true, false, true, true])).unwrap();
    assert!(lent.is_empty());
    let (json, bytes) = body.split_at(json_length.unwrap());
    assert_eq!(bytes, b"\x01\0\x03\x02\x01\0\0\0\xff");
    let json: Value = serde_json::from_slice(json).unwrap();
    let member = |output: usize, name: &str| json["outputs"][output].get(name).cloned();
    assert_eq!(member(0, "parameters"), Some(serde_json::json!({"binary_data_size": 4})));
    assert_eq!((member(0, "data"), member(1, "parameters")), (None, None));
    assert_eq!(member(1, "data"), Some(serde_json::json!([-1])));
    assert_eq!(member(3, "parameters"), Some(serde_json::json!({"binary_data_size": 0})));
    assert!(render("m", "1", None, said([true, true, false, true])).unwrap_err().contains("UTF-8"));
}

#[test]
fn the_binary_data_of_a_large_answer_is_not_copied() {
    let numbers = vec![1.5_f32; SMALL];
    let place = numbers.as_ptr().cast::<u8>();
    let named = |name: &str, data: TensorData| OutputTensor {
        output: NamedTensor { name: name.to_owned(), tensor: Tensor::new(vec![data.len()], data).unwrap() },
        binary: true,
    };
    let outputs = vec![named("a", TensorData::Fp32(numbers)), named("b", TensorData::Int8(vec![7]))];
    let rendered = render("m", "1", None, outputs).unwrap();
    assert_eq!(rendered.json_length, Some(rendered.body.len()));
    assert_eq!((rendered.lent[0].as_ptr(), rendered.lent[1].as_ref()), (place, &[7][..]));
    assert_eq!(rendered.whole().len(), rendered.body.len() + 4 * SMALL + 1);
}
