//! Step-up authentication, for sensitive acts (RFC 9470).

use secrecy::SecretString;
use storage::Scope;
use uuid::Uuid;

use crate::audit::Entry;
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::login::Method;
use crate::second_factors::second_step::proved_with;
use crate::service::Origin;
use crate::{Auth, Error, Result};

/// An access token of a person who has just proved who they are. The session stays as it was: only this token is fresh,
/// and what is refreshed is not.
#[derive(Debug)]
pub struct FreshToken {
    /// A JWT for `Authorization: Bearer`.
    pub access_token: SecretString,
    /// Seconds until it ends.
    pub expires_in: i64,
}

impl Auth {
    /// A fresh token for the password and, where there is a second factor, a code. What is tried counts for the session
    /// alone: the thief of a token can neither guess for long nor keep the owner from logging in.
    pub async fn step_up(
        &self,
        principal: &Principal,
        password: SecretString,
        code: Option<&SecretString>,
        origin: &Origin,
    ) -> Result<FreshToken> {
        let session = principal.require_session()?;
        self.reserve_check("session", session).await?;
        let stored = self.hash_to_prove(principal.account, code.is_some()).await?;
        if !self.hashing.verify(password, stored.clone()).await? {
            return Err(self.refused_proof(principal, Error::WrongCredentials, origin).await?);
        }
        let mut tx = self.begin_own(principal).await?;
        let unchanged = tx.users().password_hash(principal.account).await? == stored;
        let account = tx.accounts().standing(principal.account).await?.filter(|_| unchanged);
        let account = account.ok_or(Error::WrongCredentials)?;
        let mut methods = vec![Method::Password];
        if account.has_second_factor {
            let taken = match code {
                Some(code) => self.take_code(&mut tx, principal.account, code).await?,
                None => None,
            };
            let Some(method) = taken else {
                drop(tx);
                return Err(self.refused_proof(principal, Error::WrongCode, origin).await?);
            };
            methods.push(method);
        }
        let session = tx.sessions().find(session).await?.ok_or(Error::NotFound)?;
        let entry = Entry::success(Event::SteppedUp, origin).by(principal.account).on("session", session.id);
        self.record(&mut tx, entry.with(proved_with(&methods))).await?;
        tx.commit().await?;
        let now = self.now();
        let (access_token, expires) = self.access_token(&session, account.security_version, now)?;
        Ok(FreshToken { access_token, expires_in: expires.timestamp() - now.timestamp() })
    }

    /// The hash that the password of a step-up must fit; none where the account has no password.
    async fn hash_to_prove(&self, account: Uuid, has_code: bool) -> Result<Option<String>> {
        let mut tx = self.store.read(Scope::Account(account)).await?;
        let standing = tx.accounts().standing(account).await?;
        // Without a code there is nothing to learn about the password.
        if !has_code && standing.is_some_and(|account| account.has_second_factor) {
            return Err(Error::WrongCode);
        }
        Ok(tx.users().password_hash(account).await?)
    }

    /// Records a wrong password or code of one who is logged in; the error to answer with.
    pub(crate) async fn refused_proof(
        &self,
        principal: &Principal,
        error: Error,
        origin: &Origin,
    ) -> Result<Error> {
        self.record_failure(principal.account, Some(principal.account), true, origin).await?;
        Ok(error)
    }
}
