//! Second factors: enrolment, new recovery codes, removal.

pub(crate) mod enrolment;
pub(crate) mod recovery;
pub(crate) mod second_step;
pub(crate) mod totp;

use chrono::{DateTime, Duration, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use storage::{Scope, SealedColumn, Tx};
use uuid::Uuid;

use crate::accounts::directory::refuse_more_powerful;
use crate::accounts::people::Person;
use crate::audit::Entry;
use crate::callers::access::Permission;
use crate::callers::freshness::ChangeSubject;
use crate::callers::principal::{Credential, Principal};
use crate::events::Event;
use crate::login::one_time::Purpose;
use crate::login::{Method, words};
use crate::mail::notices::NoticeKind;
use crate::second_factors::second_step::proved_with;
use crate::service::Origin;
use crate::{Auth, Error, Result, crypto::random};

/// How long an authenticator may wait to be confirmed.
const PENDING: Duration = Duration::minutes(10);

/// A pending authenticator, shown once.
#[derive(Debug)]
pub struct TotpEnrolment {
    /// The shared secret, as people type it.
    pub secret: SecretString,
    /// The same as a URI, which the QR code holds.
    pub uri: SecretString,
}

/// What a person has besides their password.
#[derive(Debug)]
pub struct SecondFactorState {
    /// When the authenticator was confirmed; none: there is none.
    pub confirmed_at: Option<DateTime<Utc>>,
    /// Recovery codes that were not used.
    pub recovery_codes_left: i64,
    /// Whether nothing but getting a second factor is open to the account.
    pub must_enrol: bool,
}

impl Auth {
    /// How the caller stands with second factors.
    pub async fn second_factor_state(&self, principal: &Principal) -> Result<SecondFactorState> {
        let mut tx = self.store.read(Scope::Account(principal.account)).await?;
        let standing = tx.accounts().standing(principal.account).await?.ok_or(Error::NotFound)?;
        Ok(SecondFactorState {
            confirmed_at: tx
                .second_factors()
                .totp(principal.account)
                .await?
                .and_then(|totp| totp.confirmed_at),
            recovery_codes_left: tx.second_factors().recovery_codes_left(principal.account).await?,
            must_enrol: self.must_enrol(&standing),
        })
    }

    /// Begins with an authenticator; it counts once a code of it confirms it. A second beginning replaces the first.
    pub async fn enrol_totp(&self, principal: &Principal) -> Result<TotpEnrolment> {
        principal.require_whole_person()?;
        let id = Uuid::now_v7();
        let secret = random::bytes::<{ totp::SECRET_BYTES }>()?;
        let sealed = self.encryption.seal(&secret_place(id), &secret)?;
        let mut tx = self.begin_own(principal).await?;
        let person = tx.users().find(principal.account).await?.ok_or(Error::NotFound)?;
        let Person { email, name, .. } = self.open_person(person)?;
        let shown = if email.is_empty() { name } else { email };
        match tx.second_factors().begin_totp(id, principal.account, &sealed).await {
            Err(storage::Error::Conflict) => return Err(Error::SecondFactorPresent),
            begun => begun?,
        }
        tx.commit().await?;
        Ok(TotpEnrolment {
            secret: totp::written(&secret).into(),
            uri: totp::uri(&secret, &self.mfa_issuer, &shown).into(),
        })
    }

    /// Confirms the pending authenticator with one of its codes, which is used up by that. Returns the recovery codes,
    /// shown once. Every other session ends: they were opened without it.
    pub async fn confirm_totp(
        &self,
        principal: &Principal,
        code: &SecretString,
        origin: &Origin,
    ) -> Result<Vec<SecretString>> {
        let session = principal.require_whole_person()?;
        self.reserve_check("session", session).await?;
        let mut tx = self.begin_own(principal).await?;
        let since = tx.now() - PENDING;
        let pending = tx.second_factors().pending_totp(principal.account, since).await?;
        let pending = pending.ok_or(Error::NotFound)?;
        let secret = self.encryption.open(&secret_place(pending.id), &pending.secret)?;
        let step = totp::matching_step(&secret, code.expose_secret().trim(), self.now());
        let Some(step) = step else {
            drop(tx);
            return Err(self.refused_proof(principal, Error::WrongCode, origin).await?);
        };
        tx.second_factors().confirm(pending.id, step).await?;
        tx.accounts().set_must_enrol(principal.account, false).await?;
        tx.sessions().set_methods(session, &words(&[Method::Password, Method::Totp])).await?;
        let codes = give_recovery_codes(&mut tx, principal.account).await?;
        self.notify(&mut tx, principal.account, NoticeKind::SecondFactorAdded).await?;
        self.commit_factor(tx, principal, Event::SecondFactorAdded, json!({"kind": "totp"}), origin).await?;
        Ok(codes)
    }

    /// Removes the caller's authenticator and recovery codes, given one of its codes. Every other session ends.
    pub async fn remove_totp(
        &self,
        principal: &Principal,
        code: &SecretString,
        origin: &Origin,
    ) -> Result<()> {
        let (mut tx, method) = self.begin_with_code(principal, code, origin).await?;
        tx.second_factors().remove(principal.account).await?;
        self.notify(&mut tx, principal.account, NoticeKind::SecondFactorRemoved).await?;
        let detail = proved_with(&[method]);
        self.commit_factor(tx, principal, Event::SecondFactorRemoved, detail, origin).await
    }

    /// New recovery codes, shown once, for one of the caller's codes; the old ones are void.
    pub async fn renew_recovery_codes(
        &self,
        principal: &Principal,
        code: &SecretString,
        origin: &Origin,
    ) -> Result<Vec<SecretString>> {
        let (mut tx, method) = self.begin_with_code(principal, code, origin).await?;
        let codes = give_recovery_codes(&mut tx, principal.account).await?;
        let entry = Entry::success(Event::RecoveryCodesRenewed, origin).by(principal.account);
        let entry = entry.on("account", principal.account).with(proved_with(&[method]));
        self.record(&mut tx, entry).await?;
        self.notify(&mut tx, principal.account, NoticeKind::RecoveryCodesRenewed).await?;
        tx.commit().await?;
        Ok(codes)
    }

    /// Removes the second factor of another person who lost it: their sessions end, and they need a new one before they
    /// may do anything. One's own can only be removed with a code, or a stolen token would suffice.
    pub async fn reset_second_factors(
        &self,
        actor: &Principal,
        account: Uuid,
        origin: &Origin,
    ) -> Result<()> {
        let (mut tx, own) = self.begin_administration(actor, Permission::UsersManage).await?;
        refuse_more_powerful(&mut tx, own, account).await?;
        tx.users().find(account).await?.ok_or(Error::NotFound)?;
        if account == actor.account {
            return Err(Error::Refused("remove your own second factor with one of its codes"));
        }
        tx.accounts().lock(account).await?;
        let had_one = tx.second_factors().remove(account).await?;
        tx.accounts().set_must_enrol(account, true).await?;
        tx.one_time_tokens().forget(account, Purpose::SecondFactor.name()).await?;
        let ended = tx.sessions().revoke_all(account, None, "second_factor_reset").await?;
        tx.identities().end_tokens(account).await?;
        let entry = Entry::success(Event::SecondFactorReset, origin).by(actor.account).on("account", account);
        let entry = entry.with(json!({"had_one": had_one, "sessions_ended": ended.len()}));
        self.record(&mut tx, entry).await?;
        self.notify(&mut tx, account, NoticeKind::SecondFactorReset).await?;
        self.commit_change(tx, &[ChangeSubject::Account(account)]).await
    }

    /// Begins a change of the caller's own that one of their codes allows.
    async fn begin_with_code(
        &self,
        principal: &Principal,
        code: &SecretString,
        origin: &Origin,
    ) -> Result<(Tx, Method)> {
        let session = principal.require_whole_person()?;
        self.reserve_check("session", session).await?;
        let mut tx = self.begin_own(principal).await?;
        tx.second_factors().totp(principal.account).await?.ok_or(Error::NotFound)?;
        match self.take_code(&mut tx, principal.account, code).await? {
            Some(method) => Ok((tx, method)),
            None => {
                drop(tx);
                Err(self.refused_proof(principal, Error::WrongCode, origin).await?)
            }
        }
    }

    /// Commits that the caller's second factor is another one now: every other session and every login under way ends.
    async fn commit_factor(
        &self,
        mut tx: Tx,
        principal: &Principal,
        event: Event,
        detail: Value,
        origin: &Origin,
    ) -> Result<()> {
        let (account, session) = (principal.account, principal.require_person()?);
        tx.one_time_tokens().forget(account, Purpose::SecondFactor.name()).await?;
        tx.sessions().revoke_all(account, Some(session), "second_factor_changed").await?;
        if !matches!(principal.credential, Credential::External(_)) {
            tx.identities().end_tokens(account).await?;
        }
        let entry = Entry::success(event, origin).by(account).on("account", account);
        self.record(&mut tx, entry.with(detail)).await?;
        self.commit_change(tx, &[ChangeSubject::Account(account)]).await
    }
}

async fn give_recovery_codes(tx: &mut Tx, account: Uuid) -> Result<Vec<SecretString>> {
    let codes = recovery::generate()?;
    let hashes: Vec<Vec<u8>> = codes.iter().filter_map(|code| recovery::digest(account, code)).collect();
    tx.second_factors().set_recovery_codes(account, &hashes).await?;
    Ok(codes.into_iter().map(SecretString::from).collect())
}

/// Where an authenticator's secret is sealed for.
pub(crate) fn secret_place(factor: Uuid) -> String {
    SealedColumn::SecondFactorSecret.place(factor)
}
