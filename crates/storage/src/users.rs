//! People: an account with a profile and credentials beside it.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::debug::debug_only;
use crate::durable::query;
use crate::{Page, PageRequest, Result, Tx};

/// The lock that changes to the set of administrators take.
const ADMINISTRATORS: &str = "administrators";
/// The role that administrators have.
const ADMINISTRATOR: &str = "admin";

/// A person. Who they are is sealed.
#[derive(Clone, PartialEq, Eq, FromRow)]
pub struct User {
    /// Their account.
    pub id: Uuid,
    /// The e-mail address as they wrote it, sealed.
    pub email: Vec<u8>,
    /// The name they go by, sealed.
    pub name: Vec<u8>,
    /// The name of their role.
    pub role: String,
    /// Whether their account is enabled.
    pub active: bool,
    /// Incremented whenever tokens issued before must stop working.
    pub security_version: i64,
    /// When the account was made.
    pub created_at: DateTime<Utc>,
    /// When they last proved who they are; none before the first time.
    pub last_login_at: Option<DateTime<Utc>>,
}

debug_only!(User { id, role, active, security_version, created_at, last_login_at });

/// A new person.
#[derive(Clone)]
pub struct NewUser {
    /// A version 7 id.
    pub id: Uuid,
    /// The e-mail address as they wrote it, sealed.
    pub email: Vec<u8>,
    /// A keyed digest of the address, which must be unique.
    pub email_lookup: String,
    /// The name they go by, sealed.
    pub name: Vec<u8>,
    /// The name of an existing role.
    pub role: String,
}

debug_only!(NewUser { id, role });

/// Changes of a person by an administrator; none leaves a field as it is.
#[derive(Clone, Default)]
pub struct UserUpdate {
    /// The name of an existing role.
    pub role: Option<String>,
    /// Whether their account is enabled.
    pub active: Option<bool>,
    /// The name they go by, sealed.
    pub name: Option<Vec<u8>>,
}

debug_only!(UserUpdate { role, active });

/// A person and what proves that they are it.
#[derive(Clone, FromRow)]
pub struct UserCredentials {
    /// The person.
    #[sqlx(flatten)]
    pub user: User,
    /// The password's hash in PHC form; none where no password was set.
    pub password_hash: Option<String>,
}

debug_only!(UserCredentials { user });

/// The columns of a [`User`], for statements over `accounts` joined with `people`.
macro_rules! user_columns {
    () => {
        "accounts.id, people.email, people.name, accounts.role, accounts.active, accounts.security_version, \
         accounts.created_at, people.last_login_at"
    };
}

