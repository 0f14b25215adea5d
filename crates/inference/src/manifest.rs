//! `model.toml`: what a model's folder says about serving it. Everything in it is optional; an unknown key, a
//! wrong type or a value out of range is refused with its line.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de};

/// Largest width or height, in pixels, to which a picture may be resized for a model.
pub(crate) const MAX_INPUT_SIDE: u32 = 4096;
/// Most sessions and threads that one model may ask for.
pub(crate) const MAX_THREADS: usize = 64;

/// Who may use a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Everyone who may use models at all.
    #[default]
    Everyone,
    /// Only accounts and roles that were granted it.
    Granted,
}

/// The content of `model.toml`; its default is that of a model without one.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Manifest {
    /// What the model is for, in a sentence.
    pub description: String,
    /// Whether the server counts as not ready while this model cannot be served.
    pub required: bool,
    /// Who may use it.
    pub access: Access,
    /// Which of its versions are served.
    pub versions: Versions,
    /// How a picture becomes the input; absent where the model takes no pictures.
    pub image: Option<ImageInput>,
    /// How an output becomes labelled probabilities.
    pub classification: Option<Classification>,
    /// SHA-256, in hexadecimal, of files in the model's folder, such as `"1/model.onnx"`.
    pub checksums: BTreeMap<String, String>,
    /// How many sessions and threads it gets.
    pub runtime: Runtime,
}

/// The `[versions]` table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Versions {
    /// Which versions are served; default the latest.
    pub serve: Serve,
}

/// A choice among the versions found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Serve {
    /// The highest version.
    #[default]
    Latest,
    /// Each one.
    All,
    /// These.
    Only(Vec<String>),
}

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
    /// How pixels are interpolated; default `bilinear`.
    #[serde(default)]
    pub filter: Filter,
    /// Grey level, 0 to 255, of padding and behind transparent pixels; default 0.
    #[serde(default)]
    pub background: u8,
    /// Whether light and dark are swapped before scaling; default no.
    #[serde(default)]
    pub invert: bool,
    /// Factor for the channel values 0 to 255; default 1/255.
    #[serde(default = "unit_scale")]
    pub scale: f32,
    /// Subtracted after scaling: one number, or one per channel; default 0.
    #[serde(default)]
    pub mean: Vec<f32>,
    /// Divisor after that: one number, or one per channel, never 0; default 1.
    #[serde(default)]
    pub std: Vec<f32>,
}

fn unit_scale() -> f32 {
    1.0 / 255.0
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
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// Proportions are not kept.
    #[default]
    Stretch,
    /// Proportions are kept, what overhangs is cut off around the centre.
    Crop,
    /// Proportions are kept, the rest is filled with the background.
    Pad,
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

/// The `[classification]` table: from an output to labelled probabilities.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Classification {
    /// Name of the output, of shape `[batch, classes]`.
    pub output: String,
    /// What makes probabilities of it; default `none`.
    #[serde(default)]
    pub activation: Activation,
    /// File in the model's folder with one label per line; without it labels are the class numbers.
    #[serde(default)]
    pub labels: Option<String>,
    /// Predictions in an answer when the caller does not say, at least 1; default 5.
    #[serde(default = "five")]
    pub top_k: usize,
}

fn five() -> usize {
    5
}

/// What makes probabilities of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// The output is probabilities already.
    #[default]
    None,
    /// Classes exclude each other.
    Softmax,
    /// Each class stands for itself.
    Sigmoid,
}

/// The `[runtime]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Runtime {
    /// Sessions, each on its own thread, 1 to 64; default as in the settings.
    pub instances: Option<usize>,
    /// Threads inside one run, 1 to 64; default as in the settings.
    pub intra_threads: Option<usize>,
    /// Whether a first run on zeros is made before the model counts as ready; default yes.
    pub warm_up: bool,
}

impl Default for Runtime {
    fn default() -> Self {
        Self { instances: None, intra_threads: None, warm_up: true }
    }
}

