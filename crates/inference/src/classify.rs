//! Pictures to labelled probabilities: what `[image]` and `[classification]` come to for one model.

use std::{path::Path, sync::Arc, time::Instant};

use bytes::Bytes;

use crate::{
    error::Error,
    image::IMAGE_DATATYPES,
    labels::{self, Prediction},
    manifest::{Classification, ImageInput, Layout, Manifest},
    model::{ClassifyResponse, InferRequest, Model, Ticket, Timing},
    tensor::{DataType, NamedTensor, Tensor, TensorData, TensorSpec},
};

/// Elements of one batch of pictures; what exceeds it runs in several batches. 16 Mi elements are 64 MiB of FP32.
const MAX_BATCH_ELEMENTS: usize = 16 << 20;

/// How one model classifies pictures.
pub(crate) struct Classifier {
    input: Arc<ImageInput>,
    datatype: DataType,
    /// Shape of one picture, without the batch dimension.
    shape: Vec<usize>,
    /// Pictures that may run at once.
    batch: usize,
    classification: Classification,
    labels: Option<Vec<String>>,
}

impl Classifier {
    /// None where the model does not classify pictures; the reason where its `model.toml` does not fit it.
    pub(crate) fn new(
        manifest: &Manifest,
        inputs: &[TensorSpec],
        outputs: &[TensorSpec],
        folder: &Path,
    ) -> Result<Option<Self>, String> {
        let (Some(input), Some(classification)) = (&manifest.image, &manifest.classification) else {
            return Ok(None);
        };
        let spec = picture_input(input, inputs)?;
        let shape = picture_shape(input);
        let most = (MAX_BATCH_ELEMENTS / shape.iter().product::<usize>()).max(1);
        let batch = if spec.shape[0] == 1 { 1 } else { most };
        let classes = class_count(classification, outputs)?;
        let labels =
            classification.labels.as_deref().map(|file| read_labels(folder, file, classes)).transpose()?;
        let (input, classification) = (Arc::new(input.clone()), classification.clone());
        Ok(Some(Self { input, datatype: spec.datatype, shape, batch, classification, labels }))
    }

    /// Names for the classes of this output.
    pub(crate) fn labels(&self, output: &str) -> Option<&[String]> {
        self.labels.as_deref().filter(|_| self.classification.output == output)
    }

    /// A tensor of one black picture, for the first run.
    pub(crate) fn sample(&self) -> Result<NamedTensor, Error> {
        let count = self.shape.iter().product();
        self.tensor(1, TensorData::zeros(self.datatype, count))
    }

    pub(crate) async fn classify(
        &self,
        model: &Model,
        images: Vec<Bytes>,
        top_k: Option<usize>,
        ticket: Ticket,
    ) -> Result<ClassifyResponse, Error> {
        let top_k = top_k.unwrap_or(self.classification.top_k);
        if top_k == 0 {
            return Err(Error::InvalidInput("top_k must be at least 1".to_owned()));
        }
        model.decoder.check(&images)?;
        let mut response =
            ClassifyResponse { results: Vec::with_capacity(images.len()), timing: Timing::default() };
        for batch in images.chunks(self.batch) {
            let started = Instant::now();
            let pictures = model.decoder.prepare(batch, &self.input, self.datatype, ticket).await?;
            response.timing.preprocess += started.elapsed();
            let inputs = vec![self.tensor(batch.len(), concatenate(pictures)?)?];
            let outputs = vec![self.classification.output.clone()];
            let answer = model.infer(InferRequest { inputs, outputs, ticket }).await?;
            response.timing.queue += answer.timing.queue;
            response.timing.compute += answer.timing.compute;
            response.results.extend(self.predictions(&answer.outputs, batch.len(), top_k)?);
        }
        Ok(response)
    }

    fn tensor(&self, pictures: usize, data: TensorData) -> Result<NamedTensor, Error> {
        let shape = [&[pictures], self.shape.as_slice()].concat();
        Ok(NamedTensor { name: self.input.input.clone(), tensor: Tensor::new(shape, data)? })
    }