/// Queries on people.
pub struct Users<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl Users<'_> {
    /// Adds an active person without credentials. [`crate::Error::Conflict`]: the address is taken.
    /// [`crate::Error::Refused`]: there is no such role.
    pub async fn create(&mut self, new: &NewUser) -> Result<User> {
        let now = self.tx.now();
        self.tx.accounts().create(new.id, "person", &new.role).await?;
        query!(
            self.tx,
            execute,
            "INSERT INTO people (account_id, email, email_lookup, name) VALUES ($1, $2, $3, $4)",
            new.id,
            &new.email,
            &new.email_lookup,
            &new.name
        )?;
        Ok(User {
            id: new.id,
            email: new.email.clone(),
            name: new.name.clone(),
            role: new.role.clone(),
            active: true,
            security_version: 0,
            created_at: now,
            last_login_at: None,
        })
    }

    /// Finds a person by account.
    pub async fn find(&mut self, id: Uuid) -> Result<Option<User>> {
        query!(
            self.tx,
            optional User,
            concat!(
                "SELECT ", user_columns!(),
                " FROM accounts JOIN people ON people.account_id = accounts.id WHERE accounts.id = $1"
            ),
            id
        )
    }

    /// Finds a person, and what proves that they are it, by the keyed digest of their address.
    pub async fn credentials(&mut self, email_lookup: &str) -> Result<Option<UserCredentials>> {
        query!(
            self.tx,
            optional UserCredentials,
            concat!(
                "SELECT ", user_columns!(), ", credentials.secret AS password_hash FROM people \
                 JOIN accounts ON accounts.id = people.account_id \
                 LEFT JOIN credentials ON credentials.account_id = people.account_id \
                 AND credentials.kind = 'password' WHERE people.email_lookup = $1"
            ),
            email_lookup
        )
    }

    /// Gives a person another address, sealed, with its keyed digest, and ends their links.
    /// [`crate::Error::Conflict`]: it is taken.
    pub async fn set_email(&mut self, id: Uuid, email: &[u8], email_lookup: &str) -> Result<()> {
        query!(
            self.tx,
            execute,
            "UPDATE people SET email = $2, email_lookup = $3 WHERE account_id = $1",
            id,
            email,
            email_lookup
        )?;
        query!(self.tx, execute, "UPDATE accounts SET link_version = link_version + 1 WHERE id = $1", id)?;
        Ok(())
    }

    /// The password's hash of an account; none also where there is no password.
    pub async fn password_hash(&mut self, id: Uuid) -> Result<Option<String>> {
        query!(
            self.tx,
            value String,
            "SELECT secret FROM credentials WHERE account_id = $1 AND kind = 'password'",
            id
        )
    }

    /// Sets or replaces the password's hash, given in PHC form. Wrong ones are counted anew.
    pub async fn set_password(&mut self, id: Uuid, hash: &str) -> Result<()> {
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "INSERT INTO credentials (account_id, kind, secret, updated_at) VALUES ($1, 'password', $2, $3) \
             ON CONFLICT (account_id, kind) DO UPDATE SET secret = excluded.secret, failures = 0, \
             updated_at = excluded.updated_at",
            id,
            hash,
            now
        )?;
        Ok(())
    }

    /// Replaces the password's hash, where it still is what the caller thinks it is. False: it is another one.
    pub async fn replace_password(&mut self, id: Uuid, present: &str, hash: &str) -> Result<bool> {
        let now = self.tx.now();
        let replaced = query!(
            self.tx,
            execute,
            "UPDATE credentials SET secret = $3, updated_at = $4 \
             WHERE account_id = $1 AND kind = 'password' AND secret = $2",
            id,
            present,
            hash,
            now
        )?;
        Ok(replaced > 0)
    }

    /// Notes that the person proved now who they are.
    pub async fn record_login(&mut self, id: Uuid) -> Result<()> {
        let now = self.tx.now();
        query!(self.tx, execute, "UPDATE people SET last_login_at = $2 WHERE account_id = $1", id, now)?;
        Ok(())
    }

    /// People, newest first.
    pub async fn list(&mut self, page: &PageRequest) -> Result<Page<User>> {
        let users = query!(
            self.tx,
            all User,
            concat!(
                "SELECT ", user_columns!(),
                " FROM accounts JOIN people ON people.account_id = accounts.id \
                 WHERE accounts.id < $1 ORDER BY accounts.id DESC LIMIT $2"
            ),
            page.below(),
            page.rows()
        )?;
        Ok(page.page(users, |user| user.id))
    }

    /// Changes a person. Switching an account off or on ends the tokens issued so far; a role is read anew anyway.
    /// [`crate::Error::Refused`]: there is no such role.
    pub async fn update(&mut self, id: Uuid, update: &UserUpdate) -> Result<Option<User>> {
        self.tx.accounts().update(id, "person", update.role.as_deref(), update.active).await?;
        if let Some(name) = &update.name {
            query!(self.tx, execute, "UPDATE people SET name = $2 WHERE account_id = $1", id, name)?;
        }
        self.find(id).await
    }

    /// Removes a person with their credentials, sessions, keys and grants. Usage and audit events stay: they
    /// name the account, and nothing else of the person. False: there was none.
    pub async fn delete(&mut self, id: Uuid) -> Result<bool> {
        self.tx.accounts().delete(id, "person").await
    }

    /// Waits for, and then holds off, every other change to the set of administrators until the transaction
    /// ends.
    pub async fn lock_administrators(&mut self) -> Result<()> {
        self.tx.lock(ADMINISTRATORS).await
    }

    /// How many active administrators there are besides one, of those who can log in: who was invited and has not come
    /// yet cannot.
    pub async fn other_active_administrators(&mut self, except: Uuid) -> Result<i64> {
        query!(
            self.tx,
            one i64,
            "SELECT COUNT(*) FROM accounts WHERE kind = 'person' AND role = $1 AND active AND id <> $2 \
             AND (EXISTS (SELECT 1 FROM credentials WHERE account_id = accounts.id) \
             OR EXISTS (SELECT 1 FROM external_identities WHERE account_id = accounts.id))",
            ADMINISTRATOR,
            except
        )
    }

    /// How many people there are.
    pub async fn count(&mut self) -> Result<i64> {
        query!(self.tx, one i64, "SELECT COUNT(*) FROM people")
    }
}
