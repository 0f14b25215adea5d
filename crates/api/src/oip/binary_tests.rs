//! What is written is read again; what is not exact is refused; nothing panics.
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use half::{bf16, f16};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Any tensor's elements. Numbers are made of bits, so that every value comes up, NaNs of all kinds too.
fn any_data() -> impl Strategy<Value = TensorData> {
    let size = 0..40_usize;
    prop_oneof![
        vec(any::<bool>(), size.clone()).prop_map(TensorData::Bool),
        vec(any::<u8>(), size.clone()).prop_map(TensorData::Uint8),
        vec(any::<u16>(), size.clone()).prop_map(TensorData::Uint16),
        vec(any::<u32>(), size.clone()).prop_map(TensorData::Uint32),
        vec(any::<u64>(), size.clone()).prop_map(TensorData::Uint64),
        vec(any::<i8>(), size.clone()).prop_map(TensorData::Int8),
        vec(any::<i16>(), size.clone()).prop_map(TensorData::Int16),
        vec(any::<i32>(), size.clone()).prop_map(TensorData::Int32),
        vec(any::<i64>(), size.clone()).prop_map(TensorData::Int64),
        vec(any::<u16>().prop_map(f16::from_bits), size.clone()).prop_map(TensorData::Fp16),
        vec(any::<u16>().prop_map(bf16::from_bits), size.clone()).prop_map(TensorData::Bf16),
        vec(any::<u32>().prop_map(f32::from_bits), size.clone()).prop_map(TensorData::Fp32),
        vec(any::<u64>().prop_map(f64::from_bits), size.clone()).prop_map(TensorData::Fp64),
        vec(vec(any::<u8>(), 0..20), size).prop_map(TensorData::Bytes),
    ]
}

fn written(data: &TensorData) -> Vec<u8> {
    let mut body = Vec::new();
    write(data, &mut body).unwrap();
    body
}

proptest! {
    #[test]
    fn what_is_written_is_read_again_bit_by_bit(data in any_data()) {
        let bytes = written(&data);
        prop_assert_eq!(&into_bytes(data.clone()).unwrap(), &bytes);
        prop_assert_eq!(bytes.len(), written_size(&data));
        let again = read(&bytes, data.datatype(), data.len()).unwrap();
        prop_assert_eq!(written(&again), bytes);
        prop_assert_eq!((again.datatype(), again.len()), (data.datatype(), data.len()));
    }

    #[test]
    fn one_byte_more_or_less_is_refused(data in any_data(), more in any::<u8>()) {
        let mut bytes = written(&data);
        bytes.push(more);
        prop_assert!(read(&bytes, data.datatype(), data.len()).is_err());
        if bytes.len() > 1 {
            prop_assert!(read(&bytes[..bytes.len() - 2], data.datatype(), data.len()).is_err());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..100), datatype in 0..DataType::ALL.len(),
                                     count in prop_oneof![0..60_usize, Just(usize::MAX), Just(usize::MAX / 2)]) {
        let datatype = DataType::ALL[datatype];
        if let Ok(data) = read(&bytes, datatype, count) {
            prop_assert_eq!((written(&data), data.len()), (bytes, count));
        }
    }
}

#[test]
fn the_bytes_are_those_of_the_protocol() {
    assert_eq!(written(&TensorData::Int32(vec![1, -2])), [1, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff]);
    assert_eq!(written(&TensorData::Fp32(vec![1.0])), [0, 0, 0x80, 0x3f]);
    assert_eq!(written(&TensorData::Fp16(vec![f16::ONE])), [0, 0x3c]);
    assert_eq!(written(&TensorData::Bf16(vec![bf16::ONE])), [0x80, 0x3f]);
    assert_eq!(written(&TensorData::Bool(vec![true, false])), [1, 0]);
    assert_eq!(written(&TensorData::Bytes(vec![b"ab".to_vec(), vec![]])), *b"\x02\0\0\0ab\0\0\0\0");
}

#[test]
fn refusals_say_what_is_wrong() {
    let refusal = |bytes: &[u8], datatype, count| read(bytes, datatype, count).unwrap_err();
    assert!(refusal(&[2], DataType::Bool, 1).contains("the byte 2"));
    assert!(refusal(&[0; 3], DataType::Fp32, 1).contains("4 bytes, but 3 were given"));
    assert!(refusal(&[0xff; 8], DataType::Bytes, 1).contains("ends within element 1 of 1"));
    assert!(refusal(&[0; 5], DataType::Bytes, 1).contains("1 bytes of the binary data are left"));
    assert!(refusal(&[], DataType::Bytes, MAX_TEXTS + 1).contains("at most 1048576"));
}
