#![expect(clippy::unwrap_used, reason = "a failed test may panic")]
use std::time::Duration;

use super::*;

/// Numbers that leave the same remainder by ten go together, up to three, within the window.
struct Alike(Duration);

impl Grouping<u32> for Alike {
    fn is_complete(&self, taken: &[u32]) -> bool {
        taken.len() >= 3
    }

    fn fits(&self, taken: &[u32], candidate: &u32) -> bool {
        taken.len() < 3 && taken[0] % 10 == candidate % 10
    }

    fn wait_until(&self, _: &[u32]) -> Option<Instant> {
        Some(Instant::now() + self.0)
    }
}

fn drain(queue: &Queue<u32>) -> Vec<u32> {
    (0..queue.len()).map(|_| queue.take(&NoGrouping)[0]).collect()
}

#[test]
fn callers_take_turns() {
    let queue = Queue::new(8);
    for (caller, item) in [(1, 10), (1, 11), (1, 12), (2, 20), (3, 30)] {
        queue.push(caller, 0, item).unwrap();
    }
    assert_eq!(drain(&queue), [10, 20, 30, 11, 12]);
}

#[test]
fn a_full_queue_refuses_and_a_closed_one_drains() {
    let queue = Queue::new(2);
    queue.push(1, 0, 1).unwrap();
    queue.push(2, 0, 2).unwrap();
    assert_eq!(queue.push(3, 0, 3), Err(Error::Overloaded));
    queue.close();
    assert!(matches!(queue.push(3, 0, 3), Err(Error::Unavailable(_))));
    assert_eq!(drain(&queue), [1, 2]);
    assert!(queue.take(&NoGrouping).is_empty());
}

#[test]
fn a_full_queue_makes_room_at_the_cost_of_whoever_waits_with_most() {
    let queue = Queue::new(4);
    for item in 10..14 {
        queue.push(1, if item == 12 { 5 } else { 1 }, item).unwrap();
    }
    assert_eq!(queue.push(1, 1, 14), Err(Error::Overloaded), "the one who fills it gains nothing");
    assert_eq!(queue.push(2, 5, 20), Ok(Some(12)), "the least urgent goes first");
    assert_eq!(queue.push(2, 5, 21), Ok(Some(13)), "then the newest");
    assert_eq!(queue.push(2, 1, 22), Err(Error::Overloaded), "now both have as much");
    assert_eq!(drain(&queue), [10, 11, 20, 21]);
}

#[test]
fn removing_keeps_the_others_and_their_order() {
    let queue = Queue::new(8);
    for item in 0..6 {
        queue.push(u64::from(item % 2), 0, item).unwrap();
    }
    assert_eq!(queue.remove(|item| item % 2 == 0 || *item == 3).len(), 4);
    assert_eq!(drain(&queue), [1, 5]);
    queue.push(0, 0, 9).unwrap();
    assert_eq!(drain(&queue), [9]);
}

#[test]
fn the_urgent_go_first_and_nobody_starves() {
    let queue = Queue::new(100);
    for item in 0..30 {
        queue.push(1, 1, item).unwrap();
    }
    for (priority, item) in [(0, 300), (3, 301), (2, 200), (99, 500)] {
        queue.push(2, priority, item).unwrap();
    }
    let order = drain(&queue);
    let place = |item: u32| order.iter().position(|other| *other == item).unwrap();
    assert_eq!(order[..8], [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!([200, 300, 500].map(place), [8, 9, 10], "after eight turns of others it is theirs");
    assert!(place(301) > 17 && place(301) < 30, "{order:?}");
}

#[test]
fn a_caller_keeps_no_more_threads_busy_than_their_share() {
    let queue = Queue::with_share(8, Share::Fixed(1));
    for (caller, item) in [(1, 10), (1, 11), (2, 20), (1, 12)] {
        queue.push(caller, 1, item).unwrap();
    }
    queue.push(3, 5, 30).unwrap();
    assert_eq!(
        [queue.take(&NoGrouping)[0], queue.take(&NoGrouping)[0], queue.take(&NoGrouping)[0]],
        [10, 20, 30]
    );
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| queue.take(&NoGrouping));
        while queue.state.lock().idle == 0 {
            std::thread::yield_now();
        }
        queue.done(2);
        queue.close();
        assert!(!waiting.is_finished(), "what is left is the first caller's");
        queue.done(1);
        assert_eq!(waiting.join().unwrap(), [11]);
    });
    queue.done(1);
    assert_eq!(queue.take(&NoGrouping), [12]);
    assert!(queue.take(&NoGrouping).is_empty());
    let mut busy = queue.state.lock().shares.exhausted(Instant::now());
    busy.sort_unstable();
    assert_eq!(busy, [1, 3]);
}

#[test]
fn what_goes_together_is_taken_fairly() {
    let queue = Queue::new(20);
    for (caller, item) in [(1, 11), (1, 21), (1, 31), (1, 41), (2, 5), (2, 51), (3, 61), (4, 71)] {
        queue.push(caller, 0, item).unwrap();
    }
    let together = Alike(Duration::ZERO);
    assert_eq!(queue.take(&together), [11, 61, 71], "each caller in turn; 51 stands behind 5");
    assert_eq!(queue.take(&together), [5], "those who gave nothing kept their turns");
    assert_eq!(queue.take(&together), [21, 51, 31]);
    assert_eq!(queue.take(&together), [41]);
}

#[test]
fn a_window_is_waited_for_more_and_others_are_served_meanwhile() {
    let queue = Queue::new(8);
    queue.push(1, 0, 1).unwrap();
    let long = Alike(Duration::from_secs(20));
    std::thread::scope(|scope| {
        let gathering = scope.spawn(|| queue.take(&long));
        while queue.state.lock().gathering == 0 {
            std::thread::yield_now();
        }
        let other = scope.spawn(|| queue.take(&NoGrouping));
        while queue.state.lock().idle == 0 {
            std::thread::yield_now();
        }
        queue.push(1, 0, 2).unwrap();
        assert_eq!(other.join().unwrap(), [2], "what does not fit is another's to take");
        queue.push(2, 0, 11).unwrap();
        queue.push(3, 0, 21).unwrap();
        assert_eq!(gathering.join().unwrap(), [1, 11, 21], "complete before the window ends");
    });
}
