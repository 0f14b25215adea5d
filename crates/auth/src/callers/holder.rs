//! Introspection and revocation of a credential by its holder.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use storage::{Scope, Service, Session};
use uuid::Uuid;

use crate::audit::Entry;
use crate::callers::access::Permissions;
use crate::callers::freshness::ChangeSubject;
use crate::callers::principal::{Credential, Principal};
use crate::events::Event;
use crate::login::family_place;
use crate::login::refresh::RefreshToken;
use crate::service::Origin;
use crate::{Auth, Error, Result, token};

const REASON: &str = "revoked_by_holder";

/// What a good credential is good for (RFC 7662, section 2.2).
#[derive(Debug)]
pub struct CredentialStatus {
    /// `access_token`, `refresh_token` or `api_key`.
    pub kind: &'static str,
    /// The account that it speaks for.
    pub account: Uuid,
    /// What it may do now; nothing for a refresh token.
    pub permissions: Permissions,
    /// When it ends.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Auth {
    /// What a credential is good for; none if for nothing (any more).
    pub async fn introspect(&self, credential: &SecretString) -> Result<Option<CredentialStatus>> {
        let text = credential.expose_secret();
        if let Some(session) = self.refresh_session(text).await? {
            return Ok(Some(CredentialStatus {
                kind: "refresh_token",
                account: session.account_id,
                permissions: Permissions::default(),
                expires_at: Some(session.idle_expires_at),
            }));
        }
        let principal = match self.authenticate(text).await {
            Ok(principal) => principal,
            Err(Error::InvalidCredential(_) | Error::Refused(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let (kind, expires_at) = match principal.credential {
            Credential::Session { .. } => ("access_token", self.token_end(text)),
            Credential::External(token) => ("access_token", Some(token.expires_at)),
            Credential::ApiKey { id } => {
                let mut tx = self.store.read(Scope::Account(principal.account)).await?;
                ("api_key", tx.api_keys().find(principal.account, id).await?.and_then(|key| key.expires_at))
            }
        };
        let (account, permissions) = (principal.account, principal.permissions);
        Ok(Some(CredentialStatus { kind, account, permissions, expires_at }))
    }

    /// Ends a credential: a token with its whole session, a key with both its secrets. What is no good credential is as
    /// revoked as can be (RFC 7009, section 2.2).
    pub async fn revoke(&self, credential: &SecretString, origin: &Origin) -> Result<()> {
        let text = credential.expose_secret();
        if let Some(session) = self.refresh_session(text).await? {
            return self.end_by_holder(session.account_id, ChangeSubject::Session(session.id), origin).await;
        }
        if let Some((owner, key)) = self.signing_key_of(text).await? {
            return self.end_by_holder(owner, ChangeSubject::ApiKey(key), origin).await;
        }
        match self.authenticate_from(text, origin.address, self.now()).await {
            Ok(principal) => self.end_principal(&principal, origin).await,
            Err(Error::InvalidCredential(_) | Error::Refused(_)) => {
                self.outlast_confirmations().await;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn end_principal(&self, principal: &Principal, origin: &Origin) -> Result<()> {
        if let Credential::External(token) = &principal.credential {
            return self.end_external(principal.account, token, REASON, origin).await;
        }
        let [_, watched, _] = principal.watched();
        self.end_by_holder(principal.account, watched, origin).await
    }

    async fn end_by_holder(&self, account: Uuid, watched: ChangeSubject, origin: &Origin) -> Result<()> {
        let id = watched.id();
        let mut tx = self.store.begin(Scope::Account(account)).await?;
        let (ended, event) = if let ChangeSubject::ApiKey(_) = watched {
            (tx.api_keys().revoke(account, id).await?, Event::ApiKeyRevoked)
        } else {
            (tx.sessions().revoke_own(account, id, REASON).await?, Event::SessionEnded)
        };
        if !ended {
            drop(tx);
            self.outlast_confirmations().await;
            return Ok(());
        }
        let entry = Entry::success(event, origin).by(account).on(watched.kind(), id);
        self.record(&mut tx, entry.with(json!({"reason": REASON}))).await?;
        self.commit_change(tx, &[watched]).await
    }

    /// The live session of a refresh token that is the current one; none for anything else.
    async fn refresh_session(&self, text: &str) -> Result<Option<Session>> {
        let Some(token) = RefreshToken::parse(text) else { return Ok(None) };
        let mut tx = self.store.read(Scope::Service(Service::Token)).await?;
        let Some(session) = tx.sessions().find(token.session).await? else { return Ok(None) };
        let active = tx.accounts().standing(session.account_id).await?.is_some_and(|account| account.active);
        let family_key = self.encryption.open(&family_place(session.id), &session.family_key)?;
        let current = token.is_genuine(&family_key) && token.step == session.seq;
        Ok((active && session.is_live(self.now()) && current).then_some(session))
    }

    fn token_end(&self, text: &str) -> Option<DateTime<Utc>> {
        let claims = token::verify(text, &self.keyring.signers(), &self.issuer, self.now()).ok()?;
        DateTime::from_timestamp(claims.exp, 0)
    }
}
