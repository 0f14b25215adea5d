//! E-mail verification: of new accounts, where `EMAIL_VERIFICATION` is on, and of changed addresses.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use storage::{Holder, Scope, Service, Tx};
use uuid::Uuid;

use crate::accounts::registration::NewUserRequest;
use crate::audit::Entry;
use crate::callers::access::Role;
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::login::one_time::Purpose;
use crate::mail::notices::NoticeKind;
use crate::mail::tasks::{MailTask, read};
use crate::password::policy::NewPassword;
use crate::service::Origin;
use crate::{Auth, Error, Result};

/// A person's new address, not yet confirmed.
#[derive(Serialize, Deserialize)]
pub(crate) struct NewAddress {
    pub email: String,
    /// What the account's links were bound to when the change was requested.
    pub binding: [u8; 32],
}

/// An account that is made once its address is proved.
#[derive(Serialize, Deserialize)]
pub(crate) struct PendingRegistration {
    pub email: String,
    name: String,
    password_hash: String,
}

/// Whether a link would make an account, going by what it begins with.
pub fn is_registration_link(link: &SecretString) -> bool {
    link.expose_secret().starts_with(Purpose::Registration.prefix())
}

impl Auth {
    /// Registers a person whose address must be verified first. An address that has an account gets a mail that says
    /// so; the answer and its time are the same.
    pub async fn register(&self, request: NewUserRequest) -> Result<()> {
        let NewUserRequest { email, name, password } = request;
        let password = NewPassword::check("password", password, &[&email, &name])?;
        self.reserve_mail(Purpose::Registration, &email, None).await?;
        let password_hash = self.hashing.hash(password).await?;
        let lookup = self.email_index.of(&email);
        let task = MailTask::Registration(PendingRegistration { email, name, password_hash });
        let mut tx = self.store.begin(Scope::Service(Service::Login)).await?;
        self.post(&mut tx, Uuid::now_v7(), Holder::Address(&lookup), &task).await?;
        Ok(tx.commit().await?)
    }

    /// Mails a link to the caller's new address, and a notice to the present one. Does not reveal whether another
    /// account has the new one.
    pub async fn change_email(&self, principal: &Principal, email: &str, origin: &Origin) -> Result<()> {
        principal.require_whole_person()?;
        if !self.sends_mail {
            return Err(Error::MailUnavailable);
        }
        let email = email.trim().to_owned();
        self.reserve_mail(Purpose::EmailChange, &email, Some(principal.account)).await?;
        let mut tx = self.begin_own(principal).await?;
        let person = self.active_person(&mut tx, principal.account).await?.ok_or(Error::NotFound)?;
        if email == person.email {
            return Err(Error::invalid("email", "this is your address already"));
        }
        let binding = self.binding(&mut tx, person.id).await?;
        let task = MailTask::NewAddress(NewAddress { email, binding });
        self.post(&mut tx, Uuid::now_v7(), Holder::Account(person.id), &task).await?;
        self.notify(&mut tx, person.id, NoticeKind::EmailChangeRequested).await?;
        let entry = Entry::success(Event::EmailChangeRequested, origin).by(person.id);
        self.record(&mut tx, entry.on("account", person.id)).await?;
        Ok(tx.commit().await?)
    }

    /// Confirms an address: makes the pending account, or changes the address of the account that requested it.
    pub async fn confirm_email(&self, link: &SecretString, origin: &Origin) -> Result<()> {
        let confirmed = self.confirm_address(link, origin).await;
        self.note_refusal(confirmed, Event::EmailConfirmed, origin).await
    }

    async fn confirm_address(&self, link: &SecretString, origin: &Origin) -> Result<()> {
        let mut tx = self.store.begin(Scope::Service(Service::Login)).await?;
        if is_registration_link(link) {
            self.create_registered(&mut tx, link, origin).await?;
        } else {
            self.move_address(&mut tx, link, origin).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Makes the account of a pending registration, and ends the others of its address: none is to make the account anew
    /// once it is gone.
    async fn create_registered(&self, tx: &mut Tx, link: &SecretString, origin: &Origin) -> Result<()> {
        let found = self.find_once(tx, Purpose::Registration, link).await?.ok_or(Error::InvalidLink)?;
        let PendingRegistration { email, name, password_hash } = read(&found.payload)?;
        if !self.redeem_for_address(tx, link, &self.email_index.of(&email)).await? {
            return Err(Error::InvalidLink);
        }
        let role = Role::User.name();
        let person = self.create_person(tx, Some(&email), &name, role).await?;
        tx.users().set_password(person.id, &password_hash).await?;
        let entry = Entry::success(Event::AccountCreated, origin).on("account", person.id);
        self.record(tx, entry.with(json!({"role": role}))).await
    }

    async fn move_address(&self, tx: &mut Tx, link: &SecretString, origin: &Origin) -> Result<()> {
        let found = self.redeem_once(tx, Purpose::EmailChange, link).await?.ok_or(Error::InvalidLink)?;
        let account = found.account.ok_or(Error::InvalidLink)?;
        tx.accounts().lock(account).await?;
        let person = self.active_person(tx, account).await?.ok_or(Error::InvalidLink)?;
        let wish: NewAddress = read(&found.payload)?;
        if wish.binding != self.binding(tx, account).await? {
            return Err(Error::InvalidLink);
        }
        let (sealed, lookup) = (self.seal_email(account, &wish.email)?, self.email_index.of(&wish.email));
        match tx.users().set_email(account, &sealed, &lookup).await {
            Err(storage::Error::Conflict) => return Err(Error::EmailTaken),
            done => done?,
        }
        // The notice goes to the previous address: its owner may not have made the change.
        self.notify_at(tx, account, NoticeKind::EmailChanged, Some(person.email)).await?;
        let entry = Entry::success(Event::EmailConfirmed, origin).by(account).on("account", account);
        self.record(tx, entry.with(json!({"changed": ["email"]}))).await
    }
}
