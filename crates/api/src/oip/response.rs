//! The answer to an inference call (Open Inference Protocol 2, REST): tensors to bytes, no HTTP.

use inference::{DataType, NamedTensor, TensorData};
use serde::{Serialize, Serializer, ser};

use super::binary;
use super::request::ASK_FOR_BINARY;

/// An output and whether it is said as binary data.
#[derive(Debug)]
pub struct Said<'a> {
    /// The output.
    pub output: &'a NamedTensor,
    /// Whether as binary data, after the JSON.
    pub binary: bool,
}

/// An answer as it is sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Rendered {
    /// JSON, then the outputs that are said as binary data, in their order.
    pub body: Vec<u8>,
    /// The length of the JSON; none where nothing follows it.
    pub json_length: Option<usize>,
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

impl<'a> From<&Said<'a>> for ResponseOutput<'a> {
    fn from(said: &Said<'a>) -> Self {
        let NamedTensor { name, tensor } = said.output;
        let data = tensor.data();
        let size = || BinaryParameters { binary_data_size: binary::written_size(data) };
        Self {
            name,
            shape: tensor.shape(),
            datatype: data.datatype(),
            parameters: said.binary.then(size),
            data: (!said.binary).then_some(Elements(data)),
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
    outputs: &[Said<'_>],
) -> Result<Rendered, String> {
    let response = Response {
        model_name,
        model_version,
        id,
        outputs: outputs.iter().map(ResponseOutput::from).collect(),
    };
    let mut body = Vec::with_capacity(written_size(outputs));
    serde_json::to_writer(&mut body, &response)
        .map_err(|error| format!("an output holds {error}, which JSON cannot carry; {ASK_FOR_BINARY}"))?;
    let json_length = outputs.iter().any(|said| said.binary).then_some(body.len());
    for said in outputs.iter().filter(|said| said.binary) {
        binary::write(said.output.tensor.data(), &mut body)?;
    }
    Ok(Rendered { body, json_length })
}

/// How long an answer becomes, about.
pub fn written_size(outputs: &[Said<'_>]) -> usize {
    /// Of a number or a text's quotation marks, with a comma.
    const CHARACTERS: usize = 8;
    /// Of an output's name, shape and what else stands around its data.
    const FRAME: usize = 256;
    let texts = |data: &TensorData| match data {
        TensorData::Bytes(texts) => texts.iter().map(Vec::len).sum(),
        _ => 0,
    };
    let size = |Said { output, binary }: &Said<'_>| {
        let data = output.tensor.data();
        FRAME + if *binary { binary::written_size(data) } else { data.len() * CHARACTERS + texts(data) }
    };
    outputs.iter().map(size).sum()
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
