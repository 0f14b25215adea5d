//! From an e-mail address and a password to a session and its tokens.

pub(crate) mod challenges;
pub(crate) mod guessing;
pub(crate) mod links;
pub(crate) mod one_time;
pub(crate) mod refresh;
pub(crate) mod sessions;

use chrono::{DateTime, Duration, Utc};
use secrecy::SecretString;
use storage::{AccountStanding, NewSession, Scope, SealedColumn, Service, Session, Tx, User, named_enum};
use uuid::Uuid;

use crate::audit::Entry;
use crate::events::Event;
use crate::limits::network_of;
use crate::login::guessing::Standing;
use crate::second_factors::second_step::{Challenge, proved_with};
use crate::service::Origin;
use crate::token::Claims;
use crate::{Auth, Result, crypto, crypto::random, token};

/// How long what a login leads to is good.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// An access token.
    pub access_token: Duration,
    /// A session, however often it is refreshed.
    pub session: Duration,
    /// A session without being refreshed.
    pub idle: Duration,
    /// A proof of who somebody is, for what is sensitive (RFC 9470).
    pub proof: Duration,
}

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

/// How far a right password leads.
#[derive(Debug)]
pub enum LoginStep {
    /// Into a session.
    Opened(TokenPair),
    /// To the question for a code.
    SecondFactor(Challenge),
}

named_enum! {
    /// Something that somebody proves with who they are.
    pub(crate) enum Method {
        Password = "password",
        Totp = "totp",
        RecoveryCode = "recovery_code",
    }
}

impl Auth {
    /// Opens a session, or asks for a code where the account has a second factor: then the password alone does nothing.
    ///
    /// The attempt is counted before anything is looked up, and an unknown account costs the same hash as a known one:
    /// neither the answer nor its time tells them apart.
    pub async fn login(&self, credentials: Credentials, origin: &Origin) -> Result<LoginStep> {
        let lookup = self.email_index.of(&credentials.email);
        let attempt = self.begin_attempt(&lookup, credentials.held.as_ref(), origin).await?;
        let (user, stored) = self.find_credentials(&lookup).await?;
        let account = user.as_ref().map(|user| user.id);
        let Standing { looked_at, refusal } = self.admit_attempt(&attempt, account).await?;
        let stored = stored.filter(|_| looked_at);
        let right = self.hashing.verify(credentials.password.clone(), stored.clone()).await?;
        let next = match (&user, stored) {
            (Some(user), Some(stored)) if right && user.active => {
                let stored = self.renew_hash(user.id, credentials.password, stored).await?;
                self.after_password(user.id, &crypto::sha256(stored.as_bytes()), origin).await?
            }
            _ => None,
        };
        match next {
            Some(step) => Ok(step),
            None => {
                self.record_failure(attempt.subject(account), account, looked_at, origin).await?;
                Err(refusal)
            }
        }
    }

    /// No connection is held while the password is hashed.
    async fn find_credentials(&self, lookup: &str) -> Result<(Option<User>, Option<String>)> {
        let mut tx = self.store.read(Scope::Service(Service::Login)).await?;
        let found = tx.users().credentials(lookup).await?;
        Ok(found.map_or((None, None), |found| (Some(found.user), found.password_hash)))
    }

    /// None where the account changed while the password was being verified; `password` stands for the right one.
    async fn after_password(
        &self,
        account: Uuid,
        password: &[u8],
        origin: &Origin,
    ) -> Result<Option<LoginStep>> {
        let mut tx = self.store.begin(Scope::Service(Service::Login)).await?;
        let Some(standing) = self.unchanged(&mut tx, account, password).await? else { return Ok(None) };
        Ok(Some(if standing.has_second_factor {
            LoginStep::SecondFactor(self.challenge(tx, account, origin).await?)
        } else {
            LoginStep::Opened(self.open_session(tx, &standing, &[Method::Password], origin).await?)
        }))
    }

    /// How an account stands, under a lock on it; none where it was switched off or has another password (the digest of
    /// whose hash is `password`) by now.
    async fn unchanged(
        &self,
        tx: &mut Tx,
        account: Uuid,
        password: &[u8],
    ) -> Result<Option<AccountStanding>> {
        tx.accounts().lock(account).await?;
        let standing = tx.accounts().standing(account).await?.filter(|account| account.active);
        let stored = tx.users().password_hash(account).await?;
        let unchanged =
            stored.is_some_and(|stored| crypto::same(&crypto::sha256(stored.as_bytes()), password));
        Ok(standing.filter(|_| unchanged))
    }

    /// Opens a session for one who has proved by `methods` who they are.
    pub(crate) async fn open_session(
        &self,
        mut tx: Tx,
        account: &AccountStanding,
        methods: &[Method],
        origin: &Origin,
    ) -> Result<TokenPair> {
        self.require_open_to(self.granted(account), false)?;
        let now = self.now();
        let id = Uuid::now_v7();
        let family_key = random::bytes::<32>()?;
        let expires_at = now + self.lifetimes.session;
        self.notify_of_network(&mut tx, account.account_id, origin).await?;
        let session = tx
            .sessions()
            .create(&NewSession {
                id,
                account_id: account.account_id,
                family_key: self.encryption.seal(&family_place(id), &family_key)?,
                address: origin.address.map(|address| address.to_string()),
                network: origin.address.map(|address| network_of(address).to_string()),
                user_agent: origin.user_agent.clone(),
                authenticated_at: now,
                methods: words(methods),
                idle_expires_at: (now + self.lifetimes.idle).min(expires_at),
                expires_at,
            })
            .await?;
        tx.users().record_login(account.account_id).await?;
        tx.guessing().forget_failures(account.account_id).await?;
        let entry = Entry::success(Event::LoginSuccess, origin).by(account.account_id).on("session", id);
        self.record(&mut tx, entry.with(proved_with(methods))).await?;
        let ended = self.end_oldest_sessions(&mut tx, account.account_id, origin).await?;
        self.commit_change(tx, &ended).await?;
        self.pair(&session, account.security_version, &family_key)
    }

    /// The tokens of a session's present step.
    pub(crate) fn pair(
        &self,
        session: &Session,
        security_version: i64,
        family_key: &[u8],
    ) -> Result<TokenPair> {
        let (access_token, expires) =
            self.access_token(session, security_version, session.authenticated_at)?;
        Ok(TokenPair {
            access_token,
            refresh_token: refresh::issue(family_key, session.id, session.seq).into(),
            expires_in: expires.timestamp() - self.now().timestamp(),
        })
    }

    /// An access token of a session, whose owner proved at `authenticated_at` who they are; and when it ends: no later
    /// than the session, were it never used again.
    pub(crate) fn access_token(
        &self,
        session: &Session,
        security_version: i64,
        authenticated_at: DateTime<Utc>,
    ) -> Result<(SecretString, DateTime<Utc>)> {
        let now = self.now();
        let expires =
            (now + self.lifetimes.access_token).min(session.idle_expires_at).min(session.expires_at);
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
            auth_time: authenticated_at.timestamp(),
        };
        Ok((token::sign(&claims, &self.keyring.signers())?.into(), expires))
    }
}

/// The words that a session remembers methods by.
pub(crate) fn words(methods: &[Method]) -> String {
    methods.iter().map(|method| method.name()).collect::<Vec<_>>().join(" ")
}

/// Where a family's key is sealed for.
pub(crate) fn family_place(session: Uuid) -> String {
    SealedColumn::FamilyKey.place(session)
}
