//! Service accounts: accounts of programs, with a name in place of a person's profile and credentials.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::durable::query;
use crate::{Page, PageRequest, Result, Tx};

/// A service account.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct ServiceAccount {
    /// Its id.
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// The name of its role.
    pub role: String,
    /// Whether its keys may act at all.
    pub active: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// A new service account.
#[derive(Clone, Debug)]
pub struct NewServiceAccount {
    /// A version 7 id.
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// The name of an existing role.
    pub role: String,
}

/// What to change about a service account; none leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct ServiceAccountUpdate {
    /// What it is for.
    pub name: Option<String>,
    /// The name of an existing role.
    pub role: Option<String>,
    /// Whether its keys may act at all.
    pub active: Option<bool>,
}

/// The columns of a [`ServiceAccount`], for statements over `accounts` joined with `service_accounts`.
macro_rules! service_account_columns {
    () => {
        "accounts.id, service_accounts.name, accounts.role, accounts.active, accounts.created_at \
         FROM accounts JOIN service_accounts ON service_accounts.account_id = accounts.id"
    };
}

/// Queries on service accounts.
pub struct ServiceAccounts<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl ServiceAccounts<'_> {
    /// Adds an active one. [`crate::Error::Refused`]: there is no such role.
    pub async fn create(&mut self, new: &NewServiceAccount) -> Result<ServiceAccount> {
        let now = self.tx.now();
        self.tx.accounts().create(new.id, "service", &new.role).await?;
        query!(
            self.tx,
            execute,
            "INSERT INTO service_accounts (account_id, name) VALUES ($1, $2)",
            new.id,
            &new.name
        )?;
        let NewServiceAccount { id, name, role } = new.clone();
        Ok(ServiceAccount { id, name, role, active: true, created_at: now })
    }

    /// Finds one.
    pub async fn find(&mut self, id: Uuid) -> Result<Option<ServiceAccount>> {
        query!(
            self.tx,
            optional ServiceAccount,
            concat!("SELECT ", service_account_columns!(), " WHERE accounts.id = $1"),
            id
        )
    }

    /// All of them, newest first.
    pub async fn list(&mut self, page: &PageRequest) -> Result<Page<ServiceAccount>> {
        let accounts = query!(
            self.tx,
            all ServiceAccount,
            concat!(
                "SELECT ", service_account_columns!(), " WHERE accounts.id < $1 ORDER BY accounts.id DESC LIMIT $2"
            ),
            page.below(),
            page.rows()
        )?;
        Ok(page.page(accounts, |account| account.id))
    }

    /// Changes one. None: there is none. [`crate::Error::Refused`]: there is no such role.
    pub async fn update(
        &mut self,
        id: Uuid,
        update: &ServiceAccountUpdate,
    ) -> Result<Option<ServiceAccount>> {
        self.tx.accounts().update(id, "service", update.role.as_deref(), update.active).await?;
        if let Some(name) = &update.name {
            query!(
                self.tx,
                execute,
                "UPDATE service_accounts SET name = $2 WHERE account_id = $1",
                id,
                name
            )?;
        }
        self.find(id).await
    }

    /// Removes one with its keys and grants; usage and audit events keep its id. False: there was none.
    pub async fn delete(&mut self, id: Uuid) -> Result<bool> {
        self.tx.accounts().delete(id, "service").await
    }
}
