//! From an e-mail address and a password to a session and its tokens.

use secrecy::SecretString;
use storage::{NewSession, Scope, SealedColumn, Service, Session, User};
use uuid::Uuid;

use crate::audit::Entry;
use crate::events::Event;
use crate::limits::network_of;
use crate::service::Origin;
use crate::token::Claims;
use crate::{Auth, Error, Result, random, refresh, token};

/// What a person logs in with.
#[derive(Debug)]
pub struct Credentials {
    /// The e-mail address, in any spelling.
    pub email: String,
    /// The password, exactly as typed.
    pub password: SecretString,
    /// An access token of the same account, if the client has one: it is not held up by what others try.
    pub held: Option<SecretString>,
}

/// An access token and the refresh token that gets the next one.
#[derive(Debug)]
pub struct TokenPair {
    /// A JWT for `Authorization: Bearer`.
    pub access_token: SecretString,
    /// Good for one refresh.
    pub refresh_token: SecretString,
    /// Seconds until the access token ends.
    pub expires_in: i64,
}

impl Auth {
    /// Opens a session.
    ///
    /// The attempt is counted before anything is looked up, and an unknown account costs the same hash as a known one:
    /// neither the answer nor its time tells them apart.
    pub async fn login(&self, credentials: Credentials, origin: &Origin) -> Result<TokenPair> {
        let lookup = self.email_index.of(&credentials.email);
        let attempt = self.begin_attempt(&lookup, credentials.held.as_ref(), origin).await?;
        let (user, stored) = self.find_credentials(&lookup).await?;
        let account = user.as_ref().map(|user| user.id);
        let looked_at = self.admit_attempt(&attempt, account).await?;
        let stored = stored.filter(|_| looked_at);
        let right = self.hashing.verify(credentials.password, stored.clone()).await?;
        let opened = match (&user, stored) {
            (Some(user), Some(stored)) if right && user.active => {
                self.open_session(user, &stored, origin).await?
            }
            _ => None,
        };
        match opened {
            Some(pair) => Ok(pair),
            None => {
                self.record_failure(attempt.subject(account), account, origin).await?;
                Err(Error::WrongCredentials)
            }
        }
    }

    /// No connection is held while the password is hashed.
    async fn find_credentials(&self, lookup: &str) -> Result<(Option<User>, Option<String>)> {
        let mut tx = self.store.read(Scope::Service(Service::Login)).await?;
        let found = tx.users().credentials(lookup).await?;
        Ok(found.map_or((None, None), |found| (Some(found.user), found.password_hash)))
    }

    /// None where the account was switched off, or its password changed, while the password was being verified.
    async fn open_session(&self, user: &User, verified: &str, origin: &Origin) -> Result<Option<TokenPair>> {
        let now = self.now();
        let id = Uuid::now_v7();
        let family_key = random::bytes::<32>()?;
        let expires_at = now + self.refresh_lifetime;
        let mut tx = self.store.begin(Scope::Service(Service::Login)).await?;
        tx.accounts().lock(user.id).await?;
        let standing = tx.accounts().standing(user.id).await?.filter(|account| account.active);
        let unchanged = tx.users().password_hash(user.id).await?.as_deref() == Some(verified);
        let Some(account) = standing.filter(|_| unchanged) else { return Ok(None) };
        let session = tx
            .sessions()
            .create(&NewSession {
                id,
                account_id: user.id,
                family_key: self.encryption.seal(&family_place(id), &family_key)?,
                address: origin.address.map(|address| address.to_string()),
                network: origin.address.map(|address| network_of(address).to_string()),
                user_agent: origin.user_agent.clone(),
                authenticated_at: now,
                idle_expires_at: (now + self.idle_lifetime).min(expires_at),
                expires_at,
            })
            .await?;
        tx.users().record_login(user.id).await?;
        tx.guessing().forget_failures(user.id).await?;
        let entry = Entry::success(Event::LoginSuccess, origin).by(user.id).on("session", id);
        self.record(&mut tx, entry).await?;
        let ended = self.end_oldest_sessions(&mut tx, user.id, origin).await?;
        self.commit_change(tx, &ended).await?;
        self.pair(&session, account.security_version, &family_key).map(Some)
    }

    /// The tokens of a session's present step.
    pub(crate) fn pair(
        &self,
        session: &Session,
        security_version: i64,
        family_key: &[u8],
    ) -> Result<TokenPair> {
        let now = self.now();
        let expires = (now + self.access_lifetime).min(session.expires_at);
        let claims = Claims {
            iss: self.issuer.name.clone(),
            aud: self.issuer.audience.clone(),
            sub: session.account_id,
            exp: expires.timestamp(),
            iat: now.timestamp(),
            nbf: now.timestamp(),
            jti: Uuid::now_v7(),
            sid: session.id,
            ver: security_version,
            auth_time: session.authenticated_at.timestamp(),
        };
        Ok(TokenPair {
            access_token: token::sign(&claims, &self.keyring.signers())?.into(),
            refresh_token: refresh::issue(family_key, session.id, session.seq).into(),
            expires_in: expires.timestamp() - now.timestamp(),
        })
    }
}

/// Where a family's key is sealed for.
pub(crate) fn family_place(session: Uuid) -> String {
    SealedColumn::FamilyKey.place(session)
}
