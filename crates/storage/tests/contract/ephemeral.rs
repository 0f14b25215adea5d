use std::time::Duration;

use storage::{Check, Ephemeral, EphemeralConfig, Error};

use crate::world::{Room, on_both_ephemerals, redis_url};

const MINUTE: Duration = Duration::from_secs(60);
/// How far the time of a real server may run on while a test looks.
const JITTER: Duration = Duration::from_secs(5);

fn window<'a>(key: &'a str, limit: u32, cost: u32) -> Check<'a> {
    Check::Window { key, limit, period: MINUTE, cost }
}

fn about(actual: Duration, expected: Duration) -> bool {
    actual.abs_diff(expected) < JITTER
}

on_both_ephemerals! {
    async fn a_window_counts_to_its_limit_and_starts_again_after_its_period(room) {
        let key = room.key("w");
        for remaining in [2, 1, 0] {
            let outcome = room.store.decide(&[window(&key, 3, 1)]).await.unwrap();
            assert_eq!((outcome.refused, outcome.windows[0].limit), (None, 3));
            assert_eq!(outcome.windows[0].remaining, remaining);
            assert!(about(outcome.windows[0].reset_after, MINUTE), "{outcome:?}");
        }
        room.clock.advance(Duration::from_secs(30));
        let outcome = room.store.decide(&[window(&key, 3, 1)]).await.unwrap();
        assert_eq!((outcome.refused, outcome.windows[0].remaining), (Some(0), 0));
        assert!(about(outcome.windows[0].reset_after, MINUTE / 2), "{outcome:?}");
        room.clock.advance(Duration::from_secs(35));
        let outcome = room.store.decide(&[window(&key, 3, 2)]).await.unwrap();
        assert_eq!((outcome.refused, outcome.windows[0].remaining), (None, 1));
        assert!(about(outcome.windows[0].reset_after, MINUTE), "{outcome:?}");
    }

    async fn a_clock_that_is_set_back_makes_no_window_longer(room) {
        let (key, other) = (room.key("w"), room.key("other"));
        for _ in 0..2 {
            assert_eq!(room.store.decide(&[window(&key, 2, 1), window(&other, 9, 1)]).await.unwrap().refused, None);
        }
        room.clock.set_back(60 * MINUTE);
        for cost in [1, 0, 1] {
            let outcome = room.store.decide(&[window(&key, 2, cost), window(&other, 9, 0)]).await.unwrap();
            assert_eq!((outcome.refused, outcome.windows[0].remaining), ((cost > 0).then_some(0), 0), "counted stays counted");
            assert!(outcome.windows.iter().all(|window| about(window.reset_after, MINUTE)), "{outcome:?}");
        }
        room.clock.advance(MINUTE / 2);
        let outcome = room.store.decide(&[window(&key, 2, 1)]).await.unwrap();
        assert!(outcome.refused.is_some() && about(outcome.windows[0].reset_after, MINUTE / 2), "{outcome:?}");
        room.clock.advance(MINUTE / 2 + JITTER);
        assert_eq!(room.store.decide(&[window(&key, 2, 1)]).await.unwrap().windows[0].remaining, 1);
    }

    async fn a_decision_is_all_or_nothing(room) {
        let (small, large, fresh) = (room.key("small"), room.key("large"), room.key("fresh"));
        let checks = [window(&large, 10, 1), window(&small, 1, 1)];
        assert_eq!(room.store.decide(&checks).await.unwrap().refused, None);
        for _ in 0..5 {
            let outcome = room.store.decide(&[checks[0], window(&fresh, 5, 1), checks[1]]).await.unwrap();
            assert_eq!(outcome.refused, Some(2));
            let remaining: Vec<_> = outcome.windows.iter().map(|window| window.remaining).collect();
            assert_eq!(remaining, [9, 5, 0]);
            assert_eq!(outcome.windows[1].reset_after, Duration::ZERO, "it never began");
        }
        let outcome = room.store.decide(&[window(&large, 10, 0)]).await.unwrap();
        assert_eq!(outcome.windows[0].remaining, 9, "a look costs nothing");
    }

    async fn the_same_window_twice_in_one_decision_counts_twice(room) {
        let key = room.key("w");
        let outcome = room.store.decide(&[window(&key, 3, 1), window(&key, 3, 1)]).await.unwrap();
        assert_eq!((outcome.refused, outcome.windows[1].remaining), (None, 1));
        let outcome = room.store.decide(&[window(&key, 3, 1), window(&key, 3, 1)]).await.unwrap();
        assert_eq!(outcome.refused, Some(1));
        assert_eq!(room.store.decide(&[window(&key, 3, 0)]).await.unwrap().windows[0].remaining, 1);
    }

    async fn a_limit_of_nothing_refuses_and_a_lowered_one_holds(room) {
        let key = room.key("w");
        assert_eq!(room.store.decide(&[window(&key, 0, 1)]).await.unwrap().refused, Some(0));
        assert_eq!(room.store.decide(&[window(&key, 9, 9)]).await.unwrap().refused, None);
        let outcome = room.store.decide(&[window(&key, 5, 1)]).await.unwrap();
        assert_eq!((outcome.refused, outcome.windows[0].remaining), (Some(0), 0));
    }

    async fn of_two_hundred_at_once_ten_fit(room) {
        let key = room.key("w");
        let attempts: Vec<_> = (0..200).map(|_| {
            let (store, key) = (room.store.clone(), key.clone());
            tokio::spawn(async move { store.decide(&[window(&key, 10, 1)]).await.unwrap().refused.is_none() })
        }).collect();
        let mut admitted = 0;
        for attempt in attempts {
            admitted += usize::from(attempt.await.unwrap());
        }
        assert_eq!(admitted, 10);
    }

    async fn a_raised_number_refuses_those_who_saw_less(room) {
        let key = room.key("version");
        let seen = |seen| [Check::Unchanged { key: &key, seen }];
        assert_eq!(room.store.decide(&seen(-5)).await.unwrap().refused, None, "absent is fine");
        room.store.raise(&key, 7, MINUTE).await.unwrap();
        room.store.raise(&key, 3, MINUTE).await.unwrap();
        assert_eq!(room.store.get(&key).await.unwrap().as_deref(), Some("7"), "the higher stays");
        assert_eq!(room.store.decide(&seen(6)).await.unwrap().refused, Some(0));
        assert_eq!(room.store.decide(&seen(7)).await.unwrap().refused, None);
        room.store.raise(&key, (1 << 53) - 1, MINUTE).await.unwrap();
        assert_eq!(room.store.decide(&seen((1 << 53) - 2)).await.unwrap().refused, Some(0));
        assert_eq!(room.store.decide(&seen((1 << 53) - 1)).await.unwrap().refused, None);
        assert!(matches!(room.store.raise(&key, 1 << 53, MINUTE).await, Err(Error::Refused(_))));
        assert!(matches!(room.store.raise(&key, i64::MIN, MINUTE).await, Err(Error::Refused(_))));
        room.clock.advance(2 * MINUTE);
        assert_eq!(room.store.decide(&seen(0)).await.unwrap().refused, None, "expired is absent");
    }

    async fn raising_never_shortens_a_life(room) {
        let key = room.key("version");
        room.store.raise(&key, 1, 10 * MINUTE).await.unwrap();
        room.store.raise(&key, 2, MINUTE).await.unwrap();
        room.clock.advance(5 * MINUTE);
        assert_eq!(room.store.get(&key).await.unwrap().as_deref(), Some("2"));
    }

    async fn a_value_is_put_once_while_it_lives(room) {
        let key = room.key("once");
        let value = "12:\n\u{0}: é";
        assert_eq!(room.store.get(&key).await.unwrap(), None);
        assert!(room.store.put_if_absent(&key, value, MINUTE).await.unwrap());
        assert!(!room.store.put_if_absent(&key, "other", MINUTE).await.unwrap());
        assert_eq!(room.store.get(&key).await.unwrap().as_deref(), Some(value));
        let absent = [Check::Absent { key: &key }];
        assert_eq!(room.store.decide(&absent).await.unwrap().refused, Some(0));
        room.clock.advance(2 * MINUTE);
        assert_eq!(room.store.get(&key).await.unwrap(), None);
        assert_eq!(room.store.decide(&absent).await.unwrap().refused, None);
        assert!(!room.store.forget(&key).await.unwrap(), "what expired was not there");
        assert!(room.store.put_if_absent(&key, "", MINUTE).await.unwrap(), "expired is absent at once");
        assert_eq!(room.store.get(&key).await.unwrap().as_deref(), Some(""));
        assert!(room.store.forget(&key).await.unwrap());
        assert!(!room.store.forget(&key).await.unwrap());
    }

    async fn of_many_that_put_at_once_one_does(room) {
        let key = room.key("once");
        let attempts: Vec<_> = (0..50).map(|_| {
            let (store, key) = (room.store.clone(), key.clone());
            tokio::spawn(async move { store.put_if_absent(&key, "x", MINUTE).await.unwrap() })
        }).collect();
        let mut winners = 0;
        for attempt in attempts {
            winners += usize::from(attempt.await.unwrap());
        }
        assert_eq!(winners, 1);
    }

    async fn a_key_of_the_wrong_kind_refuses(room) {
        let key = room.key("text");
        assert!(room.store.put_if_absent(&key, "+1", MINUTE).await.unwrap());
        for check in [Check::Unchanged { key: &key, seen: i64::MAX >> 11 }, window(&key, u32::MAX, 1)] {
            assert_eq!(room.store.decide(&[check]).await.unwrap().refused, Some(0), "{check:?}");
        }
        room.store.raise(&key, 5, MINUTE).await.unwrap();
        assert_eq!(room.store.get(&key).await.unwrap().as_deref(), Some("+1"));
    }

    async fn each_operation_is_one_round_trip(room) {
        let (one, two) = (room.key("one"), room.key("two"));
        room.store.ping().await.unwrap();
        let before = room.store.round_trips();
        room.store.decide(&[]).await.unwrap();
        assert_eq!(room.store.round_trips() - before, 0, "nothing to decide");
        let checks = [
            Check::Unchanged { key: &one, seen: 0 }, Check::Absent { key: &two },
            window(&one, 5, 1), window(&two, 5, 1),
        ];
        room.store.decide(&checks).await.unwrap();
        assert_eq!(room.store.round_trips() - before, 1);
        let too_many = [checks[0]; 33];
        assert!(matches!(room.store.decide(&too_many).await, Err(Error::Refused(_))));
    }
}

