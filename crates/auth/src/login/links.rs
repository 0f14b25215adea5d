//! Password reset links: requested by the person, or by an administrator for them. Nobody chooses another person's
//! password.

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde_json::json;
use storage::{Holder, Scope, Service, Tx};
use uuid::Uuid;

use crate::accounts::directory::refuse_more_powerful;
use crate::accounts::people::Person;
use crate::audit::Entry;
use crate::callers::access::{Permission, Permissions};
use crate::callers::freshness::ChangeSubject;
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::login::one_time::{Purpose, Redeemed};
use crate::mail::notices::NoticeKind;
use crate::mail::tasks::MailTask;
use crate::password::policy::NewPassword;
use crate::service::Origin;
use crate::{Auth, Error, Result, crypto};

/// How a link reaches the person it is for.
#[derive(Debug)]
pub struct LinkDelivery {
    /// When the link ends; one that is mailed is made a little later.
    pub expires_at: DateTime<Utc>,
    /// Where no mail is set up, its token, for the administrator to pass on; none: it is mailed.
    pub token: Option<SecretString>,
}

/// What an account is helped with.
#[derive(Debug)]
pub enum PasswordLink {
    /// It has a password, which the link replaces.
    NewPassword(LinkDelivery),
    /// It never had one.
    Invitation(LinkDelivery),
}

impl Auth {
    /// Lets a link be mailed to an address, if it has an account with a password. The answer and its time are the same
    /// for every address: who has it is looked up later.
    pub async fn forgot_password(&self, email: String) -> Result<()> {
        self.reserve_mail(Purpose::PasswordReset, &email, None).await?;
        let lookup = self.email_index.of(&email);
        let mut tx = self.store.begin(Scope::Service(Service::Login)).await?;
        let task = MailTask::ForgottenPassword { email };
        self.post(&mut tx, Uuid::now_v7(), Holder::Address(&lookup), &task).await?;
        Ok(tx.commit().await?)
    }

    /// Sends an account's owner a link to a new password, or to their first one.
    pub async fn send_password_link(
        &self,
        actor: &Principal,
        id: Uuid,
        origin: &Origin,
    ) -> Result<PasswordLink> {
        let (mut tx, own) = self.begin_administration(actor, Permission::UsersManage).await?;
        refuse_more_powerful(&mut tx, own, id).await?;
        if !tx.users().find(id).await?.ok_or(Error::NotFound)?.active {
            return Err(Error::Refused("this account is switched off; switch it on first"));
        }
        let entry = Entry::success(Event::PasswordResetRequested, origin).by(actor.account);
        self.record(&mut tx, entry.on("account", id)).await?;
        self.notify(&mut tx, id, NoticeKind::PasswordResetRequested).await?;
        let link = if tx.users().password_hash(id).await?.is_some() {
            let task = MailTask::PasswordReset;
            PasswordLink::NewPassword(self.deliver_link(&mut tx, id, task, Purpose::PasswordReset).await?)
        } else {
            let task = MailTask::Invitation;
            PasswordLink::Invitation(self.deliver_link(&mut tx, id, task, Purpose::Invitation).await?)
        };
        tx.commit().await?;
        Ok(link)
    }

    /// Mails a link or, where no mail is set up, gives its token: in the transaction that checked whether its maker may
    /// help the account, or the account could have got further in between.
    pub(crate) async fn deliver_link(
        &self,
        tx: &mut Tx,
        account: Uuid,
        task: MailTask,
        purpose: Purpose,
    ) -> Result<LinkDelivery> {
        let expires_at = tx.now() + purpose.lifetime();
        let token = if self.sends_mail {
            self.post(tx, Uuid::now_v7(), Holder::Account(account), &task).await?;
            None
        } else {
            Some(self.bound_link(tx, purpose, account).await?)
        };
        Ok(LinkDelivery { expires_at, token })
    }

    /// Sets a new password with a reset link; every session ends, and so does every login that waits for a code.
    pub async fn reset_password(
        &self,
        link: &SecretString,
        new_password: SecretString,
        origin: &Origin,
    ) -> Result<()> {
        let reset = self.replace_password(link, new_password, origin).await;
        self.note_refusal(reset, Event::PasswordReset, origin).await
    }

    /// Records that a link was refused, if it was: it may have been guessed or stolen.
    pub(crate) async fn note_refusal<T>(&self, done: Result<T>, event: Event, origin: &Origin) -> Result<T> {
        if matches!(done, Err(Error::InvalidLink)) {
            let mut tx = self.store.begin(Scope::Service(Service::Login)).await?;
            self.record(&mut tx, Entry::failure(event, origin)).await?;
            tx.commit().await?;
        }
        done
    }

