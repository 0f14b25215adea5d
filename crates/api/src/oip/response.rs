//! The answer to an inference call (Open Inference Protocol 2, REST): tensors to bytes, no HTTP.

use std::borrow::Cow;

use bytes::Bytes;
use inference::{DataType, NamedTensor, TensorData};
use serde::{Serialize, Serializer, ser};

use super::binary;
use super::request::ASK_FOR_BINARY;
use crate::transport::bodies::SMALL;

/// An output and whether it is said as binary data.
#[derive(Debug)]
pub struct OutputTensor {
    /// The output.
    pub output: NamedTensor,
    /// Whether as binary data, after the JSON.
    pub binary: bool,
}

/// An answer as it is sent: JSON, then the outputs that are said as binary data, in their order.
#[derive(Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The JSON; of a small answer the binary data, too.
    pub body: Vec<u8>,
    /// The binary data of a large answer, which is sent as it lies in memory.
    pub lent: Vec<Bytes>,
    /// The length of the JSON; none where nothing follows it.
    pub json_length: Option<usize>,
}

impl Rendered {
    /// All of it in one piece; what is lent is copied.
    pub fn whole(&self) -> Cow<'_, [u8]> {
        if self.lent.is_empty() {
            return Cow::Borrowed(&self.body);
        }
        let parts = self.lent.iter().map(|part| &part[..]);
        Cow::Owned([&self.body[..]].into_iter().chain(parts).collect::<Vec<_>>().concat())
    }
}

#[derive(Serialize)]
struct Response<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<ResponseOutput<'a>>,
}

#[derive(Serialize)]
struct ResponseOutput<'a> {
    name: &'a str,
    shape: &'a [usize],
    datatype: DataType,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<BinaryParameters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Elements<'a>>,
}

#[derive(Serialize)]
struct BinaryParameters {
    binary_data_size: usize,
}

impl<'a> From<&'a OutputTensor> for ResponseOutput<'a> {
    fn from(output: &'a OutputTensor) -> Self {
        let NamedTensor { name, tensor } = &output.output;
        let data = tensor.data();
        let size = || BinaryParameters { binary_data_size: binary::written_size(data) };
        Self {
            name,
            shape: tensor.shape(),
            datatype: data.datatype(),
            parameters: output.binary.then(size),
            data: (!output.binary).then_some(Elements(data)),
        }
    }
}

/// Elements in one flat list. JSON has no word for what is not a finite number, so `null` stands for it.
struct Elements<'a>(&'a TensorData);

impl Serialize for Elements<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            TensorData::Bool(elements) => elements.serialize(serializer),
            TensorData::Uint8(elements) => elements.serialize(serializer),
            TensorData::Uint16(elements) => elements.serialize(serializer),
            TensorData::Uint32(elements) => elements.serialize(serializer),
            TensorData::Uint64(elements) => elements.serialize(serializer),
            TensorData::Int8(elements) => elements.serialize(serializer),
            TensorData::Int16(elements) => elements.serialize(serializer),
            TensorData::Int32(elements) => elements.serialize(serializer),
            TensorData::Int64(elements) => elements.serialize(serializer),
            TensorData::Fp32(elements) => elements.serialize(serializer),
            TensorData::Fp64(elements) => elements.serialize(serializer),
            TensorData::Bytes(elements) => {
                let texts: Result<Vec<_>, _> =
                    elements.iter().map(|bytes| std::str::from_utf8(bytes)).collect();
                texts.map_err(|_| ser::Error::custom("BYTES that are not UTF-8"))?.serialize(serializer)
            }
            TensorData::Fp16(_) => Err(ser::Error::custom("FP16")),
            TensorData::Bf16(_) => Err(ser::Error::custom("BF16")),
        }
    }
}

/// Writes the answer to an inference call. Fails, naming the reason, where an output cannot be said in JSON and is not
/// wanted as binary data: it has type FP16 or BF16, or holds bytes that are not UTF-8.
pub fn render(
    model_name: &str,
    model_version: &str,
    id: Option<&str>,
    outputs: Vec<OutputTensor>,
) -> Result<Rendered, String> {
    let response = Response {
        model_name,
        model_version,
        id,
        outputs: outputs.iter().map(ResponseOutput::from).collect(),
    };
    let size = |output: &OutputTensor| written_size(&output.output, output.binary);
    let is_small = outputs.iter().map(size).sum::<usize>() <= SMALL;
    let copied = outputs.iter().filter(|output| is_small || !output.binary);
    let mut body = Vec::with_capacity(copied.map(size).sum());
    serde_json::to_writer(&mut body, &response)
        .map_err(|error| format!("an output holds {error}, which JSON cannot carry; {ASK_FOR_BINARY}"))?;
    let json_length = outputs.iter().any(|output| output.binary).then_some(body.len());
    let mut lent = Vec::new();
    for OutputTensor { output, .. } in outputs.into_iter().filter(|output| output.binary) {
        if is_small {
            binary::write(output.tensor.data(), &mut body)?;
        } else {
            lent.push(binary::into_bytes(output.tensor.into_parts().1)?);
        }
    }
    Ok(Rendered { body, lent, json_length })
}

/// How long an output becomes in an answer, about.
pub fn written_size(output: &NamedTensor, binary: bool) -> usize {
    /// Of an output's name, shape and what else stands around its data.
    const FRAME: usize = 256;
    /// Of a number or a text's quotation marks, with a comma; and of a number of 64 bits.
    const CHARACTERS: usize = 12;
    const LONG: usize = 24;
    let written = |data: &TensorData| match data {
        TensorData::Bytes(texts) => texts.iter().map(|text| text.len() + CHARACTERS).sum(),
        TensorData::Fp64(_) | TensorData::Int64(_) | TensorData::Uint64(_) => data.len() * LONG,
        data => data.len() * CHARACTERS,
    };
    let data = output.tensor.data();
    FRAME + if binary { binary::written_size(data) } else { written(data) }
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