#[tokio::test]
async fn memory_is_bounded_and_lets_go_of_the_expired_first() {
    let clock = storage::Clock::manual(crate::world::start_of_time());
    let store = Ephemeral::connect(EphemeralConfig::Memory { max_entries: 3 }, clock.clone()).unwrap();
    store.put_if_absent("short", "x", MINUTE).await.unwrap();
    store.put_if_absent("long", "x", 10 * MINUTE).await.unwrap();
    store.put_if_absent("middle", "x", 5 * MINUTE).await.unwrap();
    clock.advance(2 * MINUTE);
    for (new, left) in [("a", ["long", "middle", "a"]), ("b", ["long", "b", "a"])] {
        store.put_if_absent(new, "x", 20 * MINUTE).await.unwrap();
        for key in left {
            assert!(store.get(key).await.unwrap().is_some(), "{key} after {new}");
        }
    }
    assert_eq!(store.get("middle").await.unwrap(), None, "the next to expire made room");
}

#[tokio::test]
async fn redis_keys_carry_the_prefix_and_are_collected_some_day() {
    let room = Room::redis();
    let (key, window_key) = (room.key("value"), room.key("window"));
    room.store.put_if_absent(&key, "x", MINUTE).await.unwrap();
    room.store.decide(&[window(&window_key, 5, 1)]).await.unwrap();
    let client = redis::Client::open(redis_url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    for key in [key, window_key] {
        let life: i64 =
            redis::cmd("PTTL").arg(format!("mg:{key}")).query_async(&mut connection).await.unwrap();
        assert!((60_000..600_000).contains(&life), "{life} ms");
    }
}

#[tokio::test]
async fn redis_may_forget_the_script() {
    let room = Room::redis();
    let key = room.key("w");
    let client = redis::Client::open(redis_url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    for remaining in [4, 3] {
        redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut connection).await.unwrap();
        let outcome = room.store.decide(&[window(&key, 5, 1)]).await.unwrap();
        assert_eq!(outcome.windows[0].remaining, remaining);
    }
}
