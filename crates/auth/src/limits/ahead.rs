//! Counting ahead: who makes many requests a second is counted in Redis for several of them at once.
//!
//! What is counted ahead is counted: no window ever lets through more than its limit, on however many replicas. It
//! belongs to the replica that counted it until the window ends, so a caller who moves to another replica may be refused
//! early there, by at most a 64th of the limit ([`SHARE`]).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use parking_lot::{Mutex, MutexGuard};
use storage::WindowState;

use crate::callers::confirmation::CONFIRMED_FOR;
use crate::limits::Window;

/// Of what a replica last saw left in a window, at most the 64th part is counted ahead; of less than 64, nothing.
const SHARE: u32 = 64;
/// Windows that are counted ahead at a time; requests in others cost a trip each.
const CAPACITY: usize = 20_000;
/// Requests at once read the clock in another order than the store answers them.
const AT_ONCE: Duration = Duration::from_secs(1);
/// A window without a request for so long makes room for others, and how often that is looked for.
const IDLE_AFTER: Duration = Duration::from_secs(10);

/// One window as this replica knows it.
struct Known {
    limit: u32,
    /// When it ends, at the latest.
    ends: DateTime<Utc>,
    /// What is left in the store.
    remaining: u32,
    /// What was counted there and not yet used here.
    ahead: u32,
    /// Requests since the last counting ahead: as many come until the next one.
    requests: u32,
    /// When somebody began to count ahead; nobody else does meanwhile.
    counting: Option<Instant>,
    last_request: Instant,
}

impl Known {
    fn new(window: &Window, ahead: u32, state: &WindowState, moment: Moment) -> Self {
        Self {
            limit: window.limit,
            ends: moment.clock + state.reset_after,
            remaining: state.remaining,
            ahead,
            requests: 1,
            counting: None,
            last_request: moment.asked,
        }
    }

    /// Whether it is the window that a request is counted in now: one that would last longer than its period was begun
    /// before the clock was set back.
    fn is_current(&self, window: &Window, now: DateTime<Utc>) -> bool {
        let longest = window.period + AT_ONCE;
        self.limit == window.limit && self.left(now).is_some_and(|left| left <= longest)
    }

    fn has_ahead(&self, window: &Window, moment: Moment) -> bool {
        self.ahead > 0 && self.is_current(window, moment.clock)
    }

    fn left(&self, now: DateTime<Utc>) -> Option<Duration> {
        (self.ends - now).to_std().ok().filter(|left| !left.is_zero())
    }

    fn state(&self, now: DateTime<Utc>) -> WindowState {
        let remaining = self.remaining.saturating_add(self.ahead);
        WindowState { limit: self.limit, remaining, reset_after: self.left(now).unwrap_or_default() }
    }

    fn note_request(&mut self, at: Instant) {
        self.requests = self.requests.saturating_add(1);
        self.last_request = self.last_request.max(at);
    }

    /// How many requests to be ready for, twice as many as came since the last time; none while somebody counts.
    fn expected(&self, at: Instant) -> Option<u32> {
        let counts = |began| at.saturating_duration_since(began) < CONFIRMED_FOR;
        let expected = self.requests.saturating_mul(2).min(self.remaining / SHARE);
        (!self.counting.is_some_and(counts) && expected > 0).then_some(expected)
    }

    /// Begins to count ahead, up to `expected`; gives how many are lacking.
    fn begin_counting(&mut self, expected: u32, at: Instant) -> u32 {
        let more = expected.saturating_sub(self.ahead);
        self.counting = (more > 0).then_some(at);
        self.requests = 0;
        more
    }

    /// Notes that a request was counted in the store, and `more` ahead.
    fn note_counted(&mut self, window: &Window, more: u32, state: &WindowState, moment: Moment) {
        let ends = moment.clock + state.reset_after;
        // The end of a window does not move, so this is another one: the next, or the first after the store forgot.
        let is_other = (ends - self.ends).to_std().is_ok_and(|later| later > AT_ONCE);
        if is_other || !self.is_current(window, moment.clock) {
            *self = Self::new(window, more, state, moment);
            return;
        }
        self.ends = self.ends.min(ends);
        self.remaining = state.remaining;
        self.ahead = self.ahead.saturating_add(more);
        if more > 0 {
            self.counting = None;
        }
        self.note_request(moment.asked);
    }
}

