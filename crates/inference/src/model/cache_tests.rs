#![expect(clippy::unwrap_used, reason = "a failed test may panic")]
use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::tensor::TensorData;

fn tensor(shape: &[usize], data: TensorData) -> Tensor {
    Tensor::new(shape.to_vec(), data).unwrap()
}

fn words(words: &[&str]) -> Tensor {
    tensor(&[words.len()], TensorData::Bytes(words.iter().map(|word| word.as_bytes().to_vec()).collect()))
}

fn table() -> manifest::Cache {
    manifest::Cache { enabled: true, max_mb: Some(1), shared: false }
}

#[test]
fn whatever_an_answer_depends_on_changes_its_key() {
    let floats = |shape: &[usize], values: &[f32]| vec![tensor(shape, TensorData::Fp32(values.to_vec()))];
    let calls: Vec<(Option<u64>, Vec<Tensor>, Vec<usize>)> = vec![
        (Some(1), floats(&[2], &[1.0, 2.0]), vec![0]),
        (Some(2), floats(&[2], &[1.0, 2.0]), vec![0]),
        (None, floats(&[2], &[1.0, 2.0]), vec![0]),
        (Some(0), floats(&[2], &[1.0, 2.0]), vec![0]),
        (Some(1), floats(&[2], &[1.0, 2.0]), vec![1]),
        (Some(1), floats(&[2], &[1.0, 2.0]), vec![0, 1]),
        (Some(1), floats(&[2], &[1.0, 2.0]), vec![1, 0]),
        (Some(1), floats(&[1, 2], &[1.0, 2.0]), vec![0]),
        (Some(1), floats(&[2], &[2.0, 1.0]), vec![0]),
        (Some(1), floats(&[2], &[0.0, 1.0]), vec![0]),
        (Some(1), floats(&[2], &[-0.0, 1.0]), vec![0]),
        (Some(1), vec![tensor(&[2], TensorData::Int32(vec![1, 2]))], vec![0]),
        (Some(1), vec![tensor(&[2], TensorData::Uint32(vec![1, 2]))], vec![0]),
        (Some(1), vec![words(&["ab", "c"])], vec![0]),
        (Some(1), vec![words(&["a", "bc"])], vec![0]),
        (Some(1), vec![words(&["abc", ""])], vec![0]),
        (Some(1), vec![words(&["a"]), words(&["b"])], vec![0]),
        (Some(1), vec![words(&["a", "b"])], vec![0]),
    ];
    let keys: HashSet<Key> =
        calls.iter().map(|(caller, inputs, outputs)| key(*caller, inputs, outputs)).collect();
    assert_eq!(keys.len(), calls.len());
}

proptest! {
    #[test]
    fn a_key_is_of_the_whole_input(values in prop::collection::vec(any::<i16>(), 1..3000), place: prop::sample::Index) {
        let key_of = |values: &[i16]| key(None, &[tensor(&[values.len()], TensorData::Int16(values.to_vec()))], &[0]);
        let mut other = values.clone();
        let place = place.index(other.len());
        other[place] = other[place].wrapping_add(1);
        prop_assert_eq!(key_of(&values), key_of(&values.clone()));
        prop_assert_ne!(key_of(&values), key_of(&other));
    }
}

#[test]
fn a_cache_that_never_hits_is_rarely_asked() {
    let cache = Cache::new(Some(&table()), 0).unwrap();
    let asked = |cache: &Cache, inputs: &[Tensor]| cache.key(1, inputs, &[0]);
    let different = (0..ROUND).filter(|&number| {
        let inputs = [tensor(&[1], TensorData::Uint32(vec![number]))];
        asked(&cache, &inputs).is_some_and(|key| cache.get(&key).is_none())
    });
    assert_eq!(different.count(), TRIAL as usize);
    // Once calls repeat themselves, all are looked for again.
    let same = [tensor(&[1], TensorData::Uint32(vec![7]))];
    let hits = (0..ROUND).filter(|_| {
        let Some(key) = asked(&cache, &same) else { return false };
        let hit = cache.get(&key).is_some();
        cache.keep(key, &same);
        hit
    });
    assert_eq!(hits.count(), ROUND as usize - 1);
}

#[test]
fn it_is_bounded_in_bytes() {
    let cache = Cache::new(Some(&table()), 0).unwrap();
    for number in 0..100 {
        let answer = [tensor(&[16 << 10], TensorData::Uint32(vec![number; 16 << 10]))];
        cache.keep(key(None, &answer, &[0]), &answer);
    }
    cache.answers.run_pending_tasks();
    assert!(cache.answers.weighted_size() <= 1 << 20 && cache.answers.entry_count() > 0);
    let large = [tensor(&[(1 << 20) + 1], TensorData::Uint8(vec![0; (1 << 20) + 1]))];
    assert_eq!(cache.key(1, &large, &[0]), None);
    assert!(Cache::new(None, 1).is_none());
    assert!(Cache::new(Some(&manifest::Cache { enabled: false, ..table() }), 1).is_none());
}
