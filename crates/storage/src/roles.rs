//! Roles and the permissions they carry.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use sqlx::types::Json;

use crate::query::query;
use crate::{Result, Tx};

/// A role.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Role {
    /// Its unique name.
    pub name: String,
    /// What whoever has it may do.
    #[sqlx(json)]
    pub permissions: Vec<String>,
    /// Whether the program brought it, so that nobody changes it.
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
