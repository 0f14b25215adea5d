//! Hashes that are older than the settings, or come from elsewhere, made anew when their password is at hand.

use secrecy::SecretString;
use storage::{Scope, Service};
use uuid::Uuid;

use crate::{Auth, Result};

impl Auth {
    /// The hash of an account whose password was just `verified`, from now on: made anew where the settings ask for
    /// another one. A login never fails because this does.
    pub(crate) async fn renew_hash(&self, account: Uuid, password: SecretString, verified: String) -> String {
        if self.hashing.is_up_to_date(&verified) {
            return verified;
        }
        match self.replace_hash(account, password, &verified).await {
            Ok(fresh) => fresh.unwrap_or(verified),
            Err(error) => {
                tracing::warn!(%account, error = storage::told(&error), "a password's hash could not be renewed");
                verified
            }
        }
    }

    /// The hash in its place; none where the password is another one by now.
    async fn replace_hash(
        &self,
        account: Uuid,
        password: SecretString,
        verified: &str,
    ) -> Result<Option<String>> {
        let fresh = self.hashing.hash_again(password.clone()).await?;
        let mut tx = self.store.begin(Scope::Service(Service::Login)).await?;
        tx.accounts().lock(account).await?;
        if tx.users().replace_password(account, verified, &fresh).await? {
            tx.commit().await?;
            return Ok(Some(fresh));
        }
        // Another login may have done the same, or the owner has changed the password.
        let present = tx.users().password_hash(account).await?;
        drop(tx);
        let right = self.hashing.verify(password, present.clone()).await?;
        Ok(present.filter(|_| right))
    }
}
