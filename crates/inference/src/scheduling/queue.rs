//! A bounded fair queue: callers take turns, so that one who sends much mostly delays their own calls.
//!
//! Items wait in lanes, one for each caller and priority. The highest priority goes first, unless a lower one was
//! passed over [`PATIENCE`] times: none starves. Within a priority callers take turns. A full queue makes room for a
//! caller who has fewer items waiting than others, by displacing an item of the caller who has most. A caller whose
//! share of the threads is used up waits.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    time::Instant,
};

use parking_lot::{Condvar, Mutex};

use super::{
    share::{Share, Shares},
    ticket::Ticket,
};
use crate::error::Error;

/// One for each priority.
const LEVELS: usize = Ticket::PRIORITIES as usize;
/// How often in a row a waiting priority may be passed over.
const PATIENCE: u32 = 8;

pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    /// Signalled for threads that wait for any item.
    arrived: Condvar,
    /// Signalled for threads that hold an item and wait for more to batch with it.
    more: Condvar,
    capacity: usize,
}

struct State<T> {
    /// Highest priority first.
    levels: [Level<T>; LEVELS],
    length: usize,
    closed: bool,
    shares: Shares,
    /// Threads that wait at `arrived` and at `more`.
    idle: usize,
    gathering: usize,
}

struct Level<T> {
    /// What each caller waits for, oldest first; never an empty lane.
    lanes: HashMap<u64, VecDeque<T>>,
    /// The callers that have a lane, next turn first.
    turns: VecDeque<u64>,
    /// How often it was passed over since its last turn.
    passed: u32,
}

/// Which items a thread takes together, as a batch.
pub(super) trait Grouping<T> {
    /// Whether no further item can join.
    fn is_complete(&self, taken: &[T]) -> bool;

    /// Whether the candidate can join the items taken already.
    fn fits(&self, taken: &[T], candidate: &T) -> bool;

    /// Until when to wait for more, where it is not complete.
    fn wait_until(&self, taken: &[T]) -> Option<Instant>;
}

/// Every item by itself.
pub(super) struct NoGrouping;

impl<T> Grouping<T> for NoGrouping {
    fn is_complete(&self, _: &[T]) -> bool {
        true
    }

    fn fits(&self, _: &[T], _: &T) -> bool {
        false
    }

    fn wait_until(&self, _: &[T]) -> Option<Instant> {
        None
    }
}

