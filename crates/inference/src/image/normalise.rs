//! Pixels to the numbers that a model was trained on.

use half::f16;

use super::Pixels;
use crate::{
    error::Error,
    manifest::{Color, ImageInput, Layout},
    tensor::{DataType, TensorData},
};

/// Types of an input that pictures can be turned into.
pub(crate) const IMAGE_DATATYPES: [DataType; 3] = [DataType::Fp32, DataType::Fp16, DataType::Uint8];

/// Writes a picture into its place among the values of a batch.
pub(crate) fn write(
    pixels: &Pixels,
    input: &ImageInput,
    values: &mut TensorData,
    place: usize,
) -> Result<(), Error> {
    match values {
        TensorData::Fp32(values) => arrange(pixels, input, slot(values, input, place)?, |value| value),
        TensorData::Fp16(values) => arrange(pixels, input, slot(values, input, place)?, f16::from_f32),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the cast saturates, as meant"
        )]
        TensorData::Uint8(values) => {
            arrange(pixels, input, slot(values, input, place)?, |value| value.round() as u8);
        }
        other => {
            let datatype = other.datatype();
            let message = format!("pictures cannot be given to an input of datatype {datatype}");
            return Err(Error::InvalidInput(message));
        }
    }
    Ok(())
}

/// The elements of one picture.
fn slot<'a, T>(values: &'a mut [T], input: &ImageInput, place: usize) -> Result<&'a mut [T], Error> {
    values.chunks_exact_mut(input.elements()).nth(place).ok_or(Error::Runtime)
}

/// Looks every value up in its channel's table and puts it where the layout wants it.
fn arrange<T: Copy>(pixels: &Pixels, input: &ImageInput, values: &mut [T], convert: impl Fn(f32) -> T) {
    let count = pixels.channels;
    let source = |channel: usize| if input.color == Color::Bgr { count - 1 - channel } else { channel };
    for channel in 0..count {
        let table = table(input, channel, &convert);
        let levels = pixels.values.iter().skip(source(channel)).step_by(count);
        match input.layout {
            Layout::Nchw => {
                let plane = values.iter_mut().skip(channel * pixels.values.len() / count);
                plane.zip(levels).for_each(|(value, &level)| *value = table[usize::from(level)]);
            }
            Layout::Nhwc | Layout::Flat => {
                let places = values.iter_mut().skip(channel).step_by(count);
                places.zip(levels).for_each(|(value, &level)| *value = table[usize::from(level)]);
            }
        }
    }
}

/// What each of the 256 levels of a channel becomes.
fn table<T: Copy>(input: &ImageInput, channel: usize, convert: impl Fn(f32) -> T) -> [T; 256] {
    std::array::from_fn(|level| convert(input.value(channel, u8::try_from(level).unwrap_or(u8::MAX))))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;
    use crate::manifest::Manifest;

    fn values(more: &str) -> Vec<f32> {
        let text = format!("[image]\ninput = \"x\"\nwidth = 2\nheight = 1\nscale = 1.0\n{more}");
        let input = Manifest::parse(&text).unwrap().image.unwrap();
        let pixels = Pixels { width: 2, height: 1, channels: 3, values: vec![1, 2, 3, 4, 5, 6] };
        let mut values = TensorData::Fp32(vec![f32::NAN; 12]);
        write(&pixels, &input, &mut values, 1).unwrap();
        let TensorData::Fp32(values) = values else { unreachable!() };
        assert!(values[..6].iter().all(|value| value.is_nan()), "another picture's place");
        values[6..].to_vec()
    }

    #[test]
    fn layouts_and_channel_orders() {
        assert_eq!(values("layout = \"nchw\""), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(values("layout = \"nhwc\""), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(values("layout = \"flat\"\ncolor = \"bgr\""), [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]);
    }

    #[test]
    fn mean_and_deviation_are_per_channel_in_the_order_of_the_model() {
        let got = values("layout = \"flat\"\ncolor = \"bgr\"\nmean = [1.0, 2.0, 3.0]\nstd = [1.0, 2.0, 4.0]");
        assert_eq!(got, [2.0, 0.0, -0.5, 5.0, 1.5, 0.25]);
        assert_eq!(values("layout = \"flat\"\nmean = [1.0]\ninvert = true")[0], 253.0);
    }

    #[test]
    fn other_datatypes() {
        let text = "[image]\ninput = \"x\"\nwidth = 1\nheight = 1\ncolor = \"gray\"\nscale = 2.0";
        let input = Manifest::parse(text).unwrap().image.unwrap();
        let pixels = Pixels { width: 1, height: 1, channels: 1, values: vec![200] };
        let mut bytes = TensorData::Uint8(vec![0]);
        write(&pixels, &input, &mut bytes, 0).unwrap();
        assert_eq!(bytes, TensorData::Uint8(vec![255]));
        let mut halves = TensorData::zeros(DataType::Fp16, 1);
        write(&pixels, &input, &mut halves, 0).unwrap();
        assert_eq!(halves, TensorData::Fp16(vec![f16::from_f32(400.0)]));
        assert!(write(&pixels, &input, &mut halves, 1).is_err(), "there is one place only");
        assert!(write(&pixels, &input, &mut TensorData::Int64(vec![0]), 0).is_err());
    }
}
