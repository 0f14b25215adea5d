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

pub(super) fn normalise(
    pixels: &Pixels,
    input: &ImageInput,
    datatype: DataType,
) -> Result<TensorData, Error> {
    match datatype {
        DataType::Fp32 => Ok(TensorData::Fp32(arrange(pixels, input, |value| value))),
        DataType::Fp16 => Ok(TensorData::Fp16(arrange(pixels, input, f16::from_f32))),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the cast saturates, as meant"
        )]
        DataType::Uint8 => Ok(TensorData::Uint8(arrange(pixels, input, |value| value.round() as u8))),
        other => {
            Err(Error::InvalidInput(format!("pictures cannot be given to an input of datatype {other}")))
        }
    }
}

/// Looks every value up in its channel's table and puts it where the layout wants it.
fn arrange<T: Copy>(pixels: &Pixels, input: &ImageInput, convert: impl Fn(f32) -> T) -> Vec<T> {
    let count = pixels.channels;
    let tables: Vec<[T; 256]> = (0..count).map(|channel| table(input, channel, &convert)).collect();
    let source = |channel: usize| if input.color == Color::Bgr { count - 1 - channel } else { channel };
    let rows = pixels.values.chunks_exact(count);
    match input.layout {
        Layout::Nchw => (0..count)
            .flat_map(|channel| {
                let table = &tables[channel];
                rows.clone().map(move |pixel| table[usize::from(pixel[source(channel)])])
            })
            .collect(),
        Layout::Nhwc | Layout::Flat => rows
            .flat_map(|pixel| {
                let tables = &tables;
                (0..count).map(move |channel| tables[channel][usize::from(pixel[source(channel)])])
            })
            .collect(),
    }
}

/// What each of the 256 levels of a channel becomes.
fn table<T: Copy>(input: &ImageInput, channel: usize, convert: impl Fn(f32) -> T) -> [T; 256] {
    let of = |values: &[f32], default: f32| {
        values.get(channel).or_else(|| values.first()).copied().unwrap_or(default)
    };
    let (mean, deviation) = (of(&input.mean, 0.0), of(&input.std, 1.0));
    std::array::from_fn(|level| {
        let level = u8::try_from(level).unwrap_or(u8::MAX);
        let level = f32::from(if input.invert { 255 - level } else { level });
        convert((level * input.scale - mean) / deviation)
    })
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
        match normalise(&pixels, &input, DataType::Fp32) {
            Ok(TensorData::Fp32(values)) => values,
            other => unreachable!("{other:?}"),
        }
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
        assert_eq!(normalise(&pixels, &input, DataType::Uint8).unwrap(), TensorData::Uint8(vec![255]));
        let halves = TensorData::Fp16(vec![f16::from_f32(400.0)]);
        assert_eq!(normalise(&pixels, &input, DataType::Fp16).unwrap(), halves);
        assert!(normalise(&pixels, &input, DataType::Int64).is_err());
    }
}
