//! The `data` of an input: nested or flat lists, read straight into a tensor's elements.

use std::fmt::{self, Display, Formatter};

use inference::{DataType, MAX_EXACT, TensorData};
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

use super::binary::MAX_TEXTS;
use crate::extract::TOO_LARGE;

/// Reads `count` elements. How deeply the lists are nested, and where, is not compared with the shape: row-major
/// order is all that counts.
pub fn read(text: &str, datatype: DataType, count: usize) -> Result<TensorData, String> {
    if datatype == DataType::Bytes && count > MAX_TEXTS {
        return Err(format!("\"shape\" has {count} elements of type BYTES; at most {MAX_TEXTS} are taken"));
    }
    Ok(match datatype {
        DataType::Bool => TensorData::Bool(elements(text, datatype, count)?),
        DataType::Uint8 => TensorData::Uint8(elements(text, datatype, count)?),
        DataType::Uint16 => TensorData::Uint16(elements(text, datatype, count)?),
        DataType::Uint32 => TensorData::Uint32(elements(text, datatype, count)?),
        DataType::Uint64 => TensorData::Uint64(elements(text, datatype, count)?),
        DataType::Int8 => TensorData::Int8(elements(text, datatype, count)?),
        DataType::Int16 => TensorData::Int16(elements(text, datatype, count)?),
        DataType::Int32 => TensorData::Int32(elements(text, datatype, count)?),
        DataType::Int64 => TensorData::Int64(elements(text, datatype, count)?),
        DataType::Fp32 => TensorData::Fp32(elements(text, datatype, count)?),
        DataType::Fp64 => TensorData::Fp64(elements(text, datatype, count)?),
        DataType::Bytes => TensorData::Bytes(elements(text, datatype, count)?),
        DataType::Fp16 | DataType::Bf16 => {
            return Err(format!("{datatype} cannot be given as JSON; use the binary data format"));
        }
    })
}

fn elements<T: Element>(text: &str, datatype: DataType, count: usize) -> Result<Vec<T>, String> {
    // An element and its comma take two bytes at least, so that a shape alone reserves no memory.
    let mut elements = Vec::with_capacity(count.min(text.len() / 2 + 1));
    let list = List { elements: &mut elements, datatype, count };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.deserialize_seq(list).map_err(|error| refusal::<T>(&error, datatype))?;
    if elements.len() == count {
        return Ok(elements);
    }
    Err(format!("\"shape\" needs {count} elements, but \"data\" has {}", elements.len()))
}

/// Why the list was not read. The JSON parser's own message for a number out of range does not name the bound.
fn refusal<T: Element>(error: &serde_json::Error, datatype: DataType) -> String {
    let message = error.to_string();
    match message.strip_prefix(TOO_LARGE) {
        Some(place) => format!("\"data\" holds a number that {}{place}", other_than::<T>(datatype)),
        None => format!("\"data\" {message}"),
    }
}

fn other_than<T: Element>(datatype: DataType) -> String {
    format!("is not a value of type {datatype} ({})", T::range())
}

/// What an element of JSON becomes, where it can.
trait Element: Sized {
    /// Its values, for people.
    fn range() -> String;

    fn from_bool(_: bool) -> Option<Self> {
        None
    }

    fn from_unsigned(_: u64) -> Option<Self> {
        None
    }

    fn from_signed(_: i64) -> Option<Self> {
        None
    }

    fn from_float(_: f64) -> Option<Self> {
        None
    }

    fn from_text(_: &str) -> Option<Self> {
        None
    }
}

macro_rules! integers {
    ($($integer:ty),+) => {$(
        impl Element for $integer {
            fn range() -> String {
                let spelling = match Self::BITS {
                    64 => format!("; beyond {MAX_EXACT} without a point or an exponent"),
                    _ => String::new(),
                };
                format!("a whole number from {} to {}{spelling}", Self::MIN, Self::MAX)
            }

            fn from_unsigned(value: u64) -> Option<Self> {
                Self::try_from(value).ok()
            }

            fn from_signed(value: i64) -> Option<Self> {
                Self::try_from(value).ok()
            }

            fn from_float(value: f64) -> Option<Self> {
                let is_exact = value.fract() == 0.0 && value.abs() < MAX_EXACT;
                is_exact.then_some(value as i64).and_then(|value| Self::try_from(value).ok())
            }
        }
    )+};
}

integers!(u8, u16, u32, u64, i8, i16, i32, i64);

macro_rules! floats {
    ($($float:ty),+) => {$(
        impl Element for $float {
            fn range() -> String {
                format!("a number from {:e} to {:e}", Self::MIN, Self::MAX)
            }

            fn from_unsigned(value: u64) -> Option<Self> {
                Some(value as Self)
            }

            fn from_signed(value: i64) -> Option<Self> {
                Some(value as Self)
            }

            fn from_float(value: f64) -> Option<Self> {
                Some(value as Self).filter(|value| value.is_finite())
            }
        }
    )+};
}

floats!(f32, f64);

impl Element for bool {
    fn range() -> String {
        "true or false".to_owned()
    }

    fn from_bool(value: bool) -> Option<Self> {
        Some(value)
    }
}

impl Element for Vec<u8> {
    fn range() -> String {
        "a string".to_owned()
    }

    fn from_text(value: &str) -> Option<Self> {
        Some(value.as_bytes().to_vec())
    }
}

/// A number as people write it: without hundreds of zeros.
struct Shown(f64);

impl Display for Shown {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        if self.0.abs() < MAX_EXACT {
            write!(formatter, "{}", self.0)
        } else {
            write!(formatter, "{:e}", self.0)
        }
    }
}

/// A list, or an element of one, whose elements go to the end of `elements`.
struct List<'a, T> {
    elements: &'a mut Vec<T>,
    datatype: DataType,
    count: usize,
}

impl<T: Element> List<'_, T> {
    fn push<E: Error>(self, given: impl Display, element: Option<T>) -> Result<(), E> {
        let Some(element) = element else {
            return Err(E::custom(format_args!("holds {given}, which {}", other_than::<T>(self.datatype))));
        };
        if self.elements.len() == self.count {
            return Err(E::custom(format_args!("has more than the {} elements of \"shape\"", self.count)));
        }
        self.elements.push(element);
        Ok(())
    }
}

impl<'de, T: Element> DeserializeSeed<'de> for List<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Element> Visitor<'de> for List<'_, T> {
    type Value = ();

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "a list of elements of type {}", self.datatype)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { elements, datatype, count } = self;
        while list.next_element_seed(List { elements: &mut *elements, datatype, count })?.is_some() {}
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.push("null", None)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.push(value, T::from_bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.push(value, T::from_unsigned(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.push(value, T::from_signed(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.push(Shown(value), T::from_float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.push("a string", T::from_text(value))
    }
}
