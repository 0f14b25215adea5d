//! Who needs a second factor, and that nothing but getting one is open to them until they have it.

use storage::{AccountStanding, Scope, Service};

use crate::callers::access::Permissions;
use crate::{Auth, Result};

impl Auth {
    /// Whether a person must get a second factor before anything else: their role asks for it (`MFA_REQUIRED_ROLES`),
    /// or an administrator took the one they had. A service account has nobody who could.
    pub(crate) fn must_enrol(&self, account: &AccountStanding) -> bool {
        let asked = account.must_enrol || self.mfa_required_roles.contains(&account.role);
        asked && account.is_person && !account.has_second_factor
    }

    /// What an account may do as it stands now, whichever of its credentials is used.
    pub(crate) fn granted(&self, account: &AccountStanding) -> Permissions {
        if self.must_enrol(account) {
            Permissions::default()
        } else {
            Permissions::from_names(&account.permissions)
        }
    }

    /// Warns about a required role that does not exist: a misspelt one would protect nobody.
    pub(crate) async fn check_required_roles(&self) -> Result<()> {
        let mut tx = self.store.read(Scope::Service(Service::Setup)).await?;
        for role in &self.mfa_required_roles {
            if tx.roles().find(role).await?.is_none() {
                tracing::warn!(role, "MFA_REQUIRED_ROLES names a role that does not exist");
            }
        }
        Ok(())
    }
}
