//! Tensors as bytes (the protocol's `binary_tensor_data` extension): row-major, little-endian, nothing between the
//! elements. An element of type BOOL is one byte, 0 or 1; one of type BYTES is its length in four bytes, then itself.

use bytemuck::{Pod, cast_slice_mut};
use bytes::Bytes;
use inference::{DataType, Raw, TensorData};

#[cfg(not(target_endian = "little"))]
compile_error!(
    "numbers are copied as they lie in memory, which must be as the protocol has them: little-endian"
);

/// Bytes that the length of an element of type BYTES takes.
const LENGTH_SIZE: usize = size_of::<u32>();

/// Most elements of a tensor of type BYTES. Each is an allocation of its own, several times larger than the shortest
/// element that a call can hold.
pub const MAX_TEXTS: usize = 1 << 20;

/// How many bytes `count` elements take; none for BYTES, whose elements differ, and where it exceeds the address space.
pub const fn size(datatype: DataType, count: usize) -> Option<usize> {
    let element = match datatype {
        DataType::Bool | DataType::Uint8 | DataType::Int8 => 1,
        DataType::Uint16 | DataType::Int16 | DataType::Fp16 | DataType::Bf16 => 2,
        DataType::Uint32 | DataType::Int32 | DataType::Fp32 => 4,
        DataType::Uint64 | DataType::Int64 | DataType::Fp64 => 8,
        DataType::Bytes => return None,
    };
    count.checked_mul(element)
}

/// Reads exactly `count` elements, which must take all of `bytes`. They are copied once.
pub fn read(bytes: &[u8], datatype: DataType, count: usize) -> Result<TensorData, String> {
    if datatype == DataType::Bytes {
        return texts(bytes, count).map(TensorData::Bytes);
    }
    if size(datatype, count) != Some(bytes.len()) {
        let needed = size(datatype, count).map_or_else(|| "too many".to_owned(), |size| size.to_string());
        return Err(format!(
            "\"shape\" needs {count} elements of type {datatype}, {needed} bytes, but {} were given",
            bytes.len()
        ));
    }
    Ok(match datatype {
        DataType::Bool => TensorData::Bool(booleans(bytes)?),
        DataType::Uint8 => TensorData::Uint8(bytes.to_vec()),
        DataType::Uint16 => TensorData::Uint16(numbers(bytes, count)),
        DataType::Uint32 => TensorData::Uint32(numbers(bytes, count)),
        DataType::Uint64 => TensorData::Uint64(numbers(bytes, count)),
        DataType::Int8 => TensorData::Int8(numbers(bytes, count)),
        DataType::Int16 => TensorData::Int16(numbers(bytes, count)),
        DataType::Int32 => TensorData::Int32(numbers(bytes, count)),
        DataType::Int64 => TensorData::Int64(numbers(bytes, count)),
        DataType::Fp16 => TensorData::Fp16(numbers(bytes, count)),
        DataType::Bf16 => TensorData::Bf16(numbers(bytes, count)),
        DataType::Fp32 => TensorData::Fp32(numbers(bytes, count)),
        DataType::Fp64 => TensorData::Fp64(numbers(bytes, count)),
        DataType::Bytes => TensorData::Bytes(texts(bytes, count)?),
    })
}

fn numbers<T: Pod>(bytes: &[u8], count: usize) -> Vec<T> {
    let mut numbers = vec![T::zeroed(); count];
    cast_slice_mut::<T, u8>(&mut numbers).copy_from_slice(bytes);
    numbers
}

fn booleans(bytes: &[u8]) -> Result<Vec<bool>, String> {
    let boolean = |&byte: &u8| match byte {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(format!("an element of type BOOL is the byte {other}; it must be 0 or 1")),
    };
    bytes.iter().map(boolean).collect()
}

fn texts(mut bytes: &[u8], count: usize) -> Result<Vec<Vec<u8>>, String> {
    if count > MAX_TEXTS {
        return Err(format!("\"shape\" has {count} elements of type BYTES; at most {MAX_TEXTS} are taken"));
    }
    // A length takes four bytes, so that a shape alone reserves no memory.
    let mut texts = Vec::with_capacity(count.min(bytes.len() / LENGTH_SIZE));
    while texts.len() < count {
        let ends = || format!("the binary data ends within element {} of {count}", texts.len() + 1);
        let (length, rest) = bytes.split_first_chunk::<LENGTH_SIZE>().ok_or_else(ends)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| ends())?;
        let (text, rest) = rest.split_at_checked(length).ok_or_else(ends)?;
        texts.push(text.to_vec());
        bytes = rest;
    }
    if bytes.is_empty() {
        return Ok(texts);
    }
    Err(format!("{} bytes of the binary data are left after the {count} elements of \"shape\"", bytes.len()))
}

/// How many bytes a tensor takes.
pub fn written_size(data: &TensorData) -> usize {
    match data.raw() {
        Raw::Numbers(bytes) => bytes.len(),
        Raw::Texts(texts) => texts.iter().map(|text| LENGTH_SIZE + text.len()).sum(),
    }
}

/// Appends a tensor. Fails where an element of type BYTES is longer than its length can say.
pub fn write(data: &TensorData, body: &mut Vec<u8>) -> Result<(), String> {
    match data.raw() {
        Raw::Numbers(bytes) => body.extend_from_slice(bytes),
        Raw::Texts(texts) => {
            for text in texts {
                let length = u32::try_from(text.len())
                    .map_err(|_| "an element of type BYTES is longer than 4 GiB".to_owned())?;
                body.extend_from_slice(&length.to_le_bytes());
                body.extend_from_slice(text);
            }
        }
    }
    Ok(())
}

/// A tensor as bytes. Numbers are lent as they lie in memory, not copied. Fails as [`write`] does.
pub fn into_bytes(data: TensorData) -> Result<Bytes, String> {
    if let Raw::Numbers(_) = data.raw() {
        return Ok(Bytes::from_owner(LentNumbers(data)));
    }
    let mut bytes = Vec::with_capacity(written_size(&data));
    write(&data, &mut bytes)?;
    Ok(bytes.into())
}

/// A tensor of numbers that lives for as long as its bytes are in use.
struct LentNumbers(TensorData);

impl AsRef<[u8]> for LentNumbers {
    fn as_ref(&self) -> &[u8] {
        match self.0.raw() {
            Raw::Numbers(bytes) => bytes,
            Raw::Texts(_) => &[],
        }
    }
}

#[cfg(test)]
#[path = "binary_tests.rs"]
mod tests;
