//! The bounds of a message before it is decoded: how many parts it may have, whatever its size. A part that takes two bytes on
//! the wire takes a hundred in memory, and the decoder knows no bound.

/// Most inputs of a call, and most outputs that it may ask for.
const MAX_TENSORS: usize = 1024;
/// Most parameters of a call, those of its inputs and outputs included.
const MAX_PARAMETERS: usize = 1024;
/// Most dimensions of a tensor.
pub const MAX_RANK: usize = 32;
/// Most elements of type BYTES in `contents`, in all inputs of a call.
const MAX_TEXTS: usize = crate::oip::binary::MAX_TEXTS;

/// Most numbers of a length of their own in `contents`, in all inputs of a call: one that takes a byte on the wire takes eight in
/// memory, so these are 64 MiB at most. More go as `raw_input_contents`.
const MAX_NUMBERS: usize = 8 << 20;

/// A message with bounds of its own.
pub trait Bounded {
    /// Why the message is not decoded, if it is not.
    fn check(_message: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

/// A value on the wire.
enum Value<'a> {
    /// A number, of any kind.
    Number,
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
            0 => self.varint().map(|_| Value::Number)?,
            1 => self.take(8).map(|_| Value::Number)?,
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(usize::try_from(length).ok()?)?)
            }
            5 => self.take(4).map(|_| Value::Number)?,
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

/// Counts the parts of a `ModelInferRequest`.
pub fn check_infer_request(message: &[u8]) -> Result<(), String> {
    let mut tensors = Count::new(MAX_TENSORS, "inputs and outputs");
    let mut raw = Count::new(MAX_TENSORS, "entries in \"raw_input_contents\"");
    let mut parameters = Count::new(MAX_PARAMETERS, "parameters");
    let mut texts = Count::new(MAX_TEXTS, "elements of type BYTES");
    let mut numbers = Count::new(MAX_NUMBERS, "numbers in \"contents\"; send \"raw_input_contents\"");
    for field in Fields(message) {
        match field? {
            (4, _) => parameters.add(1)?,
            (5, Value::Bytes(input)) => {
                tensors.add(1)?;
                check_input(input, &mut parameters, &mut texts, &mut numbers)?;
            }
            (6, Value::Bytes(output)) => {
                tensors.add(1)?;
                for field in Fields(output) {
                    parameters.add(usize::from(field?.0 == 2))?;
                }
            }
            (7, _) => raw.add(1)?,
            _ => {}
        }
    }
    Ok(())
}

fn check_input(
    input: &[u8],
    parameters: &mut Count,
    texts: &mut Count,
    numbers: &mut Count,
) -> Result<(), String> {
    let mut dimensions = Count::new(MAX_RANK, "dimensions in \"shape\"");
    for field in Fields(input) {
        match field? {
            (3, Value::Number) => dimensions.add(1)?,
            (3, Value::Bytes(packed)) => dimensions.add(packed_numbers(packed))?,
            (4, _) => parameters.add(1)?,
            (5, Value::Bytes(contents)) => {
                for field in Fields(contents) {
                    match field? {
                        // The members of booleans and whole numbers; those of floats have one length.
                        (1..=5, Value::Number) => numbers.add(1)?,
                        (1..=5, Value::Bytes(packed)) => numbers.add(packed_numbers(packed))?,
                        (8, _) => texts.add(1)?,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
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
        assert_eq!(check_infer_request(&call(3, &many)), Ok(()));
        let one_more = [many.as_slice(), &[0]].concat();
        for member in 1..=5 {
            assert!(check_infer_request(&call(member, &one_more)).is_err(), "{member}");
        }
        let twice = [call(3, &many), call(5, &[1])].concat();
        assert!(check_infer_request(&twice).is_err(), "all inputs count together");
        // Floats take on the wire what they take in memory.
        assert_eq!(check_infer_request(&call(6, &one_more)), Ok(()));
    }
}
