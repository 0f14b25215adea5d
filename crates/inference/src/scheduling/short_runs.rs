//! Runs so short that waking a worker takes longer than they do: the calling thread runs them at once.
//!
//! Only a call that is alone runs this way: when several arrive at once the model's worker is quicker, since each
//! thread then repeats the same work in a row, and clients that wait together are woken together.
//!
//! A run keeps a web worker from everything else, so nothing is run there that could take long. The model is of
//! operators whose work the shapes of the inputs decide and not their values, it is computed by the processor, its
//! calls are not gathered into batches, and no input of a call is longer in any dimension, or has more bytes, than
//! those of others were whose runs were short: as many bytes in another shape may be much more work.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};

use super::job::size;
use crate::tensor::Tensor;

/// What a short run takes at most; waking a thread and being woken by it takes a tenth of that.
const SHORT: Duration = Duration::from_micros(100);
/// A run that took longer than this is not short, even on a busy machine.
const LONG: Duration = Duration::from_millis(10);
/// Short runs in a row that show how long a call of that size takes; twice as many after each that was long.
const TRIALS: u32 = 16;
/// The most of them.
const MOST_TRIALS: u32 = 1 << 20;

/// What is known about the duration of a model's runs.
pub(crate) struct ShortRuns {
    possible: bool,
    known: Mutex<Known>,
    /// Calls that came, and those of them that look whether they are alone.
    came: AtomicUsize,
    looking: AtomicUsize,
}

struct Known {
    /// Calls that are no larger than this are short.
    proven: Option<Extent>,
    /// The smallest of several calls in a row that were short, and how many they are.
    candidate: Option<(Extent, u32)>,
    /// How many it takes.
    needed: u32,
}

/// How large the inputs of a call are: the shape of each, and their bytes together.
struct Extent {
    shapes: Vec<Vec<usize>>,
    bytes: usize,
}

impl Extent {
    fn of(inputs: &[Tensor]) -> Self {
        Self { shapes: inputs.iter().map(|input| input.shape().to_vec()).collect(), bytes: size(inputs) }
    }

    /// Whether the inputs are larger in nothing.
    fn covers(&self, inputs: &[Tensor]) -> bool {
        self.compares(inputs, |own, theirs| theirs <= own)
    }

    /// Whether the inputs are smaller in nothing.
    fn is_covered_by(&self, inputs: &[Tensor]) -> bool {
        self.compares(inputs, |own, theirs| theirs >= own)
    }

    fn compares(&self, inputs: &[Tensor], holds: fn(usize, usize) -> bool) -> bool {
        let each = |(own, input): (&Vec<usize>, &Tensor)| {
            let theirs = input.shape();
            own.len() == theirs.len() && own.iter().zip(theirs).all(|(own, theirs)| holds(*own, *theirs))
        };
        self.shapes.len() == inputs.len()
            && self.shapes.iter().zip(inputs).all(each)
            && holds(self.bytes, size(inputs))
    }
}

impl ShortRuns {
    /// Of a model that has none, or may have.
    pub(crate) fn new(possible: bool) -> Self {
        let known = Mutex::new(Known { proven: None, candidate: None, needed: TRIALS });
        Self { possible, known, came: AtomicUsize::new(0), looking: AtomicUsize::new(0) }
    }

    /// A look whether this call is alone, where it is sure to be short and none before it looks already. The thread
    /// is to be yielded once before the answer is asked for, so that calls that have arrived already are read first.
    pub(super) fn look(&self, inputs: &[Tensor]) -> Option<AloneCheck<'_>> {
        if !self.is_sure(inputs) {
            return None;
        }
        let number = self.came.fetch_add(1, Ordering::Relaxed) + 1;
        // Counted down when it is dropped, also where another was before.
        let looking = AloneCheck { runs: self, number };
        (self.looking.fetch_add(1, Ordering::Relaxed) == 0).then_some(looking)
    }

    fn is_sure(&self, inputs: &[Tensor]) -> bool {
        self.possible && self.known().proven.as_ref().is_some_and(|proven| proven.covers(inputs))
    }

    /// A call took so long.
    pub(super) fn note(&self, inputs: &[Tensor], took: Duration) {
        if self.possible {
            self.known().note(inputs, took);
        }
    }

    /// Nothing can panic while this is held.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock()
    }
}

