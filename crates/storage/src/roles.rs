//! Roles and the permissions they carry.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use sqlx::types::Json;

use crate::durable::query;
use crate::{Result, Tx};

/// A role.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Role {
    /// Its unique name.
    pub name: String,
    /// The permissions that it grants.
    #[sqlx(json)]
    pub permissions: Vec<String>,
    /// Whether it is built in, so that nobody can change it.
    pub built_in: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// Queries on roles.
pub struct Roles<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl Roles<'_> {
    /// Every role, by name.
    pub async fn list(&mut self) -> Result<Vec<Role>> {
        query!(self.tx, all Role, "SELECT name, permissions, built_in, created_at FROM roles ORDER BY name")
    }

    /// Finds a role.
    pub async fn find(&mut self, name: &str) -> Result<Option<Role>> {
        query!(
            self.tx,
            optional Role,
            "SELECT name, permissions, built_in, created_at FROM roles WHERE name = $1",
            name
        )
    }

    /// Adds a role. [`crate::Error::Conflict`]: there is one of this name.
    pub async fn create(&mut self, name: &str, permissions: &[String]) -> Result<()> {
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "INSERT INTO roles (name, permissions, built_in, created_at, updated_at) VALUES ($1, $2, FALSE, $3, $3)",
            name,
            Json(permissions),
            now
        )?;
        Ok(())
    }

    /// Changes what a role may do, and ends the links of those who have it. False: there is no such role, or the program
    /// brought it.
    pub async fn update(&mut self, name: &str, permissions: &[String]) -> Result<bool> {
        let now = self.tx.now();
        let updated = query!(
            self.tx,
            execute,
            "UPDATE roles SET permissions = $2, updated_at = $3 WHERE name = $1 AND NOT built_in",
            name,
            Json(permissions),
            now
        )?;
        if updated > 0 {
            query!(
                self.tx,
                execute,
                "UPDATE accounts SET link_version = link_version + 1 WHERE role = $1",
                name
            )?;
        }
        Ok(updated > 0)
    }

    /// Removes a role with the grants, quotas and limits that it has. False: there is no such role, the program
    /// brought it, or an account has it.
    pub async fn delete(&mut self, name: &str) -> Result<bool> {
        let deleted = query!(
            self.tx,
            execute,
            "DELETE FROM roles WHERE name = $1 AND NOT built_in \
             AND NOT EXISTS (SELECT 1 FROM accounts WHERE accounts.role = $1)",
            name
        )?;
        if deleted > 0 {
            query!(
                self.tx,
                execute,
                "DELETE FROM model_grants WHERE subject_kind = 'role' AND subject = $1",
                name
            )?;
            query!(self.tx, execute, "DELETE FROM quotas WHERE scope = 'role' AND subject = $1", name)?;
            query!(self.tx, execute, "DELETE FROM rate_limits WHERE scope = 'role' AND subject = $1", name)?;
        }
        Ok(deleted > 0)
    }

    /// Makes the built-in roles what this program says they are.
    pub async fn sync_built_in(&mut self, roles: &[(&str, &[&str])]) -> Result<()> {
        let now = self.tx.now();
        for (name, permissions) in roles {
            query!(
                self.tx,
                execute,
                "INSERT INTO roles (name, permissions, built_in, created_at, updated_at) \
                 VALUES ($1, $2, TRUE, $3, $3) ON CONFLICT (name) DO UPDATE \
                 SET permissions = excluded.permissions, built_in = TRUE, updated_at = excluded.updated_at",
                *name,
                Json(permissions),
                now
            )?;
        }
        Ok(())
    }
}
