//! The bounds of a message before it is decoded: how many parts it may have, whatever its size, and what its elements
//! will take. A part that takes two bytes on the wire takes a hundred in memory, and the decoder knows no bound.

use crate::oip::request::{MAX_RANK, MAX_TENSORS};

/// Most parameters of a call, those of its inputs and outputs included.
const MAX_PARAMETERS: usize = 1024;
/// Most elements of type BYTES in `contents`, in all inputs of a call.
const MAX_TEXTS: usize = crate::oip::binary::MAX_TEXTS;

/// Most numbers of a length of their own in `contents`, in all inputs of a call: one that takes a byte on the wire
/// takes eight in memory, so these are 64 MiB at most. More go as `raw_input_contents`.
const MAX_NUMBERS: usize = 8 << 20;

/// Bytes that an element of type BYTES takes in memory beside its content: where it lies, and what the allocator adds.
const TEXT: usize = 64;

/// A message with bounds of its own.
pub trait Bounded {
    /// How many bytes it takes when it is decoded, beside those that it came in; or why it is not decoded.
    fn grown(_message: &[u8]) -> Result<usize, String> {
        Ok(0)
    }
}

/// A value on the wire.
enum Value<'a> {
    /// A number, of any kind; how many bytes it took.
    Number(usize),
    /// A text, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
}

/// The fields of a message, by their numbers.
struct Fields<'a>(&'a [u8]);

const MALFORMED: &str = "the message is not one of Protocol Buffers";

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => {
                let before = self.0.len();
                self.varint()?;
                Value::Number(before - self.0.len())
            }
            1 => Value::Number(self.take(8)?.len()),
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(usize::try_from(length).ok()?)?)
            }
            5 => Value::Number(self.take(4)?.len()),
            // Groups: none of our messages has any, and they could be nested without end.
            _ => return None,
        };
        Some((tag >> 3, value))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or_else(|| MALFORMED.to_owned()))
    }
}

/// How many of one kind there may be.
struct Count {
    left: usize,
    limit: usize,
    what: &'static str,
}

impl Count {
    fn new(limit: usize, what: &'static str) -> Self {
        Self { left: limit, limit, what }
    }

    fn add(&mut self, more: usize) -> Result<(), String> {
        self.left = self
            .left
            .checked_sub(more)
            .ok_or_else(|| format!("there are more than {} {}", self.limit, self.what))?;
        Ok(())
    }
}

/// What is counted in all inputs of a call together.
struct Elements {
    parameters: Count,
    texts: Count,
    numbers: Count,
    /// Bytes that they take when they are decoded.
    bytes: usize,
}

/// Counts the parts of a `ModelInferRequest`, and what the elements in its `contents` take when they are decoded.
pub fn check_infer_request(message: &[u8]) -> Result<usize, String> {
    let mut tensors = Count::new(MAX_TENSORS, "inputs and outputs");
    let mut raw = Count::new(MAX_TENSORS, "entries in \"raw_input_contents\"");
    let mut elements = Elements {
        parameters: Count::new(MAX_PARAMETERS, "parameters"),
        texts: Count::new(MAX_TEXTS, "elements of type BYTES"),
        numbers: Count::new(MAX_NUMBERS, "numbers in \"contents\"; send \"raw_input_contents\""),
        bytes: 0,
    };
    for field in Fields(message) {
        match field? {
            (4, _) => elements.parameters.add(1)?,
            (5, Value::Bytes(input)) => {
                tensors.add(1)?;
                check_input(input, &mut elements)?;
            }
            (6, Value::Bytes(output)) => {
                tensors.add(1)?;
                for field in Fields(output) {
                    elements.parameters.add(usize::from(field?.0 == 2))?;
                }
            }
            (7, _) => raw.add(1)?,
            _ => {}
        }
    }
    Ok(elements.bytes)
}

