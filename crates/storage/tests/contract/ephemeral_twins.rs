//! Whatever is done to both ephemeral engines, both answer the same.

use std::time::Duration;

use proptest::prelude::*;
use storage::{Check, Outcome};

use crate::world::Room;

/// One operation, on one of a few keys. Lives end on half seconds and the clock moves by whole ones, so that the
/// moments that a real server takes decide nothing.
#[derive(Clone, Debug)]
enum Act {
    Decide(Vec<Question>),
    Raise(u8, i64, u8),
    Put(u8, String, u8),
    Get(u8),
    Forget(u8),
    Wait(u8),
}

#[derive(Clone, Debug)]
enum Question {
    Unchanged(u8, i64),
    Absent(u8),
    Window(u8, u32, u32),
}

fn life(seconds: u8) -> Duration {
    Duration::from_millis(u64::from(seconds) * 1000 + 500)
}

fn question() -> impl Strategy<Value = Question> {
    prop_oneof![
        (0..4u8, -3..3i64).prop_map(|(key, seen)| Question::Unchanged(key, seen)),
        (0..4u8).prop_map(Question::Absent),
        (0..4u8, 0..6u32, 0..4u32).prop_map(|(key, limit, cost)| Question::Window(key, limit, cost)),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => prop::collection::vec(question(), 1..5).prop_map(Act::Decide),
        1 => (0..4u8, -3..3i64, 0..9u8).prop_map(|(key, value, life)| Act::Raise(key, value, life)),
        1 => (0..4u8, "[0-9a+:-]{0,3}", 0..9u8).prop_map(|(key, value, life)| Act::Put(key, value, life)),
        1 => (0..4u8).prop_map(Act::Get),
        1 => (0..4u8).prop_map(Act::Forget),
        2 => (1..5u8).prop_map(Act::Wait),
    ]
}

/// What an operation answered, in words that can be compared: times to the second.
async fn perform(room: &Room, act: &Act) -> String {
    let key = |number: &u8| room.key(&number.to_string());
    match act {
        Act::Decide(questions) => decide(room, questions).await,
        Act::Raise(number, value, seconds) => {
            format!("{:?}", room.store.raise(&key(number), *value, life(*seconds)).await.unwrap())
        }
        Act::Put(number, value, seconds) => {
            format!("{:?}", room.store.put_if_absent(&key(number), value, life(*seconds)).await.unwrap())
        }
        Act::Get(number) => format!("{:?}", room.store.get(&key(number)).await.unwrap()),
        Act::Forget(number) => format!("{:?}", room.store.forget(&key(number)).await.unwrap()),
        Act::Wait(seconds) => {
            room.clock.advance(Duration::from_secs(u64::from(*seconds)));
            String::new()
        }
    }
}

async fn decide(room: &Room, questions: &[Question]) -> String {
    let keys: Vec<_> = (0..4).map(|number: u8| room.key(&number.to_string())).collect();
    let key = |number: u8| keys[usize::from(number)].as_str();
    let checks: Vec<_> = questions
        .iter()
        .map(|question| match *question {
            Question::Unchanged(number, seen) => Check::Unchanged { key: key(number), seen },
            Question::Absent(number) => Check::Absent { key: key(number) },
            Question::Window(number, limit, cost) => {
                Check::Window { key: key(number), limit, period: life(2 * number), cost }
            }
        })
        .collect();
    let Outcome { refused, windows } = room.store.decide(&checks).await.unwrap();
    let windows: Vec<_> = windows
        .iter()
        .map(|window| (window.limit, window.remaining, (window.reset_after.as_secs_f64() + 0.3).floor()))
        .collect();
    format!("{refused:?} {windows:?}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_engines_agree(acts in prop::collection::vec(act(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (memory, redis) = (Room::memory(), Room::redis());
            for (index, act) in acts.iter().enumerate() {
                let (expected, actual) = (perform(&memory, act).await, perform(&redis, act).await);
                prop_assert_eq!(expected, actual, "after {:?}", &acts[..=index]);
            }
            Ok(())
        })?;
    }
}
