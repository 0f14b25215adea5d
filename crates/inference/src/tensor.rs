//! Tensors as the Open Inference Protocol names them, and the check of a call against a model's inputs.

use std::{collections::HashMap, str::FromStr};

use bytemuck::cast_slice;
use half::{bf16, f16};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::named::named_enum;

/// Declares [`DataType`] and [`TensorData`] from one table: variant, element type, name in the protocol.
macro_rules! datatypes {
    ($($variant:ident($element:ty) = $name:literal),+ $(,)?) => {
        named_enum! {
            /// The type of a tensor's elements. Names are the protocol's, such as `FP32`, and case-sensitive.
            #[derive(Serialize, Deserialize)]
            pub enum DataType {
                $(#[doc = concat!("`", $name, "`")] #[serde(rename = $name)] $variant = $name,)+
            }
        }

        /// The elements of a tensor in row-major order.
        #[derive(Debug, Clone, PartialEq)]
        pub enum TensorData {
            $(#[doc = concat!("Elements of a `", $name, "` tensor.")] $variant(Vec<$element>),)+
        }

        impl TensorData {
            /// The type of the elements.
            pub const fn datatype(&self) -> DataType {
                match self { $(Self::$variant(_) => DataType::$variant,)+ }
            }

            /// How many elements there are.
            pub fn len(&self) -> usize {
                match self { $(Self::$variant(elements) => elements.len(),)+ }
            }

            /// `count` elements that are zero, false or empty.
            pub fn zeros(datatype: DataType, count: usize) -> Self {
                match datatype { $(DataType::$variant => Self::$variant(vec![Default::default(); count]),)+ }
            }

            /// The elements at these places, which there are, in this order.
            pub(crate) fn picked(&self, places: &[usize]) -> Self {
                match self {
                    $(Self::$variant(elements) => {
                        Self::$variant(places.iter().map(|&place| elements[place].clone()).collect())
                    })+
                }
            }

            /// The elements of all parts, one after the other; none where their types differ or there is no part.
            pub(crate) fn joined(parts: &[&Self]) -> Option<Self> {
                match parts.first()? {
                    $(Self::$variant(_) => {
                        let elements = |part: &&Self| match part { Self::$variant(part) => Some(part.len()), _ => None };
                        let mut whole = Vec::with_capacity(parts.iter().map(elements).sum::<Option<usize>>()?);
                        for part in parts {
                            let Self::$variant(part) = part else { return None };
                            whole.extend_from_slice(part);
                        }
                        Some(Self::$variant(whole))
                    })+
                }
            }

            /// Portions of these sizes; none where there are too few elements for them.
            fn portions(self, counts: impl Iterator<Item = usize>) -> Option<Vec<Self>> {
                match self {
                    $(Self::$variant(elements) => {
                        let mut rest = elements.into_iter();
                        let mut portion = |count| {
                            let portion: Vec<$element> = rest.by_ref().take(count).collect();
                            (portion.len() == count).then_some(Self::$variant(portion))
                        };
                        counts.map(&mut portion).collect()
                    })+
                }
            }

            /// Bytes that the elements take; of texts their characters too.
            pub fn size(&self) -> usize {
                let texts = match self { Self::Bytes(texts) => texts.iter().map(Vec::len).sum(), _ => 0 };
                match self { $(Self::$variant(elements) => elements.len() * size_of::<$element>() + texts,)+ }
            }
        }
    };
}

datatypes! {
    Bool(bool) = "BOOL",
    Uint8(u8) = "UINT8",
    Uint16(u16) = "UINT16",
    Uint32(u32) = "UINT32",
    Uint64(u64) = "UINT64",
    Int8(i8) = "INT8",
    Int16(i16) = "INT16",
    Int32(i32) = "INT32",
    Int64(i64) = "INT64",
    Fp16(f16) = "FP16",
    Bf16(bf16) = "BF16",
    Fp32(f32) = "FP32",
    Fp64(f64) = "FP64",
    Bytes(Vec<u8>) = "BYTES",
}

impl TensorData {
    /// Whether there are no elements, which is a valid tensor.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as they lie in memory.
    pub fn raw(&self) -> Raw<'_> {
        Raw::Numbers(match self {
            Self::Bool(elements) => cast_slice(elements),
            Self::Uint8(elements) => elements,
            Self::Uint16(elements) => cast_slice(elements),
            Self::Uint32(elements) => cast_slice(elements),
            Self::Uint64(elements) => cast_slice(elements),
            Self::Int8(elements) => cast_slice(elements),
            Self::Int16(elements) => cast_slice(elements),
            Self::Int32(elements) => cast_slice(elements),
            Self::Int64(elements) => cast_slice(elements),
            Self::Fp16(elements) => cast_slice(elements),
            Self::Bf16(elements) => cast_slice(elements),
            Self::Fp32(elements) => cast_slice(elements),
            Self::Fp64(elements) => cast_slice(elements),
            Self::Bytes(texts) => return Raw::Texts(texts),
        })
    }
}

/// Elements as they lie in memory.
#[derive(Debug, Clone, Copy)]
pub enum Raw<'a> {
    /// The bytes of all of them, in the machine's order; one byte, 0 or 1, for a BOOL.
    Numbers(&'a [u8]),
    /// Of a BYTES tensor; each lies somewhere else.
    Texts(&'a [Vec<u8>]),
}

impl DataType {
    /// Whether the elements are floating-point numbers.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::Fp16 | Self::Bf16 | Self::Fp32 | Self::Fp64)
    }
}

impl FromStr for DataType {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.iter().copied().find(|datatype| datatype.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|datatype| datatype.name()).collect();
            Error::InvalidInput(format!("unknown datatype \"{name}\"; use one of {}", names.join(", ")))
        })
    }
}

