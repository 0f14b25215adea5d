//! The `[versions]` table: which versions are served.

use std::num::NonZeroUsize;

use serde::{Deserialize, Deserializer, de};

/// The `[versions]` table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Versions {
    /// Which versions are served; default the latest.
    pub serve: Serve,
    /// How many of the latest are served where `serve` is `latest`; default 1.
    pub latest: Option<NonZeroUsize>,
}

impl Versions {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.latest.is_some() && self.serve != Serve::Latest {
            return Err("[versions] latest goes with serve = \"latest\" only".to_owned());
        }
        Ok(())
    }
}

/// A choice among the versions found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Serve {
    /// The highest version, or as many of the highest as `latest` says.
    #[default]
    Latest,
    /// Each one.
    All,
    /// These.
    Only(Vec<String>),
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
