//! A bounded queue that takes turns between callers, so that one who sends much delays mostly himself.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::error::Error;

pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
    capacity: usize,
}

struct State<T> {
    /// What each caller waits for, oldest first; never an empty lane.
    lanes: HashMap<u64, VecDeque<T>>,
    /// The callers that have a lane, next turn first.
    turns: VecDeque<u64>,
    length: usize,
    closed: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        let state = State { lanes: HashMap::new(), turns: VecDeque::new(), length: 0, closed: false };
        Self { state: Mutex::new(state), arrived: Condvar::new(), capacity }
    }

    /// Puts an item in its caller's lane, or refuses at once: [`Error::Overloaded`] when full,
    /// [`Error::Unavailable`] when closed.
    pub(crate) fn push(&self, caller: u64, item: T) -> Result<(), Error> {
        let mut state = self.lock();
        if state.closed {
            return Err(Error::shutting_down());
        }
        if state.length >= self.capacity {
            return Err(Error::Overloaded);
        }
        let lane = state.lanes.entry(caller).or_default();
        lane.push_back(item);
        if lane.len() == 1 {
            state.turns.push_back(caller);
        }
        state.length += 1;
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// The next caller's oldest item; waits for one. None once the queue is closed and empty.
    pub(crate) fn pop(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(item) = state.next() {
                return Some(item);
            }
            if state.closed {
                return None;
            }
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes out every item that matches, wherever it waits.
    pub(crate) fn remove(&self, matches: impl Fn(&T) -> bool) -> Vec<T> {
        let mut state = self.lock();
        let mut removed = Vec::new();
        for lane in state.lanes.values_mut() {
            if lane.iter().any(&matches) {
                let (taken, kept): (VecDeque<_>, _) = mem::take(lane).into_iter().partition(&matches);
                *lane = kept;
                removed.extend(taken);
            }
        }
        state.lanes.retain(|_, lane| !lane.is_empty());
        let State { lanes, turns, length, .. } = &mut *state;
        turns.retain(|caller| lanes.contains_key(caller));
        *length -= removed.len();
        removed
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().length
    }

    /// Takes no more items; those inside are still given out.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    /// A panic while the lock was held cannot leave the state half changed: no caller's code runs inside.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn next(&mut self) -> Option<T> {
        let caller = self.turns.pop_front()?;
        let lane = self.lanes.get_mut(&caller)?;
        let item = lane.pop_front()?;
        if lane.is_empty() {
            self.lanes.remove(&caller);
        } else {
            self.turns.push_back(caller);
        }
        self.length -= 1;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;

    #[test]
    fn callers_take_turns() {
        let queue = Queue::new(8);
        for (caller, item) in [(1, "a"), (1, "b"), (1, "c"), (2, "x"), (3, "y")] {
            queue.push(caller, item).unwrap();
        }
        let order: Vec<_> = (0..5).map(|_| queue.pop().unwrap()).collect();
        assert_eq!(order, ["a", "x", "y", "b", "c"]);
    }

    #[test]
    fn a_full_queue_refuses_and_a_closed_one_drains() {
        let queue = Queue::new(2);
        queue.push(1, 1).unwrap();
        queue.push(2, 2).unwrap();
        assert_eq!(queue.push(3, 3), Err(Error::Overloaded));
        queue.close();
        assert!(matches!(queue.push(3, 3), Err(Error::Unavailable(_))));
        assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some(1), Some(2), None));
    }

    #[test]
    fn removing_keeps_the_others_and_their_order() {
        let queue = Queue::new(8);
        for item in 0..6 {
            queue.push(item % 2, item).unwrap();
        }
        assert_eq!(queue.remove(|item| item % 2 == 0 || *item == 3).len(), 4);
        assert_eq!(queue.len(), 2);
        assert_eq!((queue.pop(), queue.pop()), (Some(1), Some(5)));
        queue.push(0, 9).unwrap();
        assert_eq!(queue.pop(), Some(9));
    }
}
