//! Keys that sign access tokens.

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use crate::debug::debug_only;
use crate::durable::query;
use crate::{Result, Tx, named_enum};

named_enum! {
    /// Where a signing key is in its life.
    pub enum SigningKeyState {
        /// Everyone may know its public half; it does not sign yet.
        Published = "published",
        /// It signs.
        Active = "active",
        /// It signs no more; what it signed may still be checked.
        Retired = "retired",
    }
}

/// A signing key to be.
#[derive(Clone)]
pub struct NewSigningKey {
    /// Its unique id, which tokens carry in their header.
    pub kid: String,
    /// The signature algorithm, by its JOSE name.
    pub algorithm: String,
    /// What it signs.
    pub purpose: String,
    /// The sealed private half.
    pub private_key: Vec<u8>,
    /// The public half; empty for a shared secret.
    pub public_key: Vec<u8>,
    /// Where its life begins.
    pub state: SigningKeyState,
}

debug_only!(NewSigningKey { kid, algorithm, purpose, state });

/// A signing key.
#[derive(Clone, FromRow)]
pub struct SigningKey {
    /// Its unique id, which tokens carry in their header.
    pub kid: String,
    /// The signature algorithm, by its JOSE name.
    pub algorithm: String,
    /// What it signs.
    pub purpose: String,
    /// The sealed private half.
    pub private_key: Vec<u8>,
    /// The public half; empty for a shared secret.
    pub public_key: Vec<u8>,
    /// Where it is in its life.
    #[sqlx(try_from = "String")]
    pub state: SigningKeyState,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When its state last changed.
    pub updated_at: DateTime<Utc>,
}

debug_only!(SigningKey { kid, algorithm, purpose, state, created_at, updated_at });

/// Queries on signing keys.
pub struct SigningKeys<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl SigningKeys<'_> {
    /// Adds a key. [`crate::Error::Conflict`]: its id is taken.
    pub async fn insert(&mut self, new: &NewSigningKey) -> Result<()> {
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "INSERT INTO signing_keys (kid, algorithm, purpose, private_key, public_key, state, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $7)",
            &new.kid,
            &new.algorithm,
            &new.purpose,
            &new.private_key,
            &new.public_key,
            new.state.name(),
            now
        )?;
        Ok(())
    }

    /// The keys of a purpose, newest first.
    pub async fn list(&mut self, purpose: &str) -> Result<Vec<SigningKey>> {
        query!(
            self.tx,
            all SigningKey,
            "SELECT kid, algorithm, purpose, private_key, public_key, state, created_at, updated_at \
             FROM signing_keys WHERE purpose = $1 ORDER BY created_at DESC, kid DESC",
            purpose
        )
    }

    /// Moves a key on in its life. False: there is no such key.
    pub async fn set_state(&mut self, kid: &str, state: SigningKeyState) -> Result<bool> {
        let now = self.tx.now();
        let changed = query!(
            self.tx,
            execute,
            "UPDATE signing_keys SET state = $2, updated_at = $3 WHERE kid = $1",
            kid,
            state.name(),
            now
        )?;
        Ok(changed > 0)
    }

    /// Removes a key: what it signed verifies no more. False: there is no such key.
    pub async fn delete(&mut self, kid: &str) -> Result<bool> {
        Ok(query!(self.tx, execute, "DELETE FROM signing_keys WHERE kid = $1", kid)? > 0)
    }

    /// Waits for, and then holds off, others who change the keys of a purpose until the transaction ends, so that two
    /// replicas do not both make the first one.
    pub async fn lock(&mut self, purpose: &str) -> Result<()> {
        self.tx.lock(&format!("signing_keys:{purpose}")).await
    }
}
