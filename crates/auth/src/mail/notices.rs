//! Notices to the owner of an account: kept for them to read, and mailed where mail is set up.
//!
//! A notice is written in the transaction of what it reports, so neither is ever without the other.

use serde::{Deserialize, Serialize};
use storage::{Holder, Page, PageRequest, Scope, Tx, named_enum};
use uuid::Uuid;

use crate::callers::principal::Principal;
use crate::limits::network_of;
use crate::mail::tasks::MailTask;
use crate::service::Origin;
use crate::{Auth, Error, Result};

macro_rules! notices {
    ($($variant:ident = $name:literal $text:literal;)*) => {
        named_enum! {
            /// The kinds of notices.
            #[derive(Serialize, Deserialize)]
            #[serde(rename_all = "snake_case")]
            pub enum NoticeKind { $(#[doc = $text] $variant = $name,)* }
        }

        impl NoticeKind {
            /// What happened, in a sentence.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

notices! {
    SessionReplayed = "session_replayed" "A refresh token was used a second time; somebody may have copied it, so its session was ended.";
    NewNetwork = "new_network" "Somebody logged in from a network that the account was not used from lately; GET /api/v1/auth/sessions tells which.";
    PasswordChanged = "password_changed" "The password was changed and every other session was ended.";
    PasswordReset = "password_reset" "The password was reset through a link and every session was ended.";
    PasswordResetRequested = "password_reset_requested" "An administrator asked for a link to reset the password.";
    SecondFactorAdded = "second_factor_added" "A second factor was added and every other session was ended.";
    SecondFactorRemoved = "second_factor_removed" "The second factor was removed and every other session was ended.";
    SecondFactorReset = "second_factor_reset" "An administrator took the second factor away; a new one is needed after the next login.";
    RecoveryCodesRenewed = "recovery_codes_renewed" "New recovery codes were made; the old ones are void.";
    IdentityLinked = "identity_linked" "An administrator linked an identity at another provider to the account: whoever has it can use the account; GET /api/v1/me/identities tells which.";
    IdentityUnlinked = "identity_unlinked" "An administrator took an identity at another provider from the account.";
    EmailChangeRequested = "email_change_requested" "Another e-mail address was asked for; it holds once a link sent there is used.";
    EmailChanged = "email_changed" "The e-mail address was changed; this one is no longer the account's.";
}

impl Auth {
    /// Sends a notice to a person about their account.
    pub(crate) async fn notify(&self, tx: &mut Tx, account: Uuid, kind: NoticeKind) -> Result<()> {
        self.notify_at(tx, account, kind, None).await
    }

    /// The same, mailed to an address that is not (any more) the account's.
    pub(crate) async fn notify_at(
        &self,
        tx: &mut Tx,
        account: Uuid,
        kind: NoticeKind,
        address: Option<String>,
    ) -> Result<()> {
        let id = Uuid::now_v7();
        tx.notices().add(id, account, kind.name()).await?;
        let at = tx.now();
        let task = MailTask::Notice { kind, at, address };
        match self.post(tx, id, Holder::Account(account), &task).await {
            Err(Error::Overloaded) => {
                tracing::warn!("too many mails wait to be sent; a notice is not mailed");
                Ok(())
            }
            posted => posted,
        }
    }

    /// Sends a notice of a login from a network that the account does not know, except of the very first login.
    pub(crate) async fn notify_of_network(&self, tx: &mut Tx, account: Uuid, origin: &Origin) -> Result<()> {
        let Some(address) = origin.address else { return Ok(()) };
        if tx.sessions().is_new_network(account, &network_of(address).to_string()).await? {
            self.notify(tx, account, NoticeKind::NewNetwork).await?;
        }
        Ok(())
    }

    /// The caller's notices, newest first.
    pub async fn notices(&self, principal: &Principal, page: &PageRequest) -> Result<Page<storage::Notice>> {
        principal.require_person()?;
        let mut tx = self.store.read(Scope::Account(principal.account)).await?;
        Ok(tx.notices().list(principal.account, page).await?)
    }
}
