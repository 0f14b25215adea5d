#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use half::{bf16, f16};
use inference::Tensor;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn spec(datatype: DataType, rank: usize) -> TensorSpec {
    TensorSpec { name: "x".into(), datatype, shape: vec![-1; rank], symbols: vec![], any_rank: false }
}

/// A model with this input.
fn of(spec: &TensorSpec) -> Signature<'_> {
    Signature { inputs: std::slice::from_ref(spec), outputs: &[] }
}

/// A call with one input.
fn call(
    datatype: &str,
    shape: &[i64],
    contents: Option<InferTensorContents>,
    raw: Vec<Bytes>,
) -> ModelInferRequest {
    let input = InferInputTensor {
        name: "x".into(),
        datatype: datatype.into(),
        shape: shape.to_vec(),
        contents,
        ..InferInputTensor::default()
    };
    ModelInferRequest { inputs: vec![input], raw_input_contents: raw, ..ModelInferRequest::default() }
}

/// Any elements of any type, floating-point numbers by their bits.
fn any_data() -> impl Strategy<Value = TensorData> {
    const MOST: usize = 40;
    prop_oneof![
        vec(any::<bool>(), 0..MOST).prop_map(TensorData::Bool),
        vec(any::<u8>(), 0..MOST).prop_map(TensorData::Uint8),
        vec(any::<u16>(), 0..MOST).prop_map(TensorData::Uint16),
        vec(any::<u32>(), 0..MOST).prop_map(TensorData::Uint32),
        vec(any::<u64>(), 0..MOST).prop_map(TensorData::Uint64),
        vec(any::<i8>(), 0..MOST).prop_map(TensorData::Int8),
        vec(any::<i16>(), 0..MOST).prop_map(TensorData::Int16),
        vec(any::<i32>(), 0..MOST).prop_map(TensorData::Int32),
        vec(any::<i64>(), 0..MOST).prop_map(TensorData::Int64),
        vec(0..0x7c00_u16, 0..MOST)
            .prop_map(|bits| TensorData::Fp16(bits.into_iter().map(f16::from_bits).collect())),
        vec(0..0x7f80_u16, 0..MOST)
            .prop_map(|bits| TensorData::Bf16(bits.into_iter().map(bf16::from_bits).collect())),
        vec(any::<f32>(), 0..MOST).prop_map(TensorData::Fp32),
        vec(any::<f64>(), 0..MOST).prop_map(TensorData::Fp64),
        vec(vec(any::<u8>(), 0..9), 0..MOST).prop_map(TensorData::Bytes),
    ]
}

/// Elements in the member of a message that belongs to them; none for what has no member.
fn as_contents(data: &TensorData) -> Option<InferTensorContents> {
    let mut contents = InferTensorContents::default();
    match data.clone() {
        TensorData::Bool(elements) => contents.bool_contents = elements,
        TensorData::Int8(elements) => contents.int_contents = elements.into_iter().map(Into::into).collect(),
        TensorData::Int16(elements) => contents.int_contents = elements.into_iter().map(Into::into).collect(),
        TensorData::Int32(elements) => contents.int_contents = elements,
        TensorData::Int64(elements) => contents.int64_contents = elements,
        TensorData::Uint8(elements) => {
            contents.uint_contents = elements.into_iter().map(Into::into).collect()
        }
        TensorData::Uint16(elements) => {
            contents.uint_contents = elements.into_iter().map(Into::into).collect()
        }
        TensorData::Uint32(elements) => contents.uint_contents = elements,
        TensorData::Uint64(elements) => contents.uint64_contents = elements,
        TensorData::Fp32(elements) => contents.fp32_contents = elements,
        TensorData::Fp64(elements) => contents.fp64_contents = elements,
        TensorData::Bytes(elements) => {
            contents.bytes_contents = elements.into_iter().map(Bytes::from).collect()
        }
        TensorData::Fp16(_) | TensorData::Bf16(_) => return None,
    }
    Some(contents)
}

proptest! {
    #[test]
    fn what_is_written_reads_as_it_was(data in any_data()) {
        let tensor = Tensor::new(vec![data.len()], data.clone()).unwrap();
        let (described, bytes) = write(NamedTensor { name: "x".into(), tensor }).unwrap();
        let again = read(call(&described.datatype, &described.shape, None, vec![bytes]), of(&spec(data.datatype(), 1)));
        let again = again.unwrap();
        prop_assert_eq!(again.inputs[0].tensor.data(), &data);
    }

    #[test]
    fn elements_read_the_same_by_member(data in any_data()) {
        let shape = [i64::try_from(data.len()).unwrap()];
        let name = data.datatype().name();
        match as_contents(&data) {
            Some(contents) => {
                let read = read(call(name, &shape, Some(contents), vec![]), of(&spec(data.datatype(), 1)));
                let read = read.unwrap();
                prop_assert_eq!(read.inputs[0].tensor.data(), &data);
            }
            None => {
                let refused = read(call(name, &shape, None, vec![]), of(&spec(data.datatype(), 1))).unwrap_err();
                prop_assert!(refused.contains("raw_input_contents"), "{}", refused);
            }
        }
    }

    #[test]
    fn no_bytes_break_the_reader(bytes in vec(any::<u8>(), 0..64), shape in vec(-3_i64..9, 0..3), kind in 0..DataType::ALL.len()) {
        let datatype = DataType::ALL[kind];
        let _ = read(call(datatype.name(), &shape, None, vec![bytes.into()]), of(&spec(datatype, shape.len())));
    }
}

#[test]
fn elements_belong_into_one_member() {
    let refused = |contents: InferTensorContents, part: &str| {
        let error =
            read(call("UINT8", &[1], Some(contents), vec![]), of(&spec(DataType::Uint8, 1))).unwrap_err();
        assert!(error.contains(part), "{error}");
    };
    let empty = InferTensorContents::default;
    refused(InferTensorContents { int_contents: vec![1], ..empty() }, "uint_contents");
    refused(
        InferTensorContents { uint_contents: vec![1], fp32_contents: vec![1.0], ..empty() },
        "fp32_contents",
    );
    refused(InferTensorContents { uint_contents: vec![256], ..empty() }, "256 is out of the range of UINT8");
    refused(InferTensorContents { uint_contents: vec![1, 2], ..empty() }, "needs 1 elements");
    refused(empty(), "needs 1 elements");
}

#[test]
fn either_all_inputs_are_raw_or_none() {
    let spec = spec(DataType::Uint8, 1);
    let one = || Bytes::from_static(&[1]);
    let some = InferTensorContents { uint_contents: vec![1], ..InferTensorContents::default() };
    assert!(read(call("UINT8", &[1], None, vec![one()]), of(&spec)).is_ok());
    assert!(read(call("UINT8", &[1], Some(some.clone()), vec![]), of(&spec)).is_ok());
    let error = read(call("UINT8", &[1], None, vec![one(), one()]), of(&spec)).unwrap_err();
    assert!(error.contains("2 entries"), "{error}");
    let error = read(call("UINT8", &[1], Some(some), vec![one()]), of(&spec)).unwrap_err();
    assert!(error.contains("both"), "{error}");
}
