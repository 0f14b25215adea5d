//! What a replica does while a store is out of reach (docs/decisions/0007 and 0028).

use std::time::Duration;

use crate::Auth;
use crate::limits::{LimitClass, Window};

/// The policies while a store is out of reach.
#[derive(Clone, Copy, Debug)]
pub struct OutagePolicy {
    /// Replicas that count by themselves meanwhile: each allows its share of a limit.
    pub replicas: u32,
    /// How long after neither store was reached nothing may be changed here any more.
    pub isolation: Duration,
    /// Whether callers that are known may run models even then.
    pub infer_while_isolated: bool,
}

impl OutagePolicy {
    /// The share of a window that one replica allows by itself; never nothing, which would lock everyone out.
    pub(crate) fn share(&self, window: &Window) -> u32 {
        (window.limit / self.replicas.max(1)).max(1)
    }
}

impl Auth {
    /// Whether a request is refused because this replica cannot learn of revocations; `changes`: it may change
    /// something.
    pub fn refuses_in_isolation(&self, class: LimitClass, changes: bool) -> bool {
        let concerned = match class {
            LimitClass::Infer => !self.outage.infer_while_isolated,
            _ => changes,
        };
        concerned && self.is_isolated()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_share_a_limit_and_nobody_is_locked_out() {
        let share = |limit, replicas| {
            let policy = OutagePolicy { replicas, isolation: Duration::ZERO, infer_while_isolated: true };
            policy.share(&Window { name: "x", key: String::new(), limit, period: Duration::ZERO })
        };
        assert_eq!((share(60, 1), share(60, 3), share(5, 2), share(2, 3)), (60, 20, 2, 1));
    }
}
