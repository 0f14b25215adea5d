//! Which priority of a request is its caller's to choose.
//!
//! 1 goes first and [`LOWEST`] last; a request without one has [`DEFAULT`]. Everyone may choose a lower priority than
//! that; a higher one is for those who keep the service running: `models:manage` may use 1, `incidents:manage` 2. For a
//! key its own permissions count, not its owner's.

use crate::Principal;
use crate::callers::access::Permission;

/// The priority that stands for "as usual"; 0 on the wire means the same.
const DEFAULT: u32 = 3;
/// The last priority.
const LOWEST: u32 = 5;

impl Principal {
    /// The priority of a request whose caller requested this one; 0: none requested.
    pub fn priority(&self, wish: u64) -> u32 {
        let highest = if self.permissions.contains(Permission::ModelsManage) {
            1
        } else if self.permissions.contains(Permission::IncidentsManage) {
            2
        } else {
            DEFAULT
        };
        match u32::try_from(wish) {
            Ok(0) => DEFAULT,
            Ok(wish) => wish.clamp(highest, LOWEST),
            Err(_) => LOWEST,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;
    use crate::callers::access::{Permissions, Role};
    use crate::callers::principal::Credential;

    fn with(permissions: Permissions) -> Principal {
        Principal {
            account: Uuid::nil(),
            role: String::new(),
            permissions,
            must_enrol: false,
            credential: Credential::ApiKey { id: Uuid::nil() },
            models: None,
            grants: Vec::new(),
            networks: None,
            limits: None,
            secret: None,
            signing: Vec::new(),
            quotas: Vec::new(),
            security_version: 0,
            seen: 0,
            good_until: DateTime::UNIX_EPOCH,
            confirmation: Arc::default(),
        }
    }

    #[test]
    fn a_wish_is_capped_by_what_the_caller_may_do() {
        for (role, highest) in [(Role::User, 3), (Role::Moderator, 2), (Role::Admin, 1)] {
            let caller = with(role.permissions());
            let given: Vec<u32> = (0..7).map(|wish| caller.priority(wish)).collect();
            let capped = |wish: u32| wish.max(highest);
            assert_eq!(given, [3, capped(1), capped(2), 3, 4, 5, 5], "{role:?}");
            assert_eq!(caller.priority(u64::MAX), 5);
        }
        let narrow = with([Permission::ModelsInfer].into_iter().collect());
        assert_eq!(narrow.priority(1), 3, "a key for inference alone steps in front of nobody");
    }
}
