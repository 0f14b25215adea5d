//! How many pixels are decoded at a time: a small file may hold a large picture, and threads decode side by side.

use std::{collections::VecDeque, time::Duration};

use parking_lot::{Condvar, Mutex};

/// How often it is asked whether a picture that waits is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// The pixels that all pictures being decoded may have together. Pictures get theirs in the order in which they ask, so
/// that small ones never keep a large one waiting.
pub(crate) struct PixelBudget {
    capacity: u64,
    /// Under it `is_wanted` is asked, which must not panic: its turn would stay.
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    free: u64,
    /// The turns of those who wait, first come first.
    waiting: VecDeque<u64>,
    next_turn: u64,
}

/// Pixels taken; dropping it gives them back.
pub(super) struct PixelPermit<'a> {
    room: &'a PixelBudget,
    pixels: u64,
}

impl PixelBudget {
    pub(crate) fn new(capacity: u64) -> Self {
        let state = State { free: capacity, waiting: VecDeque::new(), next_turn: 0 };
        Self { capacity, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Waits until there is room; a picture that never fits waits until it is alone. None: it is not wanted any more.
    pub(super) fn take(&self, pixels: u64, is_wanted: impl Fn() -> bool) -> Option<PixelPermit<'_>> {
        let pixels = pixels.min(self.capacity);
        let mut state = self.state.lock();
        let turn = state.next_turn;
        state.next_turn += 1;
        state.waiting.push_back(turn);
        loop {
            let is_first = state.waiting.front() == Some(&turn);
            let is_wanted = is_wanted();
            if is_wanted && (!is_first || state.free < pixels) {
                self.changed.wait_for(&mut state, LOOK);
                continue;
            }
            state.waiting.retain(|waiting| *waiting != turn);
            self.changed.notify_all();
            if !is_wanted {
                return None;
            }
            state.free -= pixels;
            return Some(PixelPermit { room: self, pixels });
        }
    }
}

impl Drop for PixelPermit<'_> {
    fn drop(&mut self) {
        self.room.state.lock().free += self.pixels;
        self.room.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is_and_all_of_it_comes_back() {
        let room = PixelBudget::new(100);
        let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for pixels in [60, 30, 70, 1000, 10, 100, 50, 40] {
                let (room, now, most) = (&room, &now, &most);
                scope.spawn(move || {
                    let taken = room.take(pixels, || true).unwrap();
                    most.fetch_max(
                        now.fetch_add(taken.pixels, Ordering::SeqCst) + taken.pixels,
                        Ordering::SeqCst,
                    );
                    std::thread::sleep(std::time::Duration::from_millis(2));
                    now.fetch_sub(taken.pixels, Ordering::SeqCst);
                });
            }
        });
        assert!(most.into_inner() <= 100);
        assert_eq!(room.state.lock().free, 100);
    }

    #[test]
    fn a_large_picture_waits_for_those_before_it_only() {
        let room = PixelBudget::new(100);
        let waits = |count: usize| while room.state.lock().waiting.len() != count {};
        let first = room.take(60, || true).unwrap();
        std::thread::scope(|scope| {
            let large = scope.spawn(|| room.take(90, || true).map(|taken| taken.pixels));
            waits(1);
            // There would be room for it.
            let small = scope.spawn(|| room.take(10, || true).map(|taken| taken.pixels));
            waits(2);
            drop(first);
            assert_eq!((large.join().unwrap(), small.join().unwrap()), (Some(90), Some(10)));
        });
    }

    #[test]
    fn a_picture_that_nobody_wants_keeps_nobody_waiting() {
        let room = PixelBudget::new(100);
        let (wanted, first) = (AtomicBool::new(true), room.take(60, || true).unwrap());
        std::thread::scope(|scope| {
            let large = scope.spawn(|| room.take(90, || wanted.load(Ordering::SeqCst)).is_some());
            while room.state.lock().waiting.is_empty() {}
            wanted.store(false, Ordering::SeqCst);
            assert!(!large.join().unwrap());
        });
        assert!(room.take(40, || true).is_some());
        drop(first);
        assert_eq!(room.state.lock().free, 100);
    }
}
