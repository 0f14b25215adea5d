//! What mails are for. Each is looked into only when it is about to be sent: then it is decided whether there is
//! anything to say and to whom, and its link is made. So no link is ever stored, and nothing in the answer to whoever
//! asked for it, not even its time, tells whether an address has an account.

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use storage::{Scope, Service, Tx};
use uuid::Uuid;

use crate::accounts::confirmation::{NewAddress, Newcomer};
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
pub(crate) enum Errand {
    /// Telling people of their account; at their own address unless another one is named.
    Notice { kind: NoticeKind, at: DateTime<Utc>, address: Option<String> },
    /// A link for whoever forgot the password of this address's account, if there is one.
    ForgottenPassword { email: String },
    /// A link to a new password for one whom an administrator helps.
    PasswordReset,
    /// A link to the first password.
    Invitation,
    /// A link that proves that a new address can be read.
    NewAddress(NewAddress),
    /// A link that makes the account asked for; where the address has one already, word of that.
    Registration(Newcomer),
}

/// What a mail says.
pub enum LetterContent {
    /// Something happened to the account.
    Notice(NoticeKind, DateTime<Utc>),
    /// How to choose a new password.
    PasswordReset(SecretString),
    /// How to accept an invitation.
    Invitation(SecretString),
    /// How to confirm a new address, or that of a new account.
    Confirmation(SecretString),
    /// Somebody wanted to register an address that has an account.
    HasAccount,
}

impl Auth {
    /// To whom an errand leads now, and what to say; none: to nobody, any more.
    pub(crate) async fn carry_out(
        &self,
        account: Option<Uuid>,
        errand: Errand,
    ) -> Result<Option<(String, LetterContent)>> {
        let mut tx = self.store.begin(Scope::Service(Service::Login)).await?;
        let person = match (account, &errand) {
            (Some(account), _) => self.active_person(&mut tx, account).await?,
            (None, Errand::ForgottenPassword { email }) => self.who_forgot(&mut tx, email).await?,
            (None, _) => None,
        };
        let letter = match (errand, person) {
            (Errand::Registration(newcomer), _) => Some(self.welcome(&mut tx, newcomer).await?),
            (Errand::Notice { kind, at, address }, Some(person)) => {
                Some((address.unwrap_or(person.email), LetterContent::Notice(kind, at)))
            }
            (Errand::ForgottenPassword { .. } | Errand::PasswordReset, Some(person)) => {
                let link = self.bound_link(&mut tx, Purpose::PasswordReset, &person).await?;
                Some((person.email, LetterContent::PasswordReset(link)))
            }
            (Errand::Invitation, Some(person)) => {
                let link = self.bound_link(&mut tx, Purpose::Invitation, &person).await?;
                Some((person.email, LetterContent::Invitation(link)))
            }
            (Errand::NewAddress(wish), Some(person)) => self.offer_address(&mut tx, wish, &person).await?,
            (_, None) => None,
        };
        tx.commit().await?;
        // Whom another issuer vouches for may have no address.
        Ok(letter.filter(|(address, _)| !address.is_empty()))
    }

    /// The account of an address, where it has a password to forget: others get in another way.
    async fn who_forgot(&self, tx: &mut Tx, email: &str) -> Result<Option<Person>> {
        let found = tx.users().credentials(&self.email_index.of(email)).await?;
        let Some(found) = found.filter(|found| found.user.active && found.password_hash.is_some()) else {
            return Ok(None);
        };
        let (nowhere, id) = (Origin::default(), found.user.id);
        let asked = Entry::success(Event::PasswordResetRequested, &nowhere).on("account", id);
        self.record(tx, asked).await?;
        self.open_person(found.user).map(Some)
    }

    async fn welcome(&self, tx: &mut Tx, newcomer: Newcomer) -> Result<(String, LetterContent)> {
        if tx.users().credentials(&self.email_index.of(&newcomer.email)).await?.is_some() {
            return Ok((newcomer.email, LetterContent::HasAccount));
        }
        let link = self.issue_once(tx, Purpose::Registration, None, &written(&newcomer)?).await?;
        Ok((newcomer.email, LetterContent::Confirmation(link)))
    }

    /// A link to an address that is still free, unless the account changed since it was asked for.
    async fn offer_address(
        &self,
        tx: &mut Tx,
        wish: NewAddress,
        person: &Person,
    ) -> Result<Option<(String, LetterContent)>> {
        let holder = tx.users().credentials(&self.email_index.of(&wish.email)).await?;
        let is_taken = holder.is_some_and(|holder| holder.user.id != person.id);
        if is_taken || wish.binding != self.binding(tx, person).await? {
            return Ok(None);
        }
        let link = self.issue_once(tx, Purpose::EmailChange, Some(person.id), &written(&wish)?).await?;
        Ok(Some((wish.email, LetterContent::Confirmation(link))))
    }
}

/// The bytes of an errand or of what a link is about.
pub(crate) fn written(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::Internal(error.to_string()))
}

/// Reads what was [`written`].
pub(crate) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::Internal(error.to_string()))
}