fn check_input(input: &[u8], elements: &mut Elements) -> Result<(), String> {
    let mut dimensions = Count::new(MAX_RANK, "dimensions in \"shape\"");
    for field in Fields(input) {
        match field? {
            (3, Value::Number(_)) => dimensions.add(1)?,
            (3, Value::Bytes(packed)) => dimensions.add(packed_numbers(packed))?,
            (4, _) => elements.parameters.add(1)?,
            (5, Value::Bytes(contents)) => {
                for field in Fields(contents) {
                    let (member, value) = field?;
                    elements.add(member, &value)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

impl Elements {
    /// Counts a field of `InferTensorContents`.
    fn add(&mut self, member: u64, value: &Value<'_>) -> Result<(), String> {
        let bytes = match (member, value) {
            // Booleans and whole numbers, as long on the wire as they are large.
            (1..=5, value) => {
                let count = match value {
                    Value::Number(_) => 1,
                    Value::Bytes(packed) => packed_numbers(packed),
                };
                self.numbers.add(count)?;
                count * size_of_number(member)
            }
            // Floats have one length, here and there.
            (6 | 7, Value::Number(bytes)) => *bytes,
            (6 | 7, Value::Bytes(packed)) => packed.len(),
            (8, value) => {
                self.texts.add(1)?;
                TEXT + if let Value::Bytes(text) = value { text.len() } else { 0 }
            }
            _ => 0,
        };
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }
}

/// Bytes in memory of a number of `bool_contents`, `int_contents`, `int64_contents`, `uint_contents`,
/// `uint64_contents`.
const fn size_of_number(member: u64) -> usize {
    match member {
        1 => size_of::<bool>(),
        2 | 4 => size_of::<u32>(),
        _ => size_of::<u64>(),
    }
}

/// How many numbers are packed here: the last byte of each has no continuation bit.
fn packed_numbers(packed: &[u8]) -> usize {
    packed.iter().filter(|byte| **byte < 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of bytes: its number, its length, its content.
    fn bytes(field: u8, content: &[u8]) -> Vec<u8> {
        let mut length = content.len();
        let mut encoded = vec![field << 3 | 2];
        while length >= 0x80 {
            encoded.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        encoded.push(length as u8);
        [encoded, content.to_vec()].concat()
    }

    fn call(member: u8, packed: &[u8]) -> Vec<u8> {
        bytes(5, &bytes(5, &bytes(member, packed)))
    }

    #[test]
    fn numbers_that_grow_in_memory_are_counted_before_they_are_decoded() {
        let many = vec![0; MAX_NUMBERS];
        assert_eq!(check_infer_request(&call(3, &many)), Ok(8 * MAX_NUMBERS));
        let one_more = [many.as_slice(), &[0]].concat();
        for member in 1..=5 {
            assert!(check_infer_request(&call(member, &one_more)).is_err(), "{member}");
        }
        let twice = [call(3, &many), call(5, &[1])].concat();
        assert!(check_infer_request(&twice).is_err(), "all inputs count together");
        // Floats take on the wire what they take in memory.
        assert_eq!(check_infer_request(&call(6, &one_more)), Ok(one_more.len()));
    }

    #[test]
    fn elements_are_counted_by_what_they_take_when_they_are_decoded() {
        for (member, packed, bytes) in
            [(1, [1; 8], 8), (2, [0xff, 1, 0, 0, 0, 0, 0, 0], 28), (4, [0; 8], 32), (5, [0; 8], 64)]
        {
            assert_eq!(check_infer_request(&call(member, &packed)), Ok(bytes), "{member}");
        }
        // One by one they are as large: a tag and a number in two bytes.
        assert_eq!(check_infer_request(&bytes(5, &bytes(5, &[3 << 3, 0, 3 << 3, 0]))), Ok(16));
        assert_eq!(check_infer_request(&bytes(5, &bytes(5, &[6 << 3 | 5, 0, 0, 0, 0]))), Ok(4));
        assert_eq!(check_infer_request(&call(8, b"text")), Ok(TEXT + 4));
        let raw = bytes(7, &[0; 1000]);
        assert_eq!(check_infer_request(&[call(3, &[0; 4]), raw, call(8, b"")].concat()), Ok(32 + TEXT));
    }
}
