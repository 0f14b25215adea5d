//! Which missing permissions are listed in the audit trail: the first of an account and permission in a while, so that
//! a refused caller cannot fill the trail.

use std::collections::HashMap;

use chrono::{DateTime, Duration, Utc};
use parking_lot::Mutex;
use uuid::Uuid;

/// How long after one that is listed others of the same account and right are counted alone.
const LISTED_EVERY: Duration = Duration::minutes(5);
/// Accounts and rights known at a time; when all are in their time, one more replaces them all.
const MOST_KNOWN: usize = 4_096;

/// When a refusal was listed last, by account and missing permission.
#[derive(Default)]
pub(super) struct Denials(Mutex<HashMap<(Uuid, String), DateTime<Utc>>>);

impl Denials {
    /// Whether this one is to be listed.
    pub fn is_first(&self, account: Uuid, missing: String, now: DateTime<Utc>) -> bool {
        // A clock that was set back begins anew, too.
        let is_over = |listed: DateTime<Utc>| now < listed || now - listed >= LISTED_EVERY;
        let mut known = self.0.lock();
        let denial = (account, missing);
        if known.get(&denial).is_some_and(|listed| !is_over(*listed)) {
            return false;
        }
        if known.len() >= MOST_KNOWN {
            known.retain(|_, listed| !is_over(*listed));
            if known.len() >= MOST_KNOWN {
                known.clear();
            }
        }
        known.insert(denial, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_in_a_while_is_listed_and_callers_without_end_take_no_memory_without_end() {
        let denials = Denials::default();
        let at = |seconds: i64| DateTime::UNIX_EPOCH + Duration::seconds(seconds);
        let [ada, eve] = [1, 2].map(Uuid::from_u128);
        let listed = |account, missing: &str, seconds| denials.is_first(account, missing.into(), at(seconds));
        assert!(listed(ada, "users:read", 0) && !listed(ada, "users:read", 299));
        assert!(listed(ada, "users:manage", 1) && listed(eve, "users:read", 1), "each by itself");
        assert!(listed(ada, "users:read", 300) && listed(ada, "users:read", 0), "a clock that is set back");
        for account in 0..3 * MOST_KNOWN as u128 {
            denials.is_first(Uuid::from_u128(account), String::new(), at(0));
        }
        assert!(denials.0.lock().len() <= MOST_KNOWN);
    }
}
