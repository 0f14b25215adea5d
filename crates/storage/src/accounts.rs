//! Accounts of any kind, people's and service accounts', as far as every request needs to know them.

use sqlx::FromRow;
use uuid::Uuid;

use crate::durable::query;
use crate::{Result, Tx};

/// The state that decides whether an account's tokens and keys are valid, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct AccountStanding {
    /// The account.
    pub account_id: Uuid,
    /// Whether it is enabled.
    pub active: bool,
    /// Incremented whenever tokens issued before must stop working.
    pub security_version: i64,
    /// The name of its role.
    pub role: String,
    /// The permissions of that role, as they are now.
    #[sqlx(json)]
    pub permissions: Vec<String>,
    /// Whether it belongs to a person, not a program.
    pub is_person: bool,
    /// Whether it has a second factor that was confirmed.
    pub has_second_factor: bool,
    /// Whether an administrator removed its second factor, so that it needs a new one.
    pub must_enrol: bool,
}

/// The columns of an [`AccountStanding`] but the id, for statements over `accounts` joined with `roles`.
macro_rules! standing_columns {
    () => {
        "accounts.active, accounts.security_version, accounts.role, roles.permissions, \
         accounts.kind = 'person' AS is_person, accounts.must_enrol, \
         EXISTS (SELECT 1 FROM second_factors WHERE second_factors.account_id = accounts.id \
         AND second_factors.confirmed_at IS NOT NULL) AS has_second_factor"
    };
}

pub(crate) use standing_columns;

/// Queries on accounts of any kind.
pub struct Accounts<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl Accounts<'_> {
    /// Changes an account of a kind, if there is one. Switching it off or on ends the tokens issued so far, and is the
    /// last word on it; a role is read anew anyway. Either ends links. [`crate::Error::Refused`]: there is no such role.
    pub(crate) async fn update(
        &mut self,
        id: Uuid,
        kind: &str,
        role: Option<&str>,
        active: Option<bool>,
    ) -> Result<()> {
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "UPDATE accounts SET role = COALESCE($3, role), active = COALESCE($4, active), updated_at = $5, \
             security_version = security_version + \
             CASE WHEN active <> COALESCE($4, active) THEN 1 ELSE 0 END, link_version = link_version + \
             CASE WHEN active <> COALESCE($4, active) OR role <> COALESCE($3, role) THEN 1 ELSE 0 END \
             WHERE id = $1 AND kind = $2",
            id,
            kind,
            role,
            active,
            now
        )?;
        if active.is_some() {
            self.tx.identities().forget_lost_roles(id).await?;
        }
        Ok(())
    }

    /// Removes an account of a kind with all that is its own and its grants. False: there was none.
    pub(crate) async fn delete(&mut self, id: Uuid, kind: &str) -> Result<bool> {
        query!(
            self.tx,
            execute,
            "DELETE FROM model_grants WHERE subject_kind = 'account' AND subject = $1",
            id.to_string()
        )?;
        let deleted = query!(self.tx, execute, "DELETE FROM accounts WHERE id = $1 AND kind = $2", id, kind)?;
        Ok(deleted > 0)
    }

    /// Adds an active account of a kind; what makes it one of that kind is added beside it.
    /// [`crate::Error::Refused`]: there is no such role.
    pub(crate) async fn create(&mut self, id: Uuid, kind: &str, role: &str) -> Result<()> {
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "INSERT INTO accounts (id, kind, role, active, security_version, created_at, updated_at) \
             VALUES ($1, $2, $3, TRUE, 0, $4, $4)",
            id,
            kind,
            role,
            now
        )?;
        Ok(())
    }

    /// How an account stands now.
    pub async fn standing(&mut self, id: Uuid) -> Result<Option<AccountStanding>> {
        query!(
            self.tx,
            optional AccountStanding,
            concat!(
                "SELECT accounts.id AS account_id, ", standing_columns!(),
                " FROM accounts JOIN roles ON roles.name = accounts.role WHERE accounts.id = $1"
            ),
            id
        )
    }

    /// The number that links of an account are bound to; none: there is no such account.
    pub async fn link_version(&mut self, id: Uuid) -> Result<Option<i64>> {
        query!(self.tx, value i64, "SELECT link_version FROM accounts WHERE id = $1", id)
    }

    /// Waits for, and then holds off, other changes of an account until the transaction ends. False: there is none.
    pub async fn lock(&mut self, id: Uuid) -> Result<bool> {
        Ok(query!(self.tx, execute, "UPDATE accounts SET active = active WHERE id = $1", id)? > 0)
    }

    /// Sets whether an account needs a second factor before anything else.
    pub async fn set_must_enrol(&mut self, id: Uuid, must_enrol: bool) -> Result<()> {
        query!(self.tx, execute, "UPDATE accounts SET must_enrol = $2 WHERE id = $1", id, must_enrol)?;
        Ok(())
    }
}