/// The product of the dimensions, or none where it exceeds the address space.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |count, &dimension| count.checked_mul(dimension))
}

/// Elements and their shape, which always agree.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: TensorData,
}

impl Tensor {
    /// A tensor of `shape`; [`Error::InvalidInput`] where the shape asks for another number of elements.
    pub fn new(shape: Vec<usize>, data: TensorData) -> Result<Self, Error> {
        match element_count(&shape) {
            Some(count) if count == data.len() => Ok(Self { shape, data }),
            Some(count) => Err(Error::InvalidInput(format!(
                "shape {shape:?} needs {count} elements, but {} were given",
                data.len()
            ))),
            None => Err(Error::InvalidInput(format!("shape {shape:?} is too large"))),
        }
    }

    /// The dimensions, outermost first; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements in row-major order.
    pub fn data(&self) -> &TensorData {
        &self.data
    }

    /// The first dimension; 1 for a scalar.
    pub(crate) fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// The dimensions after the first.
    pub(crate) fn row_shape(&self) -> &[usize] {
        self.shape.get(1..).unwrap_or_default()
    }

    /// The parts one under the other, along the first dimension; none where types or other dimensions differ.
    pub(crate) fn joined(parts: &[&Self]) -> Option<Self> {
        let (_, row) = parts.first()?.shape.split_first()?;
        let alike = |part: &&Self| part.shape.split_first().is_some_and(|(_, other)| other == row);
        if !parts.iter().all(alike) {
            return None;
        }
        let rows = parts.iter().map(|part| part.rows()).try_fold(0_usize, usize::checked_add)?;
        let data: Vec<_> = parts.iter().map(|part| &part.data).collect();
        Self::new([&[rows], row].concat(), TensorData::joined(&data)?).ok()
    }

    /// Parts of so many rows each; none where these are not all of its rows.
    pub(crate) fn cut(self, rows: &[usize]) -> Option<Vec<Self>> {
        if self.shape.first() != Some(&rows.iter().sum()) {
            return None;
        }
        let row = self.row_shape().to_vec();
        let count: usize = row.iter().product();
        let portions = self.data.portions(rows.iter().map(|rows| rows * count))?;
        let part =
            |(data, &rows): (TensorData, &usize)| Self::new([&[rows], row.as_slice()].concat(), data).ok();
        portions.into_iter().zip(rows).map(part).collect()
    }

    /// Takes the tensor apart without copying.
    pub fn into_parts(self) -> (Vec<usize>, TensorData) {
        (self.shape, self.data)
    }
}

/// A tensor and the input or output it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Name of the input or output.
    pub name: String,
    /// Its value.
    pub tensor: Tensor,
}

/// What a model expects of an input or promises of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name of the input or output.
    pub name: String,
    /// Type of its elements.
    pub datatype: DataType,
    /// Dimensions; -1 is variable.
    pub shape: Vec<i64>,
    /// The model's names for its variable dimensions, in the places of `shape`; empty where it has none.
    /// Dimensions of one name must agree within a call.
    pub symbols: Vec<String>,
    /// Whether it may have any number of dimensions; then `shape` is `[-1]`.
    pub any_rank: bool,
}

