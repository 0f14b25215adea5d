//! The second step of a login, and the one way in which a code is checked.

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use storage::{Scope, Service, Tx};
use uuid::Uuid;

use crate::audit::Entry;
use crate::events::Event;
use crate::login::guessing::id_of;
use crate::login::one_time::Purpose;
use crate::login::{Method, TokenPair};
use crate::second_factors::secret_place;
use crate::service::Origin;
use crate::{Auth, Error, Result, crypto, second_factors::recovery, second_factors::totp};

/// A login that waits for a code.
#[derive(Debug)]
pub struct Challenge {
    /// Good for one login, with a code.
    pub token: SecretString,
    /// Seconds until it ends.
    pub expires_in: i64,
}

impl Auth {
    /// Asks for a code, after a password that was right. Another password ends the login, as it ends links.
    pub(crate) async fn challenge(&self, mut tx: Tx, account: Uuid, origin: &Origin) -> Result<Challenge> {
        let token = self.bound_link(&mut tx, Purpose::SecondFactor, account).await?;
        let entry = Entry::success(Event::SecondFactorAsked, origin).by(account);
        self.record(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(Challenge { token, expires_in: Purpose::SecondFactor.lifetime().num_seconds() })
    }

    /// Opens the session of a login that waited for a code. The try is counted, for the challenge and for the account,
    /// before the code is looked at; whatever is wrong, the answer is the same.
    pub async fn finish_login(
        &self,
        token: &SecretString,
        code: &SecretString,
        origin: &Origin,
    ) -> Result<TokenPair> {
        let challenge = self.challenged(token).await?;
        if let Some((account, binding)) = &challenge {
            self.reserve_check("account", *account).await?;
            if let Some(pair) = self.second_step(*account, binding, token, code, origin).await? {
                return Ok(pair);
            }
        }
        let account = challenge.map(|(account, _)| account);
        let subject = account.unwrap_or_else(|| id_of(token.expose_secret()));
        self.record_failure(subject, account, true, origin).await?;
        Err(Error::WrongCode)
    }

    /// The account whose login waits for a code, and what the login is bound to.
    async fn challenged(&self, token: &SecretString) -> Result<Option<(Uuid, Vec<u8>)>> {
        let mut tx = self.store.read(Scope::Service(Service::Login)).await?;
        let found = self.find_once(&mut tx, Purpose::SecondFactor, token).await?;
        Ok(found.and_then(|challenge| Some((challenge.account?, challenge.payload))))
    }

    /// None where the challenge is over, the account changed meanwhile or the code is not good.
    async fn second_step(
        &self,
        account: Uuid,
        binding: &[u8],
        token: &SecretString,
        code: &SecretString,
        origin: &Origin,
    ) -> Result<Option<TokenPair>> {
        let mut tx = self.store.begin(Scope::Service(Service::Login)).await?;
        if !tx.accounts().lock(account).await?
            || !crypto::same(&self.binding(&mut tx, account).await?, binding)
        {
            return Ok(None);
        }
        let standing = tx.accounts().standing(account).await?.filter(|account| account.active);
        let Some(standing) = standing else { return Ok(None) };
        let is_tried = self.try_once(&mut tx, Purpose::SecondFactor, token).await?.is_some();
        let taken = if is_tried { self.take_code(&mut tx, account, code).await? } else { None };
        let Some(method) = taken else {
            tx.commit().await?;
            return Ok(None);
        };
        self.redeem_once(&mut tx, Purpose::SecondFactor, token).await?;
        self.open_session(tx, &standing, &[Method::Password, method], origin).await.map(Some)
    }

    /// Takes a code of the account's authenticator, or one of its recovery codes. None: it is not good, or not any
    /// more. The caller counts the try before, and commits the transaction.
    pub(crate) async fn take_code(
        &self,
        tx: &mut Tx,
        account: Uuid,
        code: &SecretString,
    ) -> Result<Option<Method>> {
        let code = code.expose_secret().trim();
        let Some(factor) = tx.second_factors().totp(account).await? else { return Ok(None) };
        let (taken, method) = if totp::is_code(code) {
            let secret = self.encryption.open(&secret_place(factor.id), &factor.secret)?;
            let taken = match totp::matching_step(&secret, code, self.now()) {
                Some(step) => tx.second_factors().take_step(factor.id, step).await?,
                None => false,
            };
            (taken, Method::Totp)
        } else {
            let taken = match recovery::digest(account, code) {
                Some(hash) => tx.second_factors().take_recovery_code(account, &hash).await?,
                None => false,
            };
            (taken, Method::RecoveryCode)
        };
        Ok(taken.then_some(method))
    }
}

/// The authentication methods as an audit event lists them.
pub(crate) fn proved_with(methods: &[Method]) -> serde_json::Value {
    json!({"with": methods.iter().map(|method| method.name()).collect::<Vec<_>>()})
}
