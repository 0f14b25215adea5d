//! `model.toml`: what a model's folder says about serving it. Everything in it is optional; an unknown key, a
//! wrong type or a value out of range is refused with its line.

mod batching;
mod cache;
mod classification;
mod image;
mod price;
mod runtime;
mod source;
mod table;
mod text;
mod versions;
mod warm_up;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::operators;

pub use batching::Batching;
pub use cache::Cache;
pub use classification::{Activation, Classification, Regression};
pub use image::{Color, Filter, ImageInput, Layout, Resize};
pub use price::Price;
pub use runtime::Runtime;
pub(crate) use source::digests;
pub use source::{Source, SourceFile, SourceFiles};
pub use table::{Column, ColumnKind, Encoding, TableInput};
pub use text::TextInput;
pub use versions::{Serve, Versions};
pub use warm_up::{WarmUp, WarmUpInput};

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
    /// The credits that a row or picture costs; default 1, so that no model is free by oversight.
    pub price: Price,
    /// Libraries of operators that it needs, by the names of files that the settings allow.
    pub custom_operators: Vec<String>,
    /// Operators of the model, by name, that may be given what they do not check: callers can end the server with them,
    /// or read what is another's.
    pub unchecked_operators: Vec<String>,
    /// Which of its versions are served.
    pub versions: Versions,
    /// How a picture becomes the input; absent where the model takes no pictures.
    pub image: Option<ImageInput>,
    /// How rows of named columns become the inputs; absent where the model takes no rows.
    pub table: Option<TableInput>,
    /// Which input takes texts; absent where the model takes none.
    pub text: Option<TextInput>,
    /// How an output becomes labelled probabilities.
    pub classification: Option<Classification>,
    /// Which output is answered as numbers, instead of `[classification]`.
    pub regression: Option<Regression>,
    /// SHA-256, in hexadecimal, of files in the model's folder, such as `"1/model.onnx"`.
    pub checksums: BTreeMap<String, String>,
    /// Where the files of versions are fetched from.
    pub source: Source,
    /// How many sessions and threads it gets.
    pub runtime: Runtime,
    /// How calls run together; absent where each runs alone.
    pub batching: Option<Batching>,
    /// What the first runs are made on.
    pub warm_up: Option<WarmUp>,
    /// Whether answers are cached; absent where never.
    pub cache: Option<Cache>,
}

impl Manifest {
    /// Reads `model.toml`. The error names the line and the key.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let manifest: Self = toml::from_str(text).map_err(|error| describe(text, &error))?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        self.image.iter().try_for_each(ImageInput::check)?;
        self.table.iter().try_for_each(TableInput::check)?;
        self.text.iter().try_for_each(TextInput::check)?;
        operators::check_names(&self.custom_operators)?;
        self.versions.check()?;
        self.source.check()?;
        self.classification.iter().try_for_each(Classification::check)?;
        self.batching.iter().try_for_each(Batching::check)?;
        self.cache.iter().try_for_each(Cache::check)?;
        self.warm_up.iter().try_for_each(WarmUp::check)?;
        let inputs = [self.image.is_some(), self.table.is_some(), self.text.is_some()];
        if inputs.into_iter().filter(|&there| there).count() > 1 {
            return Err("a model takes one of [image], [table] and [text]".to_owned());
        }
        if self.classification.is_some() && self.regression.is_some() {
            return Err("a model answers by one of [classification] and [regression]".to_owned());
        }
        self.runtime.check()
    }
}

/// Characters of a message and of a line that are shown: both may be as long as the file.
const MAX_SHOWN: usize = 300;

fn describe(text: &str, error: &toml::de::Error) -> String {
    let shown = |text: &str| text.chars().take(MAX_SHOWN).collect::<String>();
    let message = in_words_of_toml(&shown(error.message()));
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return message;
    };
    let number = before.matches('\n').count();
    let line = shown(text.lines().nth(number).unwrap_or_default().trim());
    format!("line {}: {message} (at `{line}`)", number + 1)
}

/// The expected type in words: the TOML parser names Rust's types.
fn in_words_of_toml(message: &str) -> String {
    let Some((before, expected)) = message.rsplit_once("expected ") else { return message.to_owned() };
    let expected = match expected {
        "u8" => "a whole number from 0 to 255",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number from 0 to 9223372036854775807",
        "a nonzero usize" => "a whole number from 1 to 9223372036854775807",
        "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" => "a list",
        expected if expected.starts_with("struct ") => "a table",
        expected => expected,
    };
    format!("{}expected {expected}", before.replace(" as i128", ""))
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
        let latest = Manifest::parse("[versions]\nlatest = 3").map(|manifest| manifest.versions.latest);
        assert_eq!(latest, Ok(std::num::NonZeroUsize::new(3)));
        assert!(refused("[versions]\nlatest = 0").contains("line 2"));
        assert!(refused("[versions]\nserve = \"all\"\nlatest = 2").contains("latest"));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let message = refused("description = \"x\"\n[image]\ncolour = \"gray\"\n");
        assert!(message.contains("line 3") && message.contains("colour"), "{message}");
    }

    #[test]
    fn what_is_expected_is_told_in_words_of_the_format() {
        for (text, expected) in [
            ("[batching]\nmax_rows = -1", "`-1`, expected a whole number from 0 to 9"),
            ("[batching]\nmax_rows = 99999999999999999999", "`99999999999999999999`, expected a whole"),
            ("[versions]\nlatest = 0", "expected a whole number from 1 to 9"),
            ("price = 1.5", "expected a whole number from 0 to 4294967295 (at"),
            ("[warm_up.inputs.x]\nvalue = \"a\"", "expected a number (at"),
            ("custom_operators = \"x.so\"", "expected a list (at"),
            ("batching = 3", "expected a table (at"),
            ("access = \"nobody\"", "expected `everyone` or `granted` (at"),
        ] {
            let message = refused(text);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let image = "[image]\ninput = \"x\"\nwidth = 8\nheight = 8\n";
        assert!(Manifest::parse(image).is_ok());
        assert!(refused(&image.replace("width = 8", "width = 0")).contains("width"));
        assert!(refused(&format!("{image}mean = [0.1, 0.2]")).contains("mean"));
        assert!(refused(&format!("{image}std = [0.0]")).contains("std"));
        assert!(refused(&format!("{image}std = [1.0, 1.0, 1e-45]")).contains("infinite"));
        assert!(refused("[table]\ncolumns = [{ name = \"\" }]").contains("has a name"));
        assert!(refused(&format!("{image}background = 300")).contains("line 5"));
        assert!(refused("price = 0").contains("price") && refused("price = 1000001").contains("price"));
        assert!(refused("price = -1").contains("line 1") && refused("price = 1.5").contains("line 1"));
        assert_eq!(Manifest::parse("price = 3").map(|manifest| manifest.price.get()), Ok(3));
        assert!(refused("custom_operators = [\"/opt/my.so\"]").contains("names of files"));
        assert!(refused("[runtime]\ninstances = 0").contains("instances"));
        assert!(refused("[batching]\nmax_rows = 1").contains("max_rows"));
        assert!(refused("[batching]\nmax_delay_us = 1000001").contains("max_delay_us"));
        assert!(refused("[cache]\nmax_mb = 0").contains("max_mb"));
        assert!(refused("[runtime]\nproviders = [\"gpu\"]").contains("cuda"));
        assert!(refused("[runtime]\nproviders = []").contains("providers"));
        assert!(refused("[classification]\noutput = \"y\"\ntop_k = 0").contains("top_k"));
    }
}