impl TensorSpec {
    /// Whether a call chooses the first dimension: how many rows it has.
    pub fn has_open_rows(&self) -> bool {
        self.shape.first() == Some(&-1)
    }

    /// This name and type where the model does not say how many dimensions there are.
    pub(crate) fn of_any_rank(self) -> Self {
        Self { shape: vec![-1], symbols: Vec::new(), any_rank: true, ..self }
    }

    /// The input of this name; [`Error::InvalidInput`], naming those there are, where there is none.
    pub fn input<'a>(specs: &'a [Self], name: &str) -> Result<&'a Self, Error> {
        specs.iter().find(|spec| spec.name == name).ok_or_else(|| unknown("input", name, specs))
    }

    /// Whether the model takes this type and shape here; [`Error::InvalidInput`] where not.
    pub fn accept(&self, datatype: DataType, shape: &[usize]) -> Result<(), Error> {
        if datatype != self.datatype {
            return Err(Error::InvalidInput(format!(
                "input \"{}\" has datatype {datatype}, but the model expects {}",
                self.name, self.datatype
            )));
        }
        let fits =
            |(&given, &expected): (&usize, &i64)| expected < 0 || usize::try_from(expected) == Ok(given);
        if self.any_rank || shape.len() == self.shape.len() && shape.iter().zip(&self.shape).all(fits) {
            return Ok(());
        }
        Err(Error::InvalidInput(format!(
            "input \"{}\" has shape {shape:?}, but the model expects {:?} (-1: any size)",
            self.name, self.shape
        )))
    }
}

/// Checks a call's inputs against the model's, so that a wrong call is refused before it waits in a queue:
/// every input once, none unknown, datatype and shape as declared, dimensions of one name alike. Gives them in the
/// model's order.
pub(crate) fn check_inputs(specs: &[TensorSpec], inputs: Vec<NamedTensor>) -> Result<Vec<Tensor>, Error> {
    let mut given: Vec<Option<Tensor>> = specs.iter().map(|_| None).collect();
    for input in inputs {
        let place = specs.iter().position(|spec| spec.name == input.name);
        let place = place.ok_or_else(|| unknown("input", &input.name, specs))?;
        if given[place].replace(input.tensor).is_some() {
            return Err(Error::InvalidInput(format!("input \"{}\" is given twice", input.name)));
        }
    }
    let missing = |spec: &TensorSpec| Error::InvalidInput(format!("input \"{}\" is missing", spec.name));
    let given = given.into_iter().zip(specs).map(|(tensor, spec)| tensor.ok_or_else(|| missing(spec)));
    let given = given.collect::<Result<Vec<_>, _>>()?;
    for (tensor, spec) in given.iter().zip(specs) {
        spec.accept(tensor.data.datatype(), &tensor.shape)?;
    }
    check_symbols(specs, &given)?;
    Ok(given)
}

/// Dimensions of one name agree.
fn check_symbols(specs: &[TensorSpec], inputs: &[Tensor]) -> Result<(), Error> {
    let mut sizes: HashMap<&str, usize> = HashMap::new();
    for (spec, tensor) in specs.iter().zip(inputs) {
        let named = spec.symbols.iter().zip(tensor.shape()).filter(|(symbol, _)| !symbol.is_empty());
        for (symbol, &size) in named {
            let first = *sizes.entry(symbol).or_insert(size);
            if first != size {
                return Err(Error::InvalidInput(format!(
                    "dimension \"{symbol}\" is {first} in one input and {size} in input \"{}\"; they must agree",
                    spec.name
                )));
            }
        }
    }
    Ok(())
}

/// The indices of the requested outputs, of all where none is named. Refuses an unknown name and one given twice.
pub(crate) fn check_outputs(specs: &[TensorSpec], outputs: &[String]) -> Result<Vec<usize>, Error> {
    if outputs.is_empty() {
        return Ok((0..specs.len()).collect());
    }
    let mut places = Vec::with_capacity(outputs.len());
    for output in outputs {
        let place = specs.iter().position(|spec| spec.name == *output);
        let place = place.ok_or_else(|| unknown("output", output, specs))?;
        if places.contains(&place) {
            return Err(Error::InvalidInput(format!("output \"{output}\" is asked for twice")));
        }
        places.push(place);
    }
    Ok(places)
}

fn unknown(kind: &str, name: &str, specs: &[TensorSpec]) -> Error {
    let names: Vec<_> = specs.iter().map(|spec| format!("\"{}\"", spec.name)).collect();
    Error::InvalidInput(format!("the model has no {kind} \"{name}\"; it has {}", names.join(", ")))
}
