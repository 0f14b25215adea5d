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
        assert!(world.request(&replica, 0).is_some());
    }
    assert_eq!((world.trips, world.request(&replica, 0)), (SHARE - 1, None));
}

#[test]
fn what_came_at_once_is_kept_in_whatever_order_it_is_answered() {
    let (world, replica) = (World::new(10_000), CountedAhead::default());
    let (windows, state) =
        ([world.window.clone()], |remaining| WindowState { limit: 10_000, remaining, reset_after: MINUTE });
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
fn beside_a_window_that_is_not_counted_ahead_none_is() {
    let (mut world, replica) = (World::new(10_000), CountedAhead::default());
    for request in 0..100 {
        world.request(&replica, request);
    }
    let (large, now) = (world.window.clone(), world.at(1_000));
    let once = Window { key: "nonce".into(), limit: 1, ..large.clone() };
    assert_eq!(replica.plan(&[large.clone(), once], now), [1, 1]);
    assert!(replica.plan(&[large], now)[0] > 1);
}

#[test]
fn what_is_there_is_used_where_the_other_windows_have_room() {
    let (mut world, replica) = (World::new(10_000), CountedAhead::default());
    for request in 0..3 {
        world.request(&replica, request);
    }
    let (windows, now) = ([world.window.clone()], world.at(3));
    let left = |replica: &CountedAhead| replica.book().known["window"].ahead;
    let before = left(&replica);
    let both = [windows[0].clone(), Window { key: "another".into(), ..windows[0].clone() }];
    assert_eq!(replica.draw_some(&both, now), [0, 1]);
    assert_eq!(left(&replica), before - 1);
    replica.put_back(&both, &[0, 1]);
    assert_eq!(left(&replica), before);
}

#[test]
fn a_window_that_the_store_forgot_begins_anew_here_too() {
    let (mut world, replica) = (World::new(6_400), CountedAhead::default());
    for request in 0..100 {
        world.request(&replica, request);
    }
    world.counter = Counter::default();
    while world.counter.ends.is_none() {
        world.request(&replica, 10_000);
    }
    let state = replica.book().known["window"].state(world.at(10_000).clock);
    assert_eq!(state.remaining, world.window.limit - 1);
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
    for number in 0..CAPACITY {
        assert_eq!(keep(number, 0), number + 1);
    }
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
        let replicas: [CountedAhead; 3] = Default::default();
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