    async fn replace_password(
        &self,
        link: &SecretString,
        new_password: SecretString,
        origin: &Origin,
    ) -> Result<()> {
        let (person, present) = self.find_by_link(Purpose::PasswordReset, link).await?;
        let password =
            NewPassword::check("new_password", new_password.clone(), &[&person.email, &person.name])?;
        if present.is_some() && self.hashing.verify(new_password, present).await? {
            return Err(Error::invalid("new_password", "this is your present password; choose another one"));
        }
        let hash = self.hashing.hash(password).await?;
        let mut tx = self.store.begin(Scope::Service(Service::Login)).await?;
        self.consume_link(&mut tx, Purpose::PasswordReset, link).await?;
        tx.users().set_password(person.id, &hash).await?;
        tx.one_time_tokens().forget(person.id, Purpose::SecondFactor.name()).await?;
        let ended = tx.sessions().revoke_all(person.id, None, "password_reset").await?;
        tx.identities().end_tokens(person.id).await?;
        let entry = Entry::success(Event::PasswordReset, origin).by(person.id).on("account", person.id);
        self.record(&mut tx, entry.with(json!({"sessions_ended": ended.len()}))).await?;
        self.notify(&mut tx, person.id, NoticeKind::PasswordReset).await?;
        self.commit_change(tx, &[ChangeSubject::Account(person.id)]).await
    }

    /// Makes a link that is void once the account is not what it is now.
    pub(crate) async fn bound_link(
        &self,
        tx: &mut Tx,
        purpose: Purpose,
        account: Uuid,
    ) -> Result<SecretString> {
        let binding = self.binding(tx, account).await?;
        self.issue_once(tx, purpose, Holder::Account(account), &binding).await
    }

    /// The person a link belongs to, and their password's hash. The link is not spent: a password that breaks a rule
    /// must not cost it.
    pub(crate) async fn find_by_link(
        &self,
        purpose: Purpose,
        link: &SecretString,
    ) -> Result<(Person, Option<String>)> {
        let mut tx = self.store.read(Scope::Service(Service::Login)).await?;
        let found = self.find_once(&mut tx, purpose, link).await?.ok_or(Error::InvalidLink)?;
        let person = self.check_binding(&mut tx, &found).await?;
        let hash = tx.users().password_hash(person.id).await?;
        Ok((person, hash))
    }

    /// Spends a link, with its account locked: of many who try at once, one goes on.
    pub(crate) async fn consume_link(
        &self,
        tx: &mut Tx,
        purpose: Purpose,
        link: &SecretString,
    ) -> Result<Person> {
        let found = self.redeem_once(tx, purpose, link).await?.ok_or(Error::InvalidLink)?;
        tx.accounts().lock(found.account.ok_or(Error::InvalidLink)?).await?;
        self.check_binding(tx, &found).await
    }

    /// A person, unless their account is switched off.
    pub(crate) async fn active_person(&self, tx: &mut Tx, account: Uuid) -> Result<Option<Person>> {
        let user = tx.users().find(account).await?.filter(|user| user.active);
        user.map(|user| self.open_person(user)).transpose()
    }

    /// Counts a mail that is about to be asked for, by its purpose and the address that it goes to, and by the account
    /// that asks. Each purpose has a window of its own: what strangers register must not use up the owner's resets.
    pub(crate) async fn reserve_mail(&self, purpose: Purpose, email: &str, by: Option<Uuid>) -> Result<()> {
        let to = self.limits.mail_window(purpose.name(), &self.email_index.of(email));
        let by = by.and_then(|account| self.limits.mail_window("by", &account.simple().to_string()));
        self.reserve(&Vec::from_iter(to.into_iter().chain(by))).await.map(drop)
    }

    async fn check_binding(&self, tx: &mut Tx, found: &Redeemed) -> Result<Person> {
        let account = found.account.ok_or(Error::InvalidLink)?;
        let person = self.active_person(tx, account).await?.ok_or(Error::InvalidLink)?;
        let binding = self.binding(tx, account).await?;
        if crypto::same(&binding, &found.payload) { Ok(person) } else { Err(Error::InvalidLink) }
    }

    /// What a link or a login under way is bound to: the account's password, and the number that its address, whether it
    /// is on and what it may do get with each change. What was void stays void when they are again what they were. What
    /// the built-in roles may do changes with a release, which counts nothing: it is looked at itself.
    pub(crate) async fn binding(&self, tx: &mut Tx, account: Uuid) -> Result<[u8; 32]> {
        let version = tx.accounts().link_version(account).await?.ok_or(Error::InvalidLink)?;
        let standing = tx.accounts().standing(account).await?.ok_or(Error::InvalidLink)?;
        let permissions = Permissions::from_names(&standing.permissions).names().join(" ");
        let hash = tx.users().password_hash(account).await?.unwrap_or_default();
        Ok(crypto::sha256(format!("{hash}\n{version}\n{permissions}").as_bytes()))
    }
}
