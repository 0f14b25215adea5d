//! Sessions after the login: refreshing, listing, ending.

use chrono::Duration;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use storage::{Page, PageRequest, Scope, Service, Session, Tx};
use uuid::Uuid;

use crate::accounts::directory::refuse_more_powerful;
use crate::audit::Entry;
use crate::callers::access::Permission;
use crate::callers::authentication::REVOKED;
use crate::callers::freshness::ChangeSubject;
use crate::callers::principal::{Credential, Principal};
use crate::events::Event;
use crate::login::refresh::RefreshToken;
use crate::login::{TokenPair, family_place};
use crate::mail::notices::NoticeKind;
use crate::service::Origin;
use crate::{Auth, Error, Result};

/// How long after a rotation the previous token still gets the same successor: an answer may be lost on the way.
const RETRY_WINDOW: Duration = Duration::seconds(10);
/// Why a session ends that its owner is done with.
pub(crate) const LOGOUT: &str = "logout";
const NO_REFRESH: Error = Error::InvalidCredential("this refresh token is not valid; log in again");

impl Auth {
    /// A new pair for a refresh token, which is spent by it.
    ///
    /// Presented again within 10 s, and before its successor was, it gets the same successor; any other second use is
    /// a theft and ends the session (RFC 9700, section 4.14).
    pub async fn refresh(&self, text: &SecretString, origin: &Origin) -> Result<TokenPair> {
        let token = RefreshToken::parse(text.expose_secret()).ok_or(NO_REFRESH)?;
        let mut tx = self.store.begin(Scope::Service(Service::Token)).await?;
        let session = tx.sessions().find(token.session).await?.ok_or(NO_REFRESH)?;
        let family_key = self.encryption.open(&family_place(session.id), &session.family_key)?;
        if !token.is_genuine(&family_key) {
            return Err(NO_REFRESH);
        }
        let account = tx.accounts().standing(session.account_id).await?.filter(|account| account.active);
        let account = account.ok_or(NO_REFRESH)?;
        self.require_open_to(self.granted(&account), false)?;
        let idle_until = (self.now() + self.lifetimes.idle).min(session.expires_at);
        if let Some(rotated) = tx.sessions().rotate(token.session, token.step, idle_until).await? {
            tx.commit().await?;
            return self.pair(&rotated, account.security_version, &family_key);
        }
        // Another request may have rotated it between the two statements.
        let session = tx.sessions().find(token.session).await?.ok_or(NO_REFRESH)?;
        let now = self.now();
        if !session.is_live(now) {
            return Err(NO_REFRESH);
        }
        let recent = session.rotated_at.is_some_and(|at| (now - at).abs() <= RETRY_WINDOW);
        if token.step + 1 == session.seq && recent {
            return self.pair(&session, account.security_version, &family_key);
        }
        tx.sessions().revoke(session.id, "refresh_token_reuse").await?;
        let detail = json!({"reason": "refresh_token_reuse", "step": token.step, "current": session.seq});
        let entry = Entry::failure(Event::SuspiciousActivity, origin).by(session.account_id);
        let entry = entry.on("session", session.id).with(detail);
        self.record(&mut tx, entry).await?;
        self.notify(&mut tx, session.account_id, NoticeKind::SessionReplayed).await?;
        self.commit_change(tx, &[ChangeSubject::Session(session.id)]).await?;
        Err(NO_REFRESH)
    }

    /// Ends the caller's own session; of another issuer's tokens, the one they came with.
    pub async fn logout(&self, principal: &Principal, origin: &Origin) -> Result<()> {
        if let Credential::External(token) = &principal.credential {
            return self.end_external(principal.account, token, LOGOUT, origin).await;
        }
        let session = principal.require_session()?;
        match self.end_session(principal.account, session, LOGOUT, origin).await {
            // It was ended meanwhile.
            Err(Error::NotFound) => Err(REVOKED),
            ended => ended,
        }
    }

    /// Ends one of the caller's sessions.
    pub async fn end_own_session(&self, principal: &Principal, session: Uuid, origin: &Origin) -> Result<()> {
        principal.require_person()?;
        self.end_session(principal.account, session, "ended_by_owner", origin).await
    }

    /// Ends every session of the caller, and every token of other issuers so far.
    pub async fn logout_all(&self, principal: &Principal, origin: &Origin) -> Result<()> {
        principal.require_person()?;
        let tx = self.begin_own(principal).await?;
        self.end_sessions(tx, principal, principal.account, "logout_all", origin).await
    }

    /// Ends every session of a person, and every token of other issuers so far.
    pub async fn end_sessions_of(&self, actor: &Principal, account: Uuid, origin: &Origin) -> Result<()> {
        let (mut tx, own) = self.begin_administration(actor, Permission::UsersManage).await?;
        refuse_more_powerful(&mut tx, own, account).await?;
        self.end_sessions(tx, actor, account, "ended_by_administrator", origin).await
    }

    /// One change of the account makes all its tokens be looked at again, however many sessions there were.
    async fn end_sessions(
        &self,
        mut tx: Tx,
        actor: &Principal,
        account: Uuid,
        reason: &str,
        origin: &Origin,
    ) -> Result<()> {
        let ended = tx.sessions().revoke_all(account, None, reason).await?;
        tx.identities().end_tokens(account).await?;
        let entry = Entry::success(Event::SessionEnded, origin).by(actor.account).on("account", account);
        self.record(&mut tx, entry.with(json!({"reason": reason, "sessions": ended.len()}))).await?;
        self.commit_change(tx, &[ChangeSubject::Account(account)]).await
    }

    /// Makes room for a session that begins: an account has no more live ones than the settings say.
    pub(crate) async fn end_oldest_sessions(
        &self,
        tx: &mut Tx,
        account: Uuid,
        origin: &Origin,
    ) -> Result<Vec<ChangeSubject>> {
        let reason = "too_many_sessions";
        let ended = tx.sessions().revoke_oldest(account, self.max_sessions, reason).await?;
        for session in &ended {
            let entry = Entry::success(Event::SessionEnded, origin).by(account).on("session", *session);
            self.record(tx, entry.with(json!({"reason": reason}))).await?;
        }
        Ok(ended.into_iter().map(ChangeSubject::Session).collect())
    }

    /// The caller's live sessions.
    pub async fn sessions(&self, principal: &Principal, page: &PageRequest) -> Result<Page<Session>> {
        principal.require_person()?;
        let mut tx = self.store.read(Scope::Account(principal.account)).await?;
        Ok(tx.sessions().list(principal.account, page).await?)
    }

    async fn end_session(&self, account: Uuid, session: Uuid, reason: &str, origin: &Origin) -> Result<()> {
        let mut tx = self.store.begin(Scope::Account(account)).await?;
        if !tx.sessions().revoke_own(account, session, reason).await? {
            return Err(Error::NotFound);
        }
        let entry = Entry::success(Event::SessionEnded, origin).by(account).on("session", session);
        let entry = entry.with(json!({"reason": reason}));
        self.record(&mut tx, entry).await?;
        self.commit_change(tx, &[ChangeSubject::Session(session)]).await
    }
}
