//! Rehashing: hashes that are weaker than the settings, or imported, are renewed at the next login.

use secrecy::SecretString;
use storage::{Scope, Service};
use uuid::Uuid;

use crate::{Auth, Result};

impl Auth {
    /// The hash of an account whose password was just `verified`, from now on: made anew where the settings ask for
    /// another one and there is time for it. Of several logins at once, the first renews it and the others use its
    /// hash.
    pub(crate) async fn renew_hash(
        &self,
        account: Uuid,
        password: SecretString,
        verified: String,
    ) -> Result<String> {
        if self.hashing.is_up_to_date(&verified) {
            return Ok(verified);
        }
        let fresh = self.hashing.hash_again(password.clone()).await.ok();
        let present = self.replace_hash(account, &verified, fresh.as_deref()).await?.unwrap_or_default();
        if Some(&present) == fresh.as_ref() || present == verified {
            return Ok(present);
        }
        let right = self.hashing.verify(password, Some(present.clone())).await?;
        Ok(if right { present } else { verified })
    }

    /// Puts `fresh` in the place of `verified`, where that is still there; the hash that is there then.
    async fn replace_hash(
        &self,
        account: Uuid,
        verified: &str,
        fresh: Option<&str>,
    ) -> Result<Option<String>> {
        let mut tx = self.store.begin(Scope::Service(Service::Login)).await?;
        tx.accounts().lock(account).await?;
        if let Some(fresh) = fresh {
            tx.users().replace_password(account, verified, fresh).await?;
        }
        let present = tx.users().password_hash(account).await?;
        tx.commit().await?;
        Ok(present)
    }
}