impl Manifest {
    /// Reads `model.toml`. The error names the line and the key.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let manifest: Self = toml::from_str(text).map_err(|error| describe(text, &error))?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        if let Some(image) = &self.image {
            image.check()?;
        }
        if self.classification.as_ref().is_some_and(|classification| classification.top_k == 0) {
            return Err("[classification] top_k must be at least 1".to_owned());
        }
        for (key, value) in
            [("instances", self.runtime.instances), ("intra_threads", self.runtime.intra_threads)]
        {
            if value.is_some_and(|value| !(1..=MAX_THREADS).contains(&value)) {
                return Err(format!("[runtime] {key} must be 1 to {MAX_THREADS}"));
            }
        }
        Ok(())
    }
}

impl ImageInput {
    fn check(&self) -> Result<(), String> {
        for (key, side) in [("width", self.width), ("height", self.height)] {
            if !(1..=MAX_INPUT_SIDE).contains(&side) {
                return Err(format!("[image] {key} must be 1 to {MAX_INPUT_SIDE}"));
            }
        }
        let channels = self.color.channels();
        for (key, values) in [("mean", &self.mean), ("std", &self.std)] {
            if ![0, 1, channels].contains(&values.len()) {
                return Err(format!("[image] {key} needs 1 or {channels} numbers, not {}", values.len()));
            }
        }
        let numbers = self.mean.iter().chain(&self.std).chain([&self.scale]);
        if numbers.into_iter().any(|number| !number.is_finite()) || self.std.contains(&0.0) {
            return Err("[image] scale, mean and std must be finite, and std not 0".to_owned());
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Serve {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Word(String),
            List(Vec<String>),
        }
        match Form::deserialize(deserializer) {
            Ok(Form::Word(word)) if word == "latest" => Ok(Self::Latest),
            Ok(Form::Word(word)) if word == "all" => Ok(Self::All),
            Ok(Form::List(versions)) => Ok(Self::Only(versions)),
            Ok(Form::Word(_)) | Err(_) => {
                Err(de::Error::custom("serve must be \"latest\", \"all\" or a list such as [\"1\", \"2\"]"))
            }
        }
    }
}

fn describe(text: &str, error: &toml::de::Error) -> String {
    let message = error.message();
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return message.to_owned();
    };
    let number = before.matches('\n').count();
    let line = text.lines().nth(number).unwrap_or_default().trim();
    format!("line {}: {message} (at `{line}`)", number + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Manifest::parse(text).expect_err("must be refused")
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(Manifest::parse(""), Ok(Manifest::default()));
    }

    #[test]
    fn versions_are_a_word_or_a_list() {
        let serve = |text: &str| Manifest::parse(text).map(|manifest| manifest.versions.serve);
        assert_eq!(serve("[versions]\nserve = \"all\""), Ok(Serve::All));
        assert_eq!(
            serve("[versions]\nserve = [\"1\", \"2\"]"),
            Ok(Serve::Only(vec!["1".into(), "2".into()]))
        );
        assert!(refused("[versions]\nserve = 3").contains("line 2"));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let message = refused("description = \"x\"\n[image]\ncolour = \"gray\"\n");
        assert!(message.contains("line 3") && message.contains("colour"), "{message}");
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let image = "[image]\ninput = \"x\"\nwidth = 8\nheight = 8\n";
        assert!(Manifest::parse(image).is_ok());
        assert!(refused(&image.replace("width = 8", "width = 0")).contains("width"));
        assert!(refused(&format!("{image}mean = [0.1, 0.2]")).contains("mean"));
        assert!(refused(&format!("{image}std = [0.0]")).contains("std"));
        assert!(refused(&format!("{image}background = 300")).contains("line 5"));
        assert!(refused("[runtime]\ninstances = 0").contains("instances"));
        assert!(refused("[classification]\noutput = \"y\"\ntop_k = 0").contains("top_k"));
    }
}
