//! The `[image]` table: how a picture becomes the input.

use serde::Deserialize;

/// Largest width or height, in pixels, to which a picture may be resized for a model.
pub(crate) const MAX_INPUT_SIDE: u32 = 4096;

/// The `[image]` table: from a decoded picture to the input tensor.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageInput {
    /// Name of the model's input.
    pub input: String,
    /// Width in pixels, 1 to 4096.
    pub width: u32,
    /// Height in pixels, 1 to 4096.
    pub height: u32,
    /// Channels and their order; default `rgb`.
    #[serde(default)]
    pub color: Color,
    /// Order of the dimensions; default `nchw`.
    #[serde(default)]
    pub layout: Layout,
    /// What happens to a picture of other proportions; default `stretch`.
    #[serde(default)]
    pub resize: Resize,
    /// Length in pixels to which `shorter-side` brings a picture's shorter side, at least the larger of width and
    /// height; default that.
    #[serde(default)]
    pub shorter_side: Option<u32>,
    /// How pixels are interpolated; default `bilinear`.
    #[serde(default)]
    pub filter: Filter,
    /// Grey level, 0 to 255, of padding and behind transparent pixels; default 0.
    #[serde(default)]
    pub background: u8,
    /// Whether light and dark are swapped before scaling; default no.
    #[serde(default)]
    pub invert: bool,
    /// Factor for the channel values 0 to 255; default 1/255, for an input of UINT8 1.
    #[serde(default)]
    pub scale: Option<f32>,
    /// Subtracted after scaling: one number, or one per channel; default 0.
    #[serde(default)]
    pub mean: Vec<f32>,
    /// Divisor after that: one number, or one per channel, never 0; default 1.
    #[serde(default)]
    pub std: Vec<f32>,
}

/// Channels of the input and their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// One channel of luminance.
    Gray,
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red.
    Bgr,
}

impl Color {
    /// Number of channels.
    pub const fn channels(self) -> usize {
        match self {
            Self::Gray => 1,
            Self::Rgb | Self::Bgr => 3,
        }
    }
}

/// Order of the input's dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Batch, channel, height, width.
    #[default]
    Nchw,
    /// Batch, height, width, channel.
    Nhwc,
    /// Batch, then every pixel in one row (channels last).
    Flat,
}

/// How a picture is brought to the input's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// Proportions are not kept.
    #[default]
    Stretch,
    /// Proportions are kept, what overhangs is cut off around the centre.
    Crop,
    /// Proportions are kept, the rest is filled with the background.
    Pad,
    /// Proportions are kept, the shorter side gets its length, then width × height are cut out of the centre.
    ShorterSide,
}

/// Interpolation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// The nearest pixel.
    Nearest,
    /// The average of the area that a pixel covers.
    Box,
    /// Linear, over the area when shrinking.
    #[default]
    Bilinear,
    /// Cubic (Catmull-Rom).
    Bicubic,
    /// Lanczos with three lobes.
    Lanczos,
}

impl ImageInput {
    /// Elements of one picture in the tensor.
    pub(crate) fn elements(&self) -> usize {
        self.width as usize * self.height as usize * self.color.channels()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        for (key, side) in [("width", self.width), ("height", self.height)] {
            if !(1..=MAX_INPUT_SIDE).contains(&side) {
                return Err(format!("[image] {key} must be 1 to {MAX_INPUT_SIDE}"));
            }
        }
        if let Some(side) = self.shorter_side {
            let least = self.width.max(self.height);
            if self.resize != Resize::ShorterSide {
                return Err("[image] shorter_side needs resize = \"shorter-side\"".to_owned());
            }
            if !(least..=MAX_INPUT_SIDE).contains(&side) {
                return Err(format!("[image] shorter_side must be {least} to {MAX_INPUT_SIDE}"));
            }
        }
        let channels = self.color.channels();
        for (key, values) in [("mean", &self.mean), ("std", &self.std)] {
            if ![0, 1, channels].contains(&values.len()) {
                let needs =
                    if channels == 1 { "1 number".to_owned() } else { format!("1 or {channels} numbers") };
                return Err(format!("[image] {key} needs {needs}, not {}", values.len()));
            }
        }
        let numbers = self.mean.iter().chain(&self.std).chain(&self.scale);
        if numbers.into_iter().any(|number| !number.is_finite()) || self.std.contains(&0.0) {
            return Err("[image] scale, mean and std must be finite, and std not 0".to_owned());
        }
        if !self.fits(f32::MAX) {
            return Err("[image] scale, mean and std make a picture's values infinite".to_owned());
        }
        Ok(())
    }

    /// Whether the darkest and the brightest level of each channel become numbers up to this one.
    pub(crate) fn fits(&self, most: f32) -> bool {
        let fits = |channel| [0, u8::MAX].into_iter().all(|level| self.value(channel, level).abs() <= most);
        (0..self.color.channels()).all(fits)
    }

    /// What a level of a channel becomes; one number of `mean` or `std` stands for all channels.
    pub(crate) fn value(&self, channel: usize, level: u8) -> f32 {
        let of = |values: &[f32], default: f32| {
            values.get(channel).or_else(|| values.first()).copied().unwrap_or(default)
        };
        let level = if self.invert { u8::MAX - level } else { level };
        (f32::from(level) * self.scale.unwrap_or(1.0 / 255.0) - of(&self.mean, 0.0)) / of(&self.std, 1.0)
    }
}