impl<T> Queue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self::with_share(capacity, Share::All)
    }

    /// A queue that gives out items of one caller to no more threads at a time than their share; each thread calls
    /// [`done`](Self::done) afterwards.
    pub(crate) fn with_share(capacity: usize, share: Share) -> Self {
        let level = |_| Level { lanes: HashMap::new(), turns: VecDeque::new(), passed: 0 };
        let levels = std::array::from_fn(level);
        let shares = Shares::new(share);
        let state = State { levels, length: 0, closed: false, shares, idle: 0, gathering: 0 };
        Self { state: Mutex::new(state), arrived: Condvar::new(), more: Condvar::new(), capacity }
    }

    /// Like [`put`](Self::put), and wakes a thread for it at once.
    pub(super) fn push(&self, caller: u64, priority: u32, item: T) -> Result<Option<T>, Error> {
        let displaced = self.put(caller, priority, item)?;
        self.wake();
        Ok(displaced)
    }

    /// Puts an item in its caller's lane, or refuses at once: [`Error::Overloaded`] when full, [`Error::Unavailable`]
    /// when closed. Returns the item that was displaced, if any. [`wake`](Self::wake) wakes the waiting threads.
    pub(super) fn put(&self, caller: u64, priority: u32, item: T) -> Result<Option<T>, Error> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Error::shutting_down());
        }
        let displaced = match state.length >= self.capacity {
            true => Some(state.displace(caller).ok_or(Error::Overloaded)?),
            false => None,
        };
        state.levels[level(priority)].push(caller, item);
        state.length += 1;
        state.shares.note(caller, Instant::now());
        Ok(displaced)
    }

    /// Wakes a thread for what was put, where nobody took it yet and one waits. Tells how much waits. To be called again
    /// and again meanwhile: time alone may give a caller their whole share back.
    pub(super) fn wake(&self) -> usize {
        let state = self.state.lock();
        let (length, idle, gathering) = (state.length, state.idle, state.gathering);
        drop(state);
        // A thread that gathers and cannot use the item wakes an idle one.
        if length > 0 && gathering > 0 {
            self.more.notify_all();
        } else if length > 0 && idle > 0 {
            self.arrived.notify_one();
        }
        length
    }

    /// Whether a caller may run without queueing: nothing waits, and their share is not used up. They call
    /// [`done`](Self::done) afterwards.
    pub(super) fn try_bypass(&self, caller: u64) -> bool {
        let mut state = self.state.lock();
        if state.closed || state.length > 0 {
            return false;
        }
        let now = Instant::now();
        state.shares.note(caller, now);
        let passes = !state.shares.exhausted(now).contains(&caller);
        if passes {
            state.shares.start(caller);
        }
        passes
    }

    /// Waits for the oldest item of the caller whose turn it is, and takes what can join it. Empty once the queue is
    /// closed and drained.
    pub(super) fn take(&self, together: &impl Grouping<T>) -> Vec<T> {
        let mut state = self.state.lock();
        let mut taken = Vec::new();
        loop {
            if let Some(item) = state.next() {
                taken.push(item);
                break;
            }
            if state.closed && state.length == 0 {
                return taken;
            }
            state.idle += 1;
            self.arrived.wait(&mut state);
            state.idle -= 1;
        }
        while !together.is_complete(&taken) {
            state.gather(&mut taken, together);
            let left = |until: Instant| until.saturating_duration_since(Instant::now());
            let left = together.wait_until(&taken).map(left).filter(|left| !left.is_zero());
            let Some(left) = left.filter(|_| !state.closed && !together.is_complete(&taken)) else { break };
            self.wake_next(&state);
            state.gathering += 1;
            self.more.wait_for(&mut state, left);
            state.gathering -= 1;
        }
        self.wake_next(&state);
        taken
    }

    /// To be called when a thread has finished the items that it took, the first of which was this caller's.
    pub(super) fn done(&self, caller: u64) {
        let mut state = self.state.lock();
        if !state.shares.is_bounded() {
            return;
        }
        state.shares.stop(caller);
        // Others of theirs may be taken now, and a closed queue may be empty.
        if state.idle > 0 {
            self.arrived.notify_all();
        }
    }

    /// Wakes an idle thread if items remain.
    fn wake_next(&self, state: &State<T>) {
        if state.length > 0 && state.idle > 0 {
            self.arrived.notify_one();
        }
    }

    /// Takes out every item that matches, wherever it waits.
    pub(super) fn remove(&self, matches: impl Fn(&T) -> bool) -> Vec<T> {
        let mut state = self.state.lock();
        let mut removed = Vec::new();
        for level in &mut state.levels {
            level.remove(&matches, &mut removed);
        }
        state.length -= removed.len();
        removed
    }

    pub(super) fn len(&self) -> usize {
        self.state.lock().length
    }

    /// Takes no more items; those inside are still given out.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.arrived.notify_all();
        self.more.notify_all();
    }
}

/// 1 is the first priority, 0 the default, and what is beyond the last counts as the last.
fn level(priority: u32) -> usize {
    let priority = if priority == 0 { Ticket::DEFAULT_PRIORITY } else { priority.min(Ticket::PRIORITIES) };
    priority as usize - 1
}

impl<T> State<T> {
    fn next(&mut self) -> Option<T> {
        let busy = self.shares.exhausted(Instant::now());
        let waits = |level: &Level<T>| level.turns.iter().any(|caller| !busy.contains(caller));
        let first = self.levels.iter().position(waits)?;
        let starves = |place: &usize| waits(&self.levels[*place]) && self.levels[*place].passed >= PATIENCE;
        let turn = (first + 1..LEVELS).find(starves).unwrap_or(first);
        for (place, level) in self.levels.iter_mut().enumerate().filter(|(_, level)| waits(level)) {
            level.passed = if place == turn { 0 } else { level.passed + 1 };
        }
        let (caller, item) = self.levels[turn].next(&busy)?;
        self.length -= 1;
        self.shares.start(caller);
        Some(item)
    }

