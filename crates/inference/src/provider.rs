//! What computes: the processor, or an accelerator that ONNX Runtime reaches through an execution provider.

use std::str::FromStr;

use serde::Deserialize;

use crate::named::named_enum;

named_enum! {
    /// What computes a model. Anything but [`Cpu`](Self::Cpu) needs a build of ONNX Runtime that has it, and the
    /// vendor's libraries.
    #[derive(Deserialize)]
    #[serde(try_from = "String")]
    pub enum Provider {
        /// The processor; in every build.
        Cpu = "cpu",
        /// NVIDIA, through CUDA.
        Cuda = "cuda",
        /// NVIDIA, through TensorRT.
        TensorRt = "tensorrt",
        /// Intel, through OpenVINO.
        OpenVino = "openvino",
        /// AMD, through MIGraphX.
        MiGraphX = "migraphx",
        /// Apple, through Core ML.
        CoreMl = "coreml",
        /// Windows, through DirectML.
        DirectMl = "directml",
        /// The processor, through XNNPACK.
        Xnnpack = "xnnpack",
    }
}

impl Provider {
    /// Where it computes, in the words of the protocol's model configuration.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Cpu | Self::Xnnpack => "KIND_CPU",
            Self::Cuda | Self::TensorRt | Self::MiGraphX | Self::DirectMl => "KIND_GPU",
            // These choose among the devices that they find.
            Self::OpenVino | Self::CoreMl => "KIND_MODEL",
        }
    }
}

impl FromStr for Provider {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|provider| provider.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|provider| provider.name()).collect();
            format!("unknown execution provider \"{name}\"; use one of {}", names.join(", "))
        })
    }
}

impl TryFrom<String> for Provider {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

/// The provider that computes a version of a model, and why none that was preferred.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// What computes it.
    pub provider: Provider,
    /// The providers preferred to it, each with the runtime's reason for refusing; empty where it was the first choice.
    /// Names no path.
    pub refused: Vec<(Provider, String)>,
}

impl Execution {
    /// Why it is not computed by the first choice, in a sentence; none where it is.
    pub fn fallback(&self) -> Option<String> {
        let reasons: Vec<_> =
            self.refused.iter().map(|(provider, reason)| format!("{provider}: {reason}")).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }
}
