//! Mail tasks. Each is evaluated only when it is about to be sent: then it is decided whether and to whom there is
//! something to send, and its link is made. So no link is ever stored, and the answer to the request for it, its time
//! included, does not reveal whether an address has an account.

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use storage::{Holder, Scope, Service, Tx};
use uuid::Uuid;

use crate::accounts::confirmation::{NewAddress, PendingRegistration};
use crate::accounts::people::Person;
use crate::audit::Entry;
use crate::events::Event;
use crate::login::one_time::Purpose;
use crate::mail::notices::NoticeKind;
use crate::service::Origin;
use crate::{Auth, Error, Result};

/// What a mail is for, as it waits.
#[derive(Serialize, Deserialize)]
#[serde(tag = "errand", rename_all = "snake_case")]
pub(crate) enum MailTask {
    /// Telling people of their account; at their own address unless another one is named.
    Notice { kind: NoticeKind, at: DateTime<Utc>, address: Option<String> },
    /// A password reset link for this address's account, if there is one.
    ForgottenPassword { email: String },
    /// A link to a new password for one whom an administrator helps.
    PasswordReset,
    /// A link to the first password.
    Invitation,
    /// A link that proves that a new address can be read.
    NewAddress(NewAddress),
    /// A link that makes the registered account; if the address has one already, a notice of that.
    Registration(PendingRegistration),
}

/// What a mail says.
pub enum MailContent {
    /// Something happened to the account.
    Notice(NoticeKind, DateTime<Utc>),
    /// How to choose a new password.
    PasswordReset(SecretString),
    /// How to accept an invitation.
    Invitation(SecretString),
    /// How to confirm a new address, or that of a new account.
    Confirmation(SecretString),
    /// Somebody tried to register an address that has an account.
    HasAccount,
}

impl Auth {
    /// The recipient of a mail and what it says, as of now; none: there is nothing to send any more.
    pub(crate) async fn resolve_task(
        &self,
        account: Option<Uuid>,
        task: MailTask,
    ) -> Result<Option<(String, MailContent)>> {
        let mut tx = self.store.begin(Scope::Service(Service::Login)).await?;
        let person = match (account, &task) {
            (Some(account), _) => {
                // A link must not outlive the address that it is mailed to: whoever moves that waits.
                tx.accounts().lock(account).await?;
                self.active_person(&mut tx, account).await?
            }
            (None, MailTask::ForgottenPassword { email }) => self.reset_recipient(&mut tx, email).await?,
            (None, _) => None,
        };
        let mail = match (task, person) {
            (MailTask::Registration(pending), _) => Some(self.confirmation(&mut tx, pending).await?),
            (MailTask::Notice { kind, at, address }, Some(person)) => {
                Some((address.unwrap_or(person.email), MailContent::Notice(kind, at)))
            }
            (MailTask::ForgottenPassword { .. } | MailTask::PasswordReset, Some(person)) => {
                let link = self.bound_link(&mut tx, Purpose::PasswordReset, person.id).await?;
                Some((person.email, MailContent::PasswordReset(link)))
            }
            (MailTask::Invitation, Some(person)) => {
                let link = self.bound_link(&mut tx, Purpose::Invitation, person.id).await?;
                Some((person.email, MailContent::Invitation(link)))
            }
            (MailTask::NewAddress(wish), Some(person)) => self.offer_address(&mut tx, wish, &person).await?,
            (_, None) => None,
        };
        tx.commit().await?;
        // Whom another issuer vouches for may have no address.
        Ok(mail.filter(|(address, _)| !address.is_empty()))
    }

    /// The account of an address, where it has a password to forget: others get in another way.
    async fn reset_recipient(&self, tx: &mut Tx, email: &str) -> Result<Option<Person>> {
        let lookup = self.email_index.of(email);
        let Some(holder) = tx.users().credentials(&lookup).await? else { return Ok(None) };
        tx.accounts().lock(holder.user.id).await?;
        // Under the lock: the address may have moved.
        let found = tx.users().credentials(&lookup).await?.filter(|found| found.user.id == holder.user.id);
        let Some(found) = found.filter(|found| found.user.active && found.password_hash.is_some()) else {
            return Ok(None);
        };
        let (nowhere, id) = (Origin::default(), found.user.id);
        let asked = Entry::success(Event::PasswordResetRequested, &nowhere).on("account", id);
        self.record(tx, asked).await?;
        self.open_person(found.user).map(Some)
    }

    async fn confirmation(&self, tx: &mut Tx, pending: PendingRegistration) -> Result<(String, MailContent)> {
        let lookup = self.email_index.of(&pending.email);
        if tx.users().credentials(&lookup).await?.is_some() {
            return Ok((pending.email, MailContent::HasAccount));
        }
        let holder = Holder::Address(&lookup);
        let link = self.issue_once(tx, Purpose::Registration, holder, &written(&pending)?).await?;
        Ok((pending.email, MailContent::Confirmation(link)))
    }

    /// A link to an address that is still free, unless the account changed since it was asked for.
    async fn offer_address(
        &self,
        tx: &mut Tx,
        wish: NewAddress,
        person: &Person,
    ) -> Result<Option<(String, MailContent)>> {
        let holder = tx.users().credentials(&self.email_index.of(&wish.email)).await?;
        let is_taken = holder.is_some_and(|holder| holder.user.id != person.id);
        if is_taken || wish.binding != self.binding(tx, person.id).await? {
            return Ok(None);
        }
        let holder = Holder::Account(person.id);
        let link = self.issue_once(tx, Purpose::EmailChange, holder, &written(&wish)?).await?;
        Ok(Some((wish.email, MailContent::Confirmation(link))))
    }
}

/// The bytes of a mail task, or of what a link is about.
pub(crate) fn written(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::Internal(error.to_string()))
}

/// Reads what was [`written`].
pub(crate) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::Internal(error.to_string()))
}
