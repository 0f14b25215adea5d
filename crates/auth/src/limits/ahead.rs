//! Counting ahead: who makes many requests a second is counted in Redis for several of them at once.
//!
//! What is counted ahead is counted: no window ever lets through more than its limit, on however many replicas. It
//! belongs to the replica that counted it until the window ends, so of a caller who moves to another replica at once
//! some requests may be refused early: at most a [`SHARE`] of what was left in the window.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use storage::WindowState;

use crate::callers::confirmation::CONFIRMED_FOR;
use crate::limits::Window;

/// Of what is left in a window, at most the 64th part is counted ahead; of less than that, nothing.
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
    fn is(&self, window: &Window, now: DateTime<Utc>) -> bool {
        let longest = window.period + AT_ONCE;
        self.limit == window.limit && self.left(now).is_some_and(|left| left <= longest)
    }

    fn left(&self, now: DateTime<Utc>) -> Option<Duration> {
        (self.ends - now).to_std().ok().filter(|left| !left.is_zero())
    }

    fn state(&self, now: DateTime<Utc>) -> WindowState {
        let remaining = self.remaining.saturating_add(self.ahead);
        WindowState { limit: self.limit, remaining, reset_after: self.left(now).unwrap_or_default() }
    }

    fn request(&mut self, at: Instant) {
        self.requests = self.requests.saturating_add(1);
        self.last_request = self.last_request.max(at);
    }

    /// How much to count beyond a request: for twice as many as came since the last time.
    fn plan(&mut self, at: Instant) -> u32 {
        if self.counting.is_some_and(|began| at.saturating_duration_since(began) < CONFIRMED_FOR) {
            return 0;
        }
        let wanted = self.requests.saturating_mul(2).min(self.remaining / SHARE);
        let more = wanted.saturating_sub(self.ahead);
        self.counting = (more > 0).then_some(at);
        self.requests = 0;
        more
    }

    /// Notes that one request was counted in the store, and `more` ahead.
    fn count(&mut self, window: &Window, more: u32, state: &WindowState, moment: Moment) {
        let ends = moment.clock + state.reset_after;
        // A window lasts its whole period, so one that ends this much later is the next one.
        let is_next = (ends - self.ends).to_std().is_ok_and(|later| later > window.period / 2);
        if is_next || !self.is(window, moment.clock) {
            *self = Self::new(window, more, state, moment);
            return;
        }
        self.ends = self.ends.min(ends);
        self.remaining = state.remaining;
        self.ahead = self.ahead.saturating_add(more);
        if more > 0 {
            self.counting = None;
        }
        self.request(moment.asked);
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
            book.known.get(&window.key).is_some_and(|known| known.ahead > 0 && known.is(window, moment.clock))
        };
        if !windows.iter().all(is_there) {
            return None;
        }
        let draw_one = |window: &Window| {
            let known = book.known.get_mut(&window.key)?;
            known.ahead -= 1;
            known.request(moment.asked);
            Some(known.state(moment.clock))
        };
        windows.iter().map(draw_one).collect()
    }

    /// How much to count of each window: one for the request, and what is expected after it.
    pub fn plan(&self, windows: &[Window], moment: Moment) -> Vec<u32> {
        let mut book = self.book();
        let plan_one = |window: &Window| match book.known.get_mut(&window.key) {
            Some(known) if known.is(window, moment.clock) => 1 + known.plan(moment.asked),
            _ => 1,
        };
        windows.iter().map(plan_one).collect()
    }

    /// Keeps what was `counted` beyond one request, and adds what was kept before to `states`. `is_frequent`: another
    /// request of this caller came a moment ago, so more are expected.
    pub fn keep(
        &self,
        windows: &[Window],
        counted: &[u32],
        states: &mut [WindowState],
        moment: Moment,
        is_frequent: bool,
    ) {
        let mut book = self.book();
        for ((window, counted), state) in windows.iter().zip(counted).zip(states) {
            let more = counted.saturating_sub(1);
            if let Some(known) = book.known.get_mut(&window.key) {
                known.count(window, more, state, moment);
                state.remaining = known.state(moment.clock).remaining;
            } else if is_frequent && window.limit >= SHARE && book.has_room(moment.asked) {
                book.known.insert(window.key.clone(), Known::new(window, more, state, moment));
            }
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// The store's side: one window, shared by replicas.
    #[derive(Default)]
    struct Counter {
        count: u32,
        ends: Option<DateTime<Utc>>,
    }

    impl Counter {
        fn add(&mut self, window: &Window, cost: u32, now: DateTime<Utc>) -> Option<WindowState> {
            let ends = self.ends.filter(|ends| now < *ends).unwrap_or_else(|| {
                self.count = 0;
                now + window.period
            });
            self.ends = Some(ends);
            let count = self.count.checked_add(cost).filter(|count| *count <= window.limit)?;
            self.count = count;
            let reset_after = (ends - now).to_std().unwrap_or_default();
            Some(WindowState { limit: window.limit, remaining: window.limit - count, reset_after })
        }
    }

    struct World {
        window: Window,
        counter: Counter,
        start: Instant,
        trips: u32,
    }

    impl World {
        fn new(limit: u32) -> Self {
            let window = Window { name: "infer", key: "window".into(), limit, period: MINUTE };
            Self { window, counter: Counter::default(), start: Instant::now(), trips: 0 }
        }

        fn at(&self, millis: u64) -> Moment {
            let clock = DateTime::UNIX_EPOCH + Duration::from_millis(millis);
            Moment { clock, asked: self.start + Duration::from_millis(millis) }
        }

        /// What is left after one request, if it was let through.
        fn request(&mut self, replica: &CountedAhead, millis: u64) -> Option<u32> {
            let (moment, windows) = (self.at(millis), [self.window.clone()]);
            let remaining = |states: Vec<WindowState>| states[0].remaining;
            if let Some(states) = replica.draw(&windows, moment) {
                return Some(remaining(states));
            }
            let counts = replica.plan(&windows, moment);
            for counts in [counts, vec![1]] {
                self.trips += 1;
                if let Some(state) = self.counter.add(&self.window, counts[0], moment.clock) {
                    let mut states = [state];
                    replica.keep(&windows, &counts, &mut states, moment, true);
                    return Some(states[0].remaining);
                }
            }
            None
        }
    }

    #[test]
    fn a_fast_caller_costs_few_trips_and_gets_all_of_the_limit_and_no_more() {
        let (mut world, replica) = (World::new(10_000), CountedAhead::default());
        for request in 0..10_000 {
            assert_eq!(world.request(&replica, request), Some(9_999 - request as u32), "told exactly");
        }
        assert_eq!(world.request(&replica, 10_000), None);
        assert!(world.trips < 1_000, "{}", world.trips);
        assert_eq!(world.request(&replica, 60_000), Some(9_999), "the next window");
    }

    #[test]
    fn a_small_window_is_not_counted_ahead() {
        let (mut world, replica) = (World::new(SHARE - 1), CountedAhead::default());
        for _ in 0..SHARE - 1 {
            world.request(&replica, 0).unwrap_or_else(|| panic!("within the limit"));
        }
        assert_eq!((world.trips, world.request(&replica, 0)), (SHARE - 1, None));
    }

    #[test]
    fn what_came_at_once_is_kept_in_whatever_order_it_is_answered() {
        let (world, replica) = (World::new(10_000), CountedAhead::default());
        let (windows, state) = ([world.window.clone()], |remaining| WindowState {
            limit: 10_000,
            remaining,
            reset_after: MINUTE,
        });
        replica.keep(&windows, &[5], &mut [state(9_995)], world.at(2), true);
        replica.keep(&windows, &[1], &mut [state(9_994)], world.at(1), true);
        let left = (0..4).map(|_| replica.draw(&windows, world.at(3)).map(|states| states[0].remaining));
        assert_eq!(left.last(), Some(Some(9_994)));
    }

    #[test]
    fn a_changed_limit_and_a_clock_set_back_end_what_was_counted_ahead() {
        let (mut world, replica) = (World::new(10_000), CountedAhead::default());
        for request in 0..100 {
            world.request(&replica, 2_000 + request);
        }
        let (windows, now) = ([world.window.clone()], world.at(2_100));
        assert!(replica.draw(&windows, now).is_some());
        assert!(replica.draw(&windows, world.at(0)).is_none(), "it would last for more than its period");
        let lower = [Window { limit: 9_000, ..world.window.clone() }];
        assert!(replica.draw(&lower, now).is_none());
        let two = [windows[0].clone(), Window { key: "another".into(), ..windows[0].clone() }];
        let before = replica.draw(&windows, now).map(|states| states[0].remaining);
        assert!(replica.draw(&two, now).is_none());
        let after = replica.draw(&windows, now).map(|states| states[0].remaining + 1);
        assert_eq!(before, after, "of two windows both or none");
    }

    #[test]
    fn what_is_remembered_is_bounded_and_idle_windows_make_room() {
        let (world, replica) = (World::new(1_000), CountedAhead::default());
        let state = WindowState { limit: 1_000, remaining: 999, reset_after: MINUTE };
        let keep = |number: usize, millis: u64| {
            let window = Window { key: number.to_string(), ..world.window.clone() };
            replica.keep(&[window], &[1], &mut [state], world.at(millis), true);
            replica.book().known.len()
        };
        let kept = (0..CAPACITY).map(|number| keep(number, 0)).last();
        assert_eq!(kept, Some(CAPACITY));
        assert_eq!(keep(CAPACITY, 1), CAPACITY, "no room");
        assert_eq!(keep(CAPACITY, 11_000), 1);
    }

    proptest! {
        #[test]
        fn replicas_together_let_through_no_more_than_the_limit_in_any_window(
            limit in 1_u32..2_000,
            requests in vec((0_usize..3, 0_u64..60), 1..3_000),
        ) {
            let (mut world, mut millis) = (World::new(limit), 0);
            let replicas = [const { () }; 3].map(|()| CountedAhead::default());
            let (mut ends, mut admitted) = (None, 0);
            for (replica, pause) in requests {
                // Mostly a flood, at times a pause.
                millis += if pause < 50 { pause / 10 } else { pause * 50 };
                let answer = world.request(&replicas[replica], millis);
                if world.counter.ends != ends {
                    (ends, admitted) = (world.counter.ends, 0);
                }
                admitted += u32::from(answer.is_some());
                prop_assert!(admitted <= limit, "{admitted} of {limit}");
            }
        }
    }
}
