//! Finds the large constants of an ONNX file, so that the sessions of one model can share them. Reads just enough of
//! the protobuf encoding for that; what it does not understand it leaves to the runtime.

/// Constants smaller than this are not worth sharing, and the runtime computes with some of them while it loads.
const SMALLEST: usize = 4096;
/// Most constants that are looked at.
const MOST: usize = 100_000;

/// A constant whose elements lie in the file as little-endian bytes.
#[derive(Debug, PartialEq)]
pub(super) struct Initializer<'a> {
    pub(super) name: &'a str,
    /// The number of its element type in the format.
    pub(super) element: u64,
    pub(super) shape: Vec<i64>,
    pub(super) bytes: &'a [u8],
}

/// A field of a message: its number and its value.
enum Field<'a> {
    Number(u64, u64),
    Bytes(u64, &'a [u8]),
    Other,
}

/// The fields of a message; ends where it is malformed.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let key = self.varint()?;
        let number = key >> 3;
        Some(match key & 7 {
            0 => Field::Number(number, self.varint()?),
            1 => self.bytes(8).map(|_| Field::Other)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(number, self.bytes(length)?)
            }
            5 => self.bytes(4).map(|_| Field::Other)?,
            _ => return None,
        })
    }
}

/// The constants of a model that several sessions may share.
pub(super) fn large(model: &[u8]) -> Vec<Initializer<'_>> {
    /// Numbers of fields in `ModelProto` and `GraphProto`.
    const GRAPH: u64 = 7;
    const INITIALIZER: u64 = 5;
    const INPUT: u64 = 11;
    const NAME_OF_INPUT: u64 = 1;
    let graph = Fields(model).filter_map(|field| match field {
        Field::Bytes(GRAPH, graph) => Some(graph),
        _ => None,
    });
    let Some(graph) = graph.last() else { return Vec::new() };
    let mut found = Vec::new();
    let mut inputs = Vec::new();
    for field in Fields(graph) {
        match field {
            Field::Bytes(INITIALIZER, tensor) if found.len() < MOST => found.extend(initializer(tensor)),
            Field::Bytes(INPUT, input) => inputs.extend(Fields(input).find_map(|field| match field {
                Field::Bytes(NAME_OF_INPUT, name) => std::str::from_utf8(name).ok(),
                _ => None,
            })),
            _ => {}
        }
    }
    // A constant that is an input as well may be replaced by a call.
    found.retain(|initializer| !inputs.contains(&initializer.name));
    found
}

/// A `TensorProto`.
fn initializer(tensor: &[u8]) -> Option<Initializer<'_>> {
    const DIMENSION: u64 = 1;
    const ELEMENT: u64 = 2;
    const NAME: u64 = 8;
    const RAW: u64 = 9;
    const LOCATION: u64 = 14;
    let mut initializer = Initializer { name: "", element: 0, shape: Vec::new(), bytes: &[] };
    let mut inside = true;
    for field in Fields(tensor) {
        match field {
            Field::Number(DIMENSION, size) => initializer.shape.push(i64::try_from(size).ok()?),
            Field::Bytes(DIMENSION, packed) => {
                let mut packed = Fields(packed);
                while let Some(size) = packed.varint() {
                    initializer.shape.push(i64::try_from(size).ok()?);
                }
            }
            Field::Number(ELEMENT, element) => initializer.element = element,
            Field::Bytes(NAME, name) => initializer.name = std::str::from_utf8(name).ok()?,
            Field::Bytes(RAW, bytes) => initializer.bytes = bytes,
            Field::Number(LOCATION, location) => inside = location == 0,
            _ => {}
        }
    }
    let worth = inside && !initializer.name.is_empty() && initializer.bytes.len() >= SMALLEST;
    worth.then_some(initializer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut length = content.len();
        let mut bytes = vec![number << 3 | 2];
        while length >= 0x80 {
            bytes.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        [bytes, content.to_vec()].concat()
    }

    fn model(name: &str, bytes: &[u8], input: &str) -> Vec<u8> {
        let tensor =
            [vec![1 << 3, 2, 2 << 3, 1], field(1, &[3, 4]), field(8, name.as_bytes()), field(9, bytes)];
        let graph = [field(5, &tensor.concat()), field(11, &field(1, input.as_bytes()))];
        field(7, &graph.concat())
    }

    #[test]
    fn large_constants_are_found_and_inputs_are_none() {
        let bytes = vec![7; SMALLEST];
        let expected = Initializer { name: "w", element: 1, shape: vec![2, 3, 4], bytes: &bytes };
        assert_eq!(large(&model("w", &bytes, "x")), [expected]);
        assert_eq!(large(&model("x", &bytes, "x")), []);
        assert_eq!(large(&model("w", &bytes[1..], "x")), []);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_fail(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            cut in 0..SMALLEST + 60,
            flip in 0_usize..60,
            value: u8,
        ) {
            large(&bytes);
            let mut whole = model("w", &vec![7; SMALLEST], "x");
            whole[flip] = value;
            large(&whole);
            large(&whole[..cut.min(whole.len())]);
        }
    }
}