    fn predictions(
        &self,
        outputs: &[NamedTensor],
        pictures: usize,
        top_k: usize,
    ) -> Result<Vec<Vec<Prediction>>, Error> {
        let output = &outputs.first().ok_or(Error::Runtime)?.tensor;
        let activation = self.classification.activation;
        let rows = labels::predictions(output, activation, self.labels.as_deref(), top_k)?;
        if rows.len() != pictures {
            tracing::error!(
                rows = rows.len(),
                pictures,
                "the model gave another number of rows than of pictures"
            );
            return Err(Error::Runtime);
        }
        Ok(rows)
    }
}

fn picture_shape(input: &ImageInput) -> Vec<usize> {
    let (width, height, channels) = (input.width as usize, input.height as usize, input.color.channels());
    match input.layout {
        Layout::Nchw => vec![channels, height, width],
        Layout::Nhwc => vec![height, width, channels],
        Layout::Flat => vec![height * width * channels],
    }
}

fn picture_input<'a>(input: &ImageInput, inputs: &'a [TensorSpec]) -> Result<&'a TensorSpec, String> {
    let [spec] = inputs else {
        return Err("[image] needs a model with exactly one input".to_owned());
    };
    if spec.name != input.input {
        return Err(format!(
            "[image] input is \"{}\", but the model's input is \"{}\"",
            input.input, spec.name
        ));
    }
    if !IMAGE_DATATYPES.contains(&spec.datatype) {
        return Err(format!("[image] cannot fill an input of datatype {}", spec.datatype));
    }
    let shape = picture_shape(input);
    let fits = spec.shape.len() == shape.len() + 1
        && matches!(spec.shape[0], -1 | 1)
        && spec.shape[1..]
            .iter()
            .zip(&shape)
            .all(|(&expected, &given)| expected < 0 || usize::try_from(expected).ok() == Some(given));
    if fits {
        return Ok(spec);
    }
    Err(format!(
        "[image] makes pictures of shape {shape:?}, but the model's input has shape {:?}",
        spec.shape
    ))
}

/// How many classes the output has, where the model says so.
fn class_count(classification: &Classification, outputs: &[TensorSpec]) -> Result<Option<usize>, String> {
    let name = &classification.output;
    let spec = outputs
        .iter()
        .find(|spec| spec.name == *name)
        .ok_or_else(|| format!("[classification] output is \"{name}\", which the model does not have"))?;
    if !matches!(spec.datatype, DataType::Fp32 | DataType::Fp64 | DataType::Fp16 | DataType::Bf16) {
        return Err(format!(
            "[classification] output \"{name}\" has datatype {}, not numbers",
            spec.datatype
        ));
    }
    if spec.shape.len() == 1 {
        return Err(format!(
            "[classification] output \"{name}\" has shape {:?}, not [batch, classes]",
            spec.shape
        ));
    }
    let known = spec.shape.iter().skip(1).map(|&dimension| usize::try_from(dimension).ok());
    Ok(known.product::<Option<usize>>().filter(|_| spec.shape.len() > 1))
}

fn read_labels(folder: &Path, file: &str, classes: Option<usize>) -> Result<Vec<String>, String> {
    if file.contains(['/', '\\']) || file.starts_with('.') {
        return Err("[classification] labels must be a file in the model's folder".to_owned());
    }
    let labels = labels::read(&folder.join(file))?;
    match classes {
        Some(classes) if classes != labels.len() => {
            Err(format!("the labels file has {} labels, but the model has {classes} classes", labels.len()))
        }
        _ => Ok(labels),
    }
}

fn concatenate(pictures: Vec<TensorData>) -> Result<TensorData, Error> {
    let mut pictures = pictures.into_iter();
    let mut whole = pictures.next().ok_or(Error::Runtime)?;
    for picture in pictures {
        match (&mut whole, picture) {
            (TensorData::Fp32(whole), TensorData::Fp32(picture)) => whole.extend(picture),
            (TensorData::Fp16(whole), TensorData::Fp16(picture)) => whole.extend(picture),
            (TensorData::Uint8(whole), TensorData::Uint8(picture)) => whole.extend(picture),
            _ => return Err(Error::Runtime),
        }
    }
    Ok(whole)
}
