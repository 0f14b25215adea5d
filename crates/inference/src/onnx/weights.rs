//! What the sessions of one model share: large constants, and the forms into which the runtime packs them.

use std::{fs, path::Path, sync::Arc};

use half::{bf16, f16};
use ort::{
    session::builder::{PrepackedWeights, SessionBuilder},
    value::{DynValue, Tensor},
};

use super::initializers::{self, Initializer};

/// Shared weights up to this size, in bytes, are kept packed as well, which takes as much again: a run of few rows then
/// does not pack them itself, which may take as long as the run.
const PACKED: usize = 16 << 20;

/// The weights of one model, held as long as a session uses them.
pub(super) struct Weights {
    constants: Vec<(String, Arc<DynValue>)>,
    packed: PrepackedWeights,
    /// In bytes.
    size: usize,
}

impl Weights {
    /// Of the model in this file; none where there is nothing to share.
    pub(super) fn read(model: &Path) -> Option<Self> {
        let file = fs::read(model).ok()?;
        let constant = |constant: Initializer<'_>| {
            let value = value(&constant)?;
            Some((constant.name.to_owned(), Arc::new(value)))
        };
        let found = initializers::large(&file);
        let size = found.iter().map(|constant| constant.bytes.len()).sum();
        let constants: Vec<_> = found.into_iter().filter_map(constant).collect();
        (!constants.is_empty()).then(|| Self { constants, packed: PrepackedWeights::new(), size })
    }

    /// Makes the session to be built use these.
    pub(super) fn apply_to(
        &self,
        builder: SessionBuilder,
        pack: Option<bool>,
    ) -> ort::Result<SessionBuilder> {
        let pack = pack.unwrap_or(self.size <= PACKED);
        let mut builder = builder.with_prepacked_weights(&self.packed)?.with_prepacking(pack)?;
        for (name, value) in &self.constants {
            builder = builder.with_initializer(name, Arc::clone(value))?;
        }
        Ok(builder)
    }
}

/// None where the bytes are not as many as the shape wants, or of a type that is not shared.
fn value(constant: &Initializer<'_>) -> Option<DynValue> {
    let count = constant.shape.iter().try_fold(1_i64, |count, &size| count.checked_mul(size))?;
    let count = usize::try_from(count).ok()?;
    macro_rules! elements {
        ($element:ty) => {{
            let (elements, rest) = constant.bytes.as_chunks::<{ size_of::<$element>() }>();
            if !rest.is_empty() || elements.len() != count {
                return None;
            }
            let elements: Vec<$element> =
                elements.iter().map(|bytes| <$element>::from_le_bytes(*bytes)).collect();
            Tensor::from_array((constant.shape.clone(), elements)).ok()?.into_dyn()
        }};
    }
    Some(match constant.element {
        1 => elements!(f32),
        2 => elements!(u8),
        3 => elements!(i8),
        6 => elements!(i32),
        7 => elements!(i64),
        10 => elements!(f16),
        11 => elements!(f64),
        16 => elements!(bf16),
        _ => return None,
    })
}
