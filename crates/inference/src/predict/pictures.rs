//! Pictures to the input of one model, as `[image]` says.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use half::f16;

use super::{Calls, Workplace, batch_size, find_input};
use crate::{
    error::Error,
    image::IMAGE_DATATYPES,
    manifest::{ImageInput, Layout},
    tensor::{DataType, NamedTensor, Tensor, TensorData, TensorSpec},
};

/// How one model takes pictures.
pub(crate) struct Pictures {
    input: Arc<ImageInput>,
    datatype: DataType,
    /// Shape of one picture, without the batch dimension.
    shape: Vec<usize>,
    /// Pictures that may run at once.
    batch: usize,
}

impl Pictures {
    /// The reason where `[image]` does not fit the model.
    pub(super) fn new(input: &ImageInput, inputs: &[TensorSpec]) -> Result<Self, String> {
        if inputs.len() != 1 {
            return Err("[image] needs a model with exactly one input".to_owned());
        }
        let spec = find_input(inputs, &input.input, &IMAGE_DATATYPES, "[image]")?;
        let shape = picture_shape(input);
        let batch = spec.shape.first().and_then(|&first| batch_size(first, shape.iter().product()));
        let fits = spec.shape.len() == shape.len() + 1
            && spec.shape[1..]
                .iter()
                .zip(&shape)
                .all(|(&expected, &given)| expected < 0 || usize::try_from(expected).ok() == Some(given));
        let batch = batch.filter(|_| fits).ok_or_else(|| {
            let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
            format!(
                "[image] makes batches of pictures, of shape [1, {0}] or [-1, {0}], but the model's input has shape {1:?}",
                sizes.join(", "),
                spec.shape
            )
        })?;
        if spec.datatype == DataType::Fp16 && !input.fits(f16::MAX.to_f32()) {
            return Err(
                "[image] scale, mean and std make a picture's values larger than FP16 can hold".to_owned()
            );
        }
        let mut input = input.clone();
        if spec.datatype == DataType::Uint8 {
            input.scale.get_or_insert(1.0);
        }
        Ok(Self { input: Arc::new(input), datatype: spec.datatype, shape, batch })
    }

    /// A tensor of one black picture, for the first run.
    pub(super) fn sample(&self) -> Result<NamedTensor, Error> {
        let count = self.shape.iter().product();
        self.tensor(1, TensorData::zeros(self.datatype, count))
    }

    pub(super) async fn predict<P: Workplace>(
        &self,
        calls: &mut Calls<'_, P>,
        images: &[Bytes],
    ) -> Result<(), Error> {
        let decoder = &calls.model.decoder;
        decoder.check(images)?;
        for batch in images.chunks(self.batch) {
            let started = Instant::now();
            // None of the types that pictures can fill has larger elements.
            let size = batch.len() * self.input.elements() * size_of::<f32>();
            calls.place.hold(calls.held.saturating_add(size))?;
            let values = decoder.prepare(batch, &self.input, self.datatype, calls.ticket).await?;
            calls.response.timing.preprocess += started.elapsed();
            calls.run(batch.len(), vec![self.tensor(batch.len(), values)?]).await?;
        }
        Ok(())
    }

    fn tensor(&self, pictures: usize, data: TensorData) -> Result<NamedTensor, Error> {
        let shape = [&[pictures], self.shape.as_slice()].concat();
        Ok(NamedTensor { name: self.input.input.clone(), tensor: Tensor::new(shape, data)? })
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
