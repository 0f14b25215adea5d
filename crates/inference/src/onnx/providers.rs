//! Execution providers: tried in the order of the settings until the runtime accepts one.

use ort::ep::{self, ExecutionProviderDispatch};

use crate::provider::{Execution, Provider};

/// Tries providers in their order; those after an accepted one compute what it cannot. Where all are refused the reason
/// names each: nothing is computed by a provider that was not configured.
pub(super) fn first_accepted<T>(
    wishes: &[Provider],
    open: impl Fn(&[Provider]) -> Result<T, Refusal>,
) -> Result<(T, Execution), String> {
    let mut refused = Vec::new();
    for (place, &provider) in wishes.iter().enumerate() {
        match open(&wishes[place..]) {
            Ok(opened) => return Ok((opened, Execution { provider, refused })),
            // The processor's refusal is the model's own.
            Err(Refusal::Model(reason)) => return Err(reason),
            Err(Refusal::Provider(reason)) => {
                tracing::warn!(%provider, reason, "an execution provider was refused");
                refused.push((provider, without_paths(&reason)));
            }
        }
    }
    let reasons: Vec<_> = refused.iter().map(|(provider, reason)| format!("{provider}: {reason}")).collect();
    Err(format!(
        "no execution provider that was asked for can be used ({}); add \"cpu\" to fall back on the processor",
        reasons.join("; ")
    ))
}

/// Why a session was not opened.
pub(super) enum Refusal {
    /// It would be refused with any provider.
    Model(String),
    /// Another provider may open it.
    Provider(String),
}

/// The providers to request; the processor is always there and not requested.
pub(super) fn dispatches(wishes: &[Provider]) -> Vec<ExecutionProviderDispatch> {
    let dispatch = |provider: &Provider| {
        Some(match provider {
            Provider::Cpu => return None,
            Provider::Cuda => ep::CUDA::default().build(),
            Provider::TensorRt => ep::TensorRT::default().build(),
            Provider::OpenVino => ep::OpenVINO::default().build(),
            Provider::MiGraphX => ep::MIGraphX::default().build(),
            Provider::CoreMl => ep::CoreML::default().build(),
            Provider::DirectMl => ep::DirectML::default().build(),
            Provider::Xnnpack => ep::XNNPACK::default().build(),
        })
    };
    // The first provider is required; the fallbacks after it may be missing.
    let dispatches = wishes.iter().take_while(|provider| **provider != Provider::Cpu).filter_map(dispatch);
    let strictly = |(place, dispatch): (usize, ExecutionProviderDispatch)| match place {
        0 => dispatch.error_on_failure(),
        _ => dispatch.fail_silently(),
    };
    dispatches.enumerate().map(strictly).collect()
}

/// The message without what names a place on this machine.
fn without_paths(message: &str) -> String {
    let word = |word: &'_ str| if word.contains(['/', '\\']) { "…".to_owned() } else { word.to_owned() };
    message.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(wishes: &[Provider]) -> Result<Provider, Refusal> {
        match wishes[0] {
            Provider::Cpu => Ok(Provider::Cpu),
            provider => Err(Refusal::Provider(format!("no {provider} in /opt/lib/x.so: missing"))),
        }
    }

    #[test]
    fn what_is_refused_is_told_and_the_next_wish_tried() {
        use Provider::{Cpu, Cuda, TensorRt};
        let (opened, execution) = first_accepted(&[TensorRt, Cuda, Cpu], open).expect("the processor");
        assert_eq!((opened, execution.provider), (Cpu, Cpu));
        let fallback = execution.fallback().expect("a reason");
        assert_eq!(fallback, "tensorrt: no tensorrt in … missing; cuda: no cuda in … missing");
        assert_eq!(first_accepted(&[Cpu, Cuda], open).expect("the processor").1.fallback(), None);
    }

    #[test]
    fn nothing_computes_that_was_not_wished_for() {
        let reason = first_accepted(&[Provider::Cuda], open).expect_err("no fallback");
        assert!(reason.contains("cuda: no cuda in … missing") && reason.contains("add \"cpu\""), "{reason}");
        let broken = |_: &[Provider]| Err::<(), _>(Refusal::Model("not a model".to_owned()));
        assert_eq!(first_accepted(&[Provider::Cuda, Provider::Cpu], broken), Err("not a model".to_owned()));
    }
}