    /// Takes what goes together with what was taken, of each caller in turn, again and again while there is any.
    fn gather(&mut self, taken: &mut Vec<T>, together: &impl Grouping<T>) {
        let before = taken.len();
        // What goes together with a run keeps no other thread busy.
        for level in &mut self.levels {
            while !together.is_complete(taken) && level.gather(taken, together) {}
        }
        self.length -= taken.len() - before;
    }

    /// Takes the newest and least urgent item of whoever waits with most, if that is more than `caller` would have.
    fn displace(&mut self, caller: u64) -> Option<T> {
        let mut waiting: HashMap<u64, usize> = HashMap::new();
        for (caller, lane) in self.levels.iter().flat_map(|level| &level.lanes) {
            *waiting.entry(*caller).or_default() += lane.len();
        }
        let own = waiting.get(&caller).copied().unwrap_or_default();
        let (most, count) = waiting.into_iter().max_by_key(|(_, count)| *count)?;
        if count <= own + 1 {
            return None;
        }
        let item = self.levels.iter_mut().rev().find_map(|level| level.pop_newest(most))?;
        self.length -= 1;
        Some(item)
    }
}

impl<T> Level<T> {
    fn push(&mut self, caller: u64, item: T) {
        let lane = self.lanes.entry(caller).or_default();
        lane.push_back(item);
        if lane.len() == 1 {
            self.turns.push_back(caller);
        }
    }

    /// The oldest item of the next caller who is not busy enough.
    fn next(&mut self, busy: &[u64]) -> Option<(u64, T)> {
        let place = self.turns.iter().position(|caller| !busy.contains(caller))?;
        let caller = self.turns.remove(place)?;
        let lane = self.lanes.get_mut(&caller)?;
        let item = lane.pop_front()?;
        if lane.is_empty() {
            self.lanes.remove(&caller);
        } else {
            self.turns.push_back(caller);
        }
        Some((caller, item))
    }

    /// Takes at most one item of each caller; those who gave one go to the end. Tells whether any did.
    fn gather(&mut self, taken: &mut Vec<T>, together: &impl Grouping<T>) -> bool {
        let (mut gave, mut kept) = (VecDeque::new(), VecDeque::new());
        let before = taken.len();
        for caller in mem::take(&mut self.turns) {
            let lane = self.lanes.get_mut(&caller);
            let fits = |item: &mut T| together.fits(taken, item);
            match lane.and_then(|lane| lane.pop_front_if(fits).map(|item| (item, lane.is_empty()))) {
                Some((item, last)) => {
                    taken.push(item);
                    match last {
                        true => drop(self.lanes.remove(&caller)),
                        false => gave.push_back(caller),
                    }
                }
                None => kept.push_back(caller),
            }
        }
        kept.append(&mut gave);
        self.turns = kept;
        taken.len() > before
    }

    fn pop_newest(&mut self, caller: u64) -> Option<T> {
        let lane = self.lanes.get_mut(&caller)?;
        let item = lane.pop_back();
        if lane.is_empty() {
            self.lanes.remove(&caller);
            self.turns.retain(|turn| *turn != caller);
        }
        item
    }

    fn remove(&mut self, matches: &impl Fn(&T) -> bool, removed: &mut Vec<T>) {
        for lane in self.lanes.values_mut() {
            if lane.iter().any(matches) {
                let (taken, kept): (VecDeque<_>, _) = mem::take(lane).into_iter().partition(matches);
                *lane = kept;
                removed.extend(taken);
            }
        }
        self.lanes.retain(|_, lane| !lane.is_empty());
        self.turns.retain(|caller| self.lanes.contains_key(caller));
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
