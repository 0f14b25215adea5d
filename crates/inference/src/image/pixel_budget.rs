//! How many pixels are decoded at a time: a small file may hold a large picture, and threads decode side by side.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The pixels that all pictures being decoded may have together.
pub(crate) struct PixelBudget {
    capacity: u64,
    free: Mutex<u64>,
    freed: Condvar,
}

/// Pixels taken; dropping it gives them back.
pub(super) struct PixelPermit<'a> {
    room: &'a PixelBudget,
    pixels: u64,
}

impl PixelBudget {
    pub(crate) fn new(capacity: u64) -> Self {
        Self { capacity, free: Mutex::new(capacity), freed: Condvar::new() }
    }

    /// Waits until there is room; a picture that never fits waits until it is alone.
    pub(super) fn take(&self, pixels: u64) -> PixelPermit<'_> {
        let pixels = pixels.min(self.capacity);
        let mut free = self.lock();
        while *free < pixels {
            free = self.freed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= pixels;
        PixelPermit { room: self, pixels }
    }

    /// Only a number is changed under the lock, at once.
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PixelPermit<'_> {
    fn drop(&mut self) {
        *self.room.lock() += self.pixels;
        self.room.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is_and_all_of_it_comes_back() {
        let room = PixelBudget::new(100);
        let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for pixels in [60, 30, 70, 1000, 10, 100, 50, 40] {
                let (room, now, most) = (&room, &now, &most);
                scope.spawn(move || {
                    let taken = room.take(pixels);
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
        assert_eq!(*room.lock(), 100);
    }
}
