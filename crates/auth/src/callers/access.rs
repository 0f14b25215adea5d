//! Permissions and the four built-in roles.
//!
//! Permissions are also the names of scopes. What is one's own needs authentication only, so no permission
//! stands for it.

use storage::named_enum;

use std::fmt;

macro_rules! permissions {
    ($($variant:ident = $name:literal from $role:ident, $doc:literal;)*) => {
        named_enum! {
            /// Something that is everyone's and that a role may allow. Its name is used in roles, scopes and answers.
            #[derive(PartialOrd, Ord)]
            #[repr(u8)]
            pub enum Permission { $(#[doc = $doc] $variant = $name,)* }
        }

        impl Permission {
            /// The weakest built-in role that has it.
            pub const fn weakest_role(self) -> Role {
                match self { $(Self::$variant => Role::$role,)* }
            }
        }
    };
}

permissions! {
    ModelsRead = "models:read" from Readonly, "See which models there are.";
    ModelsInfer = "models:infer" from User, "Run a model.";
    FilesWrite = "files:write" from User, "Store files of one's own.";
    UsersRead = "users:read" from Moderator, "See people's accounts.";
    KeysRead = "keys:read" from Moderator, "See everyone's API keys.";
    UsageRead = "usage:read" from Moderator, "See everyone's usage.";
    AuditRead = "audit:read" from Moderator, "Read the audit trail.";
    IncidentsManage = "incidents:manage" from Moderator, "Open, work on and close incidents.";
    ModelsManage = "models:manage" from Admin, "Load, unload and grant models.";
    UsersManage = "users:manage" from Admin, "Change, disable and delete accounts.";
    KeysManage = "keys:manage" from Admin, "Revoke anyone's API keys.";
    RolesManage = "roles:manage" from Admin, "Change roles.";
    LimitsManage = "limits:manage" from Admin, "Change limits and quotas.";
    SystemManage = "system:manage" from Admin, "Read metrics, switch maintenance mode.";
}

impl Permission {
    /// Whether it is about the installation or other people, rather than what every caller is here for.
    pub const fn is_administrative(self) -> bool {
        !matches!(self, Self::ModelsRead | Self::ModelsInfer | Self::FilesWrite)
    }
}

/// A set of permissions; intersecting two sets is one machine instruction.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Permissions(u32);

impl Permissions {
    /// Every permission there is.
    pub fn all() -> Self {
        Permission::ALL.iter().copied().collect()
    }

    /// Whether `permission` is in the set.
    pub const fn contains(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u8) != 0
    }

    /// What is in both sets.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in this set and not in `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether everything in this set is also in `other`.
    pub const fn is_subset(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// The members, in the order of [`Permission::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.iter().copied().filter(move |permission| self.contains(*permission))
    }

    /// The members as they are stored.
    pub fn names(self) -> Vec<String> {
        self.iter().map(|permission| permission.name().to_owned()).collect()
    }

    /// Reads stored names. A name this release does not know grants nothing (deny by default).
    pub fn from_names<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Self {
        names.into_iter().filter_map(|name| name.as_ref().parse::<Permission>().ok()).collect()
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        Self(permissions.into_iter().fold(0, |bits, permission| bits | (1 << permission as u8)))
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.iter().map(Permission::name)).finish()
    }
}

named_enum! {
    /// A built-in role; each has everything the one before it has.
    #[derive(PartialOrd, Ord)]
    pub enum Role {
        /// Sees models.
        Readonly = "readonly",
        /// Runs models and stores files.
        User = "user",
        /// Watches over users, keys, usage and incidents.
        Moderator = "moderator",
        /// Everything.
        Admin = "admin",
    }
}

impl Role {
    /// What the role may do.
    pub fn permissions(self) -> Permissions {
        Permission::ALL.iter().copied().filter(|permission| permission.weakest_role() <= self).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_contains_the_one_before() {
        for pair in Role::ALL.windows(2) {
            assert!(pair[0].permissions().is_subset(pair[1].permissions()), "{pair:?}");
            assert_ne!(pair[0].permissions(), pair[1].permissions());
        }
    }

    #[test]
    fn roles_have_what_the_contract_lists() {
        let names =
            |role: Role| role.permissions().iter().map(Permission::name).collect::<Vec<_>>().join(" ");
        assert_eq!(names(Role::Readonly), "models:read");
        assert_eq!(names(Role::User), "models:read models:infer files:write");
        assert_eq!(
            names(Role::Moderator),
            "models:read models:infer files:write users:read keys:read usage:read audit:read incidents:manage"
        );
        assert_eq!(Role::Admin.permissions().iter().count(), 14);
    }

    #[test]
    fn an_unknown_stored_name_grants_nothing() {
        assert_eq!(Permissions::from_names(["models:everything", ""]), Permissions::default());
    }
}
