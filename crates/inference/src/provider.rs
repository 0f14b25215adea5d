//! What computes: the processor, or an accelerator that ONNX Runtime reaches through an execution provider.

use std::{fmt, str::FromStr};

use serde::Deserialize;

/// What computes a model. Anything but [`Cpu`](Self::Cpu) needs a build of ONNX Runtime that has it, and the vendor's
/// libraries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum Provider {
    /// The processor; in every build.
    Cpu,
    /// NVIDIA, through CUDA.
    Cuda,
    /// NVIDIA, through TensorRT.
    TensorRt,
    /// Intel, through OpenVINO.
    OpenVino,
    /// AMD, through MIGraphX.
    MiGraphX,
    /// Apple, through Core ML.
    CoreMl,
    /// Windows, through DirectML.
    DirectMl,
    /// The processor, through XNNPACK.
    Xnnpack,
}

impl Provider {
    /// Every one there is.
    pub const ALL: [Self; 8] = [
        Self::Cpu,
        Self::Cuda,
        Self::TensorRt,
        Self::OpenVino,
        Self::MiGraphX,
        Self::CoreMl,
        Self::DirectMl,
        Self::Xnnpack,
    ];

    /// Its name in settings and `model.toml`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
            Self::OpenVino => "openvino",
            Self::MiGraphX => "migraphx",
            Self::CoreMl => "coreml",
            Self::DirectMl => "directml",
            Self::Xnnpack => "xnnpack",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Provider {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|provider| provider.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("unknown execution provider \"{name}\"; use one of {names}")
        })
    }
}

impl TryFrom<String> for Provider {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

/// What computes a version of a model, and why nothing that was wanted more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// What computes it.
    pub provider: Provider,
    /// What was wanted before it, each with the runtime's reason for refusing; empty where it was the first choice.
    /// Names no path.
    pub refused: Vec<(Provider, String)>,
}

impl Execution {
    /// Why it is not computed by what was wanted first, in a sentence; none where it is.
    pub fn fallback(&self) -> Option<String> {
        let reasons: Vec<_> =
            self.refused.iter().map(|(provider, reason)| format!("{provider}: {reason}")).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }
}
