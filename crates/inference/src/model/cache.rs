//! The response cache: the answers of one model version, by inputs and, unless shared, by caller.
//!
//! The cache belongs to a loaded version and ends with it. Where calls hardly repeat themselves it stops looking for a
//! while, so that it costs next to nothing.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use aws_lc_rs::digest;

use crate::{
    manifest,
    tensor::{Raw, Tensor},
};

/// Inputs of more bytes are not cached: their digest would keep a web worker busy.
const MAX_INPUT_BYTES: usize = 1 << 20;
/// Overhead of an entry besides its tensors, in bytes.
const ENTRY: usize = 256;
/// Calls in a round, which begins with a trial.
const ROUND: u32 = 4096;
/// Calls in the trial, which are always looked up.
const TRIAL: u32 = 256;
/// Hits in a trial from which on the rest of the round is looked up too.
const WORTH: u32 = 8;

/// A digest of everything that the answer depends on, and of whose it is.
pub(super) type Key = [u8; digest::SHA256_OUTPUT_LEN];

/// The answers of one version.
pub(crate) struct Cache {
    answers: moka::sync::Cache<Key, Arc<Vec<Tensor>>>,
    /// Whether callers share answers.
    shared: bool,
    calls: AtomicU32,
    hits: AtomicU32,
}

impl Cache {
    /// By the `[cache]` table; none where it is absent or off. `most` is the size in bytes where the table gives none.
    pub(crate) fn new(table: Option<&manifest::Cache>, most: u64) -> Option<Self> {
        let table = table.filter(|table| table.enabled)?;
        let answers = moka::sync::Cache::builder()
            .max_capacity(table.max_mb.map_or(most, |megabytes| megabytes << 20))
            .weigher(|_, tensors: &Arc<Vec<Tensor>>| {
                let size: usize = tensors.iter().map(|tensor| tensor.data().size() + ENTRY).sum();
                u32::try_from(size).unwrap_or(u32::MAX)
            })
            .build();
        Some(Self { answers, shared: table.shared, calls: AtomicU32::new(0), hits: AtomicU32::new(0) })
    }

    /// The key of a call's answer; none where it is not to be looked up.
    pub(super) fn key(&self, caller: u64, inputs: &[Tensor], outputs: &[usize]) -> Option<Key> {
        let size: usize = inputs.iter().map(|input| input.data().size()).sum();
        (size <= MAX_INPUT_BYTES && self.is_worth_it())
            .then(|| key((!self.shared).then_some(caller), inputs, outputs))
    }

    /// Whether calls repeat themselves often enough, as far as this round's trial tells.
    fn is_worth_it(&self) -> bool {
        let place = self.calls.fetch_add(1, Ordering::Relaxed) % ROUND;
        if place == 0 {
            self.hits.store(0, Ordering::Relaxed);
        }
        place < TRIAL || self.hits.load(Ordering::Relaxed) >= WORTH
    }

    pub(super) fn get(&self, key: &Key) -> Option<Vec<Tensor>> {
        let tensors = self.answers.get(key)?;
        self.hits.fetch_add(1, Ordering::Relaxed);
        Some(tensors.to_vec())
    }

    pub(super) fn keep(&self, key: Key, tensors: &[Tensor]) {
        self.answers.insert(key, Arc::new(tensors.to_vec()));
    }
}

/// Each part says how long it is, so that no two calls are the same bytes.
fn key(caller: Option<u64>, inputs: &[Tensor], outputs: &[usize]) -> Key {
    let mut digest = digest::Context::new(&digest::SHA256);
    let number = |digest: &mut digest::Context, number: u64| digest.update(&number.to_le_bytes());
    number(&mut digest, caller.is_some().into());
    number(&mut digest, caller.unwrap_or_default());
    number(&mut digest, outputs.len() as u64);
    outputs.iter().for_each(|&output| number(&mut digest, output as u64));
    for input in inputs {
        digest.update(input.data().datatype().name().as_bytes());
        number(&mut digest, input.shape().len() as u64);
        input.shape().iter().for_each(|&size| number(&mut digest, size as u64));
        match input.data().raw() {
            Raw::Numbers(bytes) => digest.update(bytes),
            Raw::Texts(texts) => texts.iter().for_each(|text| {
                number(&mut digest, text.len() as u64);
                digest.update(text);
            }),
        }
    }
    let mut key = Key::default();
    key.copy_from_slice(digest.finish().as_ref());
    key
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
