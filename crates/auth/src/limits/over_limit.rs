//! A short memory of refusals: a caller over a limit who retries at once is refused again without a round trip.

use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::Throttle;
use crate::limits::{LimitClass, Window};

/// How long a refusal is remembered: how often a flood costs a round trip, and how late a raised limit is noticed.
const REMEMBERED_FOR: chrono::Duration = chrono::Duration::seconds(1);
/// Refused callers and addresses remembered at a time; others cost a trip each time.
const CAPACITY: u64 = 20_000;

/// Whose requests of which class were refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Requester {
    /// An account with one of its credentials.
    Caller(Uuid, Uuid, LimitClass),
    /// An address, or what one customer holds.
    Anonymous(IpAddr, LimitClass),
}

#[derive(Clone)]
struct Refused {
    at: DateTime<Utc>,
    throttle: Throttle,
    /// Of its windows: those of two models have one name.
    keys: Vec<String>,
}

/// Refusals of the last moment.
pub(crate) struct OverLimit(moka::sync::Cache<Requester, Refused>);

impl OverLimit {
    pub fn new() -> Self {
        let life = (REMEMBERED_FOR * 2).to_std().unwrap_or_default();
        Self(moka::sync::Cache::builder().max_capacity(CAPACITY).time_to_live(life).build())
    }

    pub fn remember(&self, requester: Requester, throttle: &Throttle, windows: &[Window], at: DateTime<Utc>) {
        let keys = windows.iter().map(|window| window.key.clone()).collect();
        self.0.insert(requester, Refused { at, throttle: throttle.clone(), keys });
    }

    /// The remembered refusal, with its waiting times as of now, if it is about the same windows.
    pub fn find(&self, requester: &Requester, windows: &[Window], now: DateTime<Utc>) -> Option<Throttle> {
        let Refused { at, mut throttle, keys } = self.0.get(requester)?;
        let since = (now - at).to_std().ok().filter(|_| now - at < REMEMBERED_FOR)?;
        let is_same =
            keys.iter().eq(windows.iter().map(|window| &window.key))
                && throttle.windows.len() == windows.len()
                && throttle.windows.iter().zip(windows).all(|(state, window)| {
                    (state.name, state.limit) == (window.name, u64::from(window.limit))
                });
        let left = |duration: Duration| duration.checked_sub(since).filter(|left| !left.is_zero());
        throttle.retry_after = left(throttle.retry_after).filter(|_| is_same)?;
        for state in &mut throttle.windows {
            // One that has begun anew since would differ.
            state.reset_after =
                if state.reset_after.is_zero() { Duration::ZERO } else { left(state.reset_after)? };
        }
        Some(throttle)
    }

    /// Forgets all: limits have changed.
    pub fn forget(&self) {
        self.0.invalidate_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AllowanceState;
    use crate::QuotaUnit;

    #[test]
    fn a_refusal_is_told_again_for_a_moment_and_only_while_the_windows_are_the_same() {
        let memory = OverLimit::new();
        let minute = Duration::from_secs(60);
        let window = |limit| Window { name: "read", key: String::new(), limit, period: minute };
        let requester = Requester::Caller(Uuid::nil(), Uuid::nil(), LimitClass::Read);
        let now = DateTime::UNIX_EPOCH;
        let state = AllowanceState {
            name: "read",
            limit: 5,
            period: minute,
            remaining: 0,
            reset_after: Duration::from_secs(30),
            unit: QuotaUnit::Requests,
            is_over: false,
        };
        let throttle = Throttle { policy: "read", retry_after: state.reset_after, windows: vec![state] };
        memory.remember(requester.clone(), &throttle, &[window(5)], now);
        let later = now + chrono::Duration::milliseconds(400);
        let remembered = memory.find(&requester, &[window(5)], later);
        let wait = Duration::from_millis(29_600);
        assert!(remembered.is_some_and(
            |remembered| remembered.retry_after == wait && remembered.windows[0].reset_after == wait
        ));
        assert!(memory.find(&requester, &[window(6)], later).is_none(), "another limit");
        let other_model = Window { key: "other".into(), ..window(5) };
        assert!(
            memory.find(&requester, &[other_model], later).is_none(),
            "another window of this name and limit"
        );
        assert!(memory.find(&requester, &[], later).is_none());
        assert!(memory.find(&requester, &[window(5)], now + REMEMBERED_FOR).is_none());
        assert!(memory.find(&requester, &[window(5)], now - REMEMBERED_FOR).is_none(), "a clock set back");
        let other = Requester::Caller(Uuid::nil(), Uuid::nil(), LimitClass::Infer);
        assert!(memory.find(&other, &[window(5)], now).is_none());
        memory.forget();
        assert!(memory.find(&requester, &[window(5)], now).is_none());
    }
}
