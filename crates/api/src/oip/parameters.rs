//! The `parameters` of a call, of an input or of an output: strings, numbers and booleans by name.
//!
//! What would change the answer and is not offered is refused; other names have no meaning here and are passed over.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::{self, Formatter};

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Most parameters of a call, of an input or of an output.
const MOST: usize = 128;

/// Names that the protocol or its extensions keep for what is not offered here.
const RESERVED: [&str; 4] = ["sequence_id", "sequence_start", "sequence_end", "headers"];
/// Beginnings of such names.
const RESERVED_PREFIXES: [&str; 2] = ["triton_", "shared_memory_"];

/// Parameters by name.
#[derive(Debug, Default)]
pub struct Parameters(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Parameters {
    /// What is null is not given.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Parameters;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of parameters")
    }

    fn visit_unit<E: Error>(self) -> Result<Parameters, E> {
        Ok(Parameters::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Parameters, A::Error> {
        let mut given = BTreeMap::new();
        while let Some((name, Scalar(value))) = members.next_entry::<String, Scalar>()? {
            if given.len() == MOST {
                return Err(A::Error::custom(format_args!("there are more than {MOST} parameters")));
            }
            match given.entry(name) {
                Entry::Vacant(place) => place.insert(value),
                Entry::Occupied(twice) => {
                    return Err(A::Error::custom(format_args!(
                        "parameter \"{}\" is given twice",
                        twice.key()
                    )));
                }
            };
        }
        given.retain(|_, value| !value.is_null());
        Ok(Parameters(given))
    }
}

/// A value of a parameter. Of a list or an object nothing is kept but what it is: each of its items may take a hundred
/// times its place in the body.
struct Scalar(Value);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyScalar)
    }
}

struct AnyScalar;

impl<'de> Visitor<'de> for AnyScalar {
    type Value = Scalar;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string, a number or a boolean")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Scalar, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar(Value::Array(Vec::new())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Scalar, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar(Value::Object(serde_json::Map::new())))
    }
}

impl FromIterator<(String, Value)> for Parameters {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(parameters: I) -> Self {
        Self(parameters.into_iter().collect())
    }
}

impl Parameters {
    /// Refuses values of another kind than the protocol has, and reserved names.
    pub fn check(&self) -> Result<(), String> {
        for (name, value) in &self.0 {
            if !(value.is_string() || value.is_number() || value.is_boolean()) {
                return Err(format!("parameter \"{name}\" must be a string, a number or a boolean"));
            }
            if RESERVED.contains(&name.as_str())
                || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            {
                return Err(format!("parameter \"{name}\" is reserved and not supported"));
            }
        }
        Ok(())
    }

    /// A whole number that is not negative; none where it is not given.
    pub fn whole_number(&self, name: &str) -> Result<Option<u64>, String> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        value
            .as_u64()
            .map(Some)
            .ok_or_else(|| format!("parameter \"{name}\" must be a whole number, 0 or more"))
    }

    /// A whole number that is a size or a count in memory.
    pub fn size(&self, name: &str) -> Result<Option<usize>, String> {
        let number = self.whole_number(name)?;
        number
            .map(|size| usize::try_from(size).map_err(|_| format!("parameter \"{name}\" is too large")))
            .transpose()
    }

    /// True or false; none where it is not given.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, String> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| format!("parameter \"{name}\" must be true or false"))
    }
}