/// When a request was admitted: before the store was asked, so that what is concluded from it errs on the early side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// By the injected clock, which windows go by.
    pub clock: DateTime<Utc>,
    /// In real time.
    pub asked: Instant,
}

/// What was counted ahead, by the windows' keys.
#[derive(Default)]
pub(crate) struct CountedAhead(Mutex<Book>);

#[derive(Default)]
struct Book {
    known: HashMap<String, Known>,
    swept: Option<Instant>,
}

impl CountedAhead {
    /// Uses one count of every window, or none of any.
    pub fn draw(&self, windows: &[Window], moment: Moment) -> Option<Vec<WindowState>> {
        let mut book = self.book();
        let is_there = |window: &Window| {
            book.known.get(&window.key).is_some_and(|known| known.has_ahead(window, moment))
        };
        if !windows.iter().all(is_there) {
            return None;
        }
        let draw_one = |window: &Window| {
            let known = book.known.get_mut(&window.key)?;
            known.ahead = known.ahead.checked_sub(1)?;
            known.note_request(moment.asked);
            Some(known.state(moment.clock))
        };
        windows.iter().map(draw_one).collect()
    }

    /// How much to count of each window: one for the request, and what is expected after it; no more than one where it
    /// could not be drawn, because a request is counted in a window of which nothing is counted ahead.
    pub fn plan(&self, windows: &[Window], moment: Moment) -> Vec<u32> {
        let mut book = self.book();
        let of_window = |window: &Window| {
            let known = book.known.get(&window.key)?;
            known.is_current(window, moment.clock).then(|| known.expected(moment.asked))?
        };
        let Some(Some(expected)) = windows.iter().map(of_window).min() else {
            return vec![1; windows.len()];
        };
        let mut plan_one = |window: &Window| {
            1 + book
                .known
                .get_mut(&window.key)
                .map_or(0, |known| known.begin_counting(expected, moment.asked))
        };
        windows.iter().map(&mut plan_one).collect()
    }

    /// Uses one count of each window that has any, and gives what is still to be counted: one for each of the others.
    pub fn draw_some(&self, windows: &[Window], moment: Moment) -> Vec<u32> {
        let mut book = self.book();
        let draw_one = |window: &Window| match book.known.get_mut(&window.key) {
            Some(known) if known.has_ahead(window, moment) => {
                known.ahead -= 1;
                0
            }
            _ => 1,
        };
        windows.iter().map(draw_one).collect()
    }

    /// Gives back what [`Self::draw_some`] used.
    pub fn put_back(&self, windows: &[Window], counts: &[u32]) {
        let mut book = self.book();
        for (window, _) in windows.iter().zip(counts).filter(|(_, count)| **count == 0) {
            if let Some(known) = book.known.get_mut(&window.key) {
                known.ahead = known.ahead.saturating_add(1);
            }
        }
    }

    /// Keeps what was `counted` beyond one request, and adds what was kept before to `states`. Windows of callers who
    /// were not confirmed lately are not kept: nothing tells that more requests follow.
    pub fn keep(
        &self,
        windows: &[Window],
        counted: &[u32],
        states: &mut [WindowState],
        moment: Moment,
        was_confirmed: bool,
    ) {
        let mut book = self.book();
        for ((window, counted), state) in windows.iter().zip(counted).zip(states) {
            let more = counted.saturating_sub(1);
            if let Some(known) = book.known.get_mut(&window.key) {
                known.note_counted(window, more, state, moment);
                state.remaining = known.state(moment.clock).remaining;
            } else if was_confirmed && window.limit >= SHARE && book.has_room(moment.asked) {
                book.known.insert(window.key.clone(), Known::new(window, more, state, moment));
            }
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock()
    }
}

impl Book {
    fn has_room(&mut self, at: Instant) -> bool {
        let is_due = || self.swept.is_none_or(|swept| at.saturating_duration_since(swept) > IDLE_AFTER);
        if self.known.len() >= CAPACITY && is_due() {
            self.swept = Some(at);
            self.known.retain(|_, known| at.saturating_duration_since(known.last_request) < IDLE_AFTER);
        }
        self.known.len() < CAPACITY
    }
}

#[cfg(test)]
mod tests;