impl Known {
    fn note(&mut self, inputs: &[Tensor], took: Duration) {
        if took > SHORT {
            (self.proven, self.candidate) = (None, None);
            if took > LONG {
                self.needed = self.needed.saturating_mul(2).min(MOST_TRIALS);
            }
            return;
        }
        if self.proven.as_ref().is_some_and(|proven| proven.covers(inputs)) {
            return;
        }
        let candidate = match self.candidate.take() {
            Some((least, seen)) if least.is_covered_by(inputs) => (least, seen + 1),
            // Those before were larger, which shows it of this one all the more.
            Some((least, seen)) if least.covers(inputs) => (Extent::of(inputs), seen + 1),
            _ => (Extent::of(inputs), 1),
        };
        if candidate.1 >= self.needed {
            self.proven = Some(candidate.0);
        } else {
            self.candidate = Some(candidate);
        }
    }
}

/// A call that looks whether it is alone; no more once this is dropped.
pub(super) struct AloneCheck<'a> {
    runs: &'a ShortRuns,
    number: usize,
}

impl AloneCheck<'_> {
    /// Whether no other came since.
    pub(super) fn stayed_alone(self) -> bool {
        self.runs.came.load(Ordering::Relaxed) == self.number
    }
}

impl Drop for AloneCheck<'_> {
    fn drop(&mut self) {
        self.runs.looking.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::tensor::TensorData;

    const QUICK: Duration = Duration::from_micros(10);

    fn call(shape: &[usize]) -> Vec<Tensor> {
        let elements = vec![0.0; shape.iter().product()];
        vec![Tensor::new(shape.to_vec(), TensorData::Fp32(elements)).unwrap()]
    }

    fn note(runs: &ShortRuns, times: u32, shape: &[usize]) {
        (0..times).for_each(|_| runs.note(&call(shape), QUICK));
    }

    fn is_sure(runs: &ShortRuns, shape: &[usize]) -> bool {
        runs.is_sure(&call(shape))
    }

    #[test]
    fn a_call_is_sure_to_be_short_when_as_large_ones_were_again_and_again() {
        let runs = ShortRuns::new(true);
        note(&runs, TRIALS - 1, &[2, 64]);
        assert!(!is_sure(&runs, &[2, 64]), "not yet");
        note(&runs, 1, &[2, 64]);
        assert!(is_sure(&runs, &[2, 64]) && is_sure(&runs, &[1, 64]) && !is_sure(&runs, &[3, 64]));
        assert!(!is_sure(&runs, &[64, 2]) && !is_sure(&runs, &[128]), "as many bytes may be more work");
        assert!(!runs.is_sure(&[call(&[1, 1]), call(&[1, 1])].concat()), "and so may another input");
        note(&runs, TRIALS, &[128, 1]);
        assert!(is_sure(&runs, &[128, 1]) && !is_sure(&runs, &[128, 64]), "nobody saw both at once");
        runs.note(&call(&[1, 1]), SHORT * 2);
        assert!(!is_sure(&runs, &[1, 1]), "one was not");
    }

    #[test]
    fn calls_of_many_sizes_show_it_of_the_smallest_of_them() {
        let runs = ShortRuns::new(true);
        for rows in 0..TRIALS as usize {
            note(&runs, 1, &[4 + rows * 7 % 16, 64]);
        }
        assert!(is_sure(&runs, &[4, 64]) && !is_sure(&runs, &[5, 64]));
    }

    #[test]
    fn of_calls_that_come_together_none_but_the_first_looks_and_it_is_not_alone() {
        let (runs, call) = (ShortRuns::new(true), call(&[1, 64]));
        assert!(runs.look(&call).is_none(), "nothing is known yet");
        note(&runs, TRIALS, &[1, 64]);
        for _ in 0..2 {
            assert!(runs.look(&call).unwrap().stayed_alone(), "one after the other");
        }
        let first = runs.look(&call).unwrap();
        assert!(runs.look(&call).is_none() && runs.look(&call).is_none());
        assert!(!first.stayed_alone());
        drop(runs.look(&call));
        assert!(runs.look(&call).unwrap().stayed_alone(), "one that was dropped looks no more");
    }

    #[test]
    fn a_long_run_takes_twice_as_many_to_be_forgotten() {
        let runs = ShortRuns::new(true);
        for round in 1..4 {
            runs.note(&call(&[1, 64]), LONG * 2);
            note(&runs, (TRIALS << round) - 1, &[1, 64]);
            assert!(!is_sure(&runs, &[1, 64]));
            note(&runs, 1, &[1, 64]);
            assert!(is_sure(&runs, &[1, 64]));
        }
        let never = ShortRuns::new(false);
        note(&never, TRIALS, &[1, 64]);
        assert!(!is_sure(&never, &[1, 1]));
    }
}
