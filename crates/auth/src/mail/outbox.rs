//! The mail outbox: mails are put there in the transaction that causes them, sent by any replica, tried again with
//! growing pauses, and given up in the end. Nothing is lost with a process; a mail may go out twice when one dies.

use chrono::Duration;
use storage::{Holder, OutboxItem, Scope, SealedColumn, Service, Tx};
use uuid::Uuid;

use crate::mail::tasks::{MailContent, MailTask, read, written};
use crate::{Auth, Error, Result};

/// Mails about one account that may wait.
const MOST_OF_ACCOUNT: i64 = 100;
/// Mails that may wait of those that people ask for who are not known yet, all together.
const MOST_OF_STRANGERS: i64 = 5_000;
/// How long an attempt may take before another replica makes one.
const LEASE: Duration = Duration::minutes(2);
/// The pause after the first failure; each later one is twice as long.
const FIRST_PAUSE: Duration = Duration::seconds(30);
/// Attempts before a mail is given up, about an hour after the first.
const MOST_ATTEMPTS: i64 = 8;

/// A mail to send. Without `Debug`, so that no log contains its recipient.
pub struct OutgoingMail {
    /// The address.
    pub to: String,
    /// What it says.
    pub content: MailContent,
    id: Uuid,
    attempts: i64,
}

impl Auth {
    /// Puts a mail on its way, where mail is set up. [`Error::Overloaded`]: too many wait already.
    pub(crate) async fn post(
        &self,
        tx: &mut Tx,
        id: Uuid,
        holder: Holder<'_>,
        task: &MailTask,
    ) -> Result<()> {
        if !self.sends_mail {
            return Ok(());
        }
        let sealed = self.encryption.seal(&SealedColumn::Errand.place(id), &written(task)?)?;
        let most = match holder {
            Holder::Account(_) => MOST_OF_ACCOUNT,
            Holder::Address(_) => MOST_OF_STRANGERS,
        };
        if tx.outbox().add(id, holder, &sealed, most).await? { Ok(()) } else { Err(Error::Overloaded) }
    }

    /// The next mail to send, which nobody else gets for a while; none: nothing is due.
    pub async fn next_mail(&self) -> Result<Option<OutgoingMail>> {
        loop {
            let mut tx = self.store.begin(Scope::Service(Service::Mail)).await?;
            let Some(item) = tx.outbox().take(LEASE).await? else { return Ok(None) };
            tx.commit().await?;
            match self.compose_mail(&item).await {
                Ok(Some((to, content))) => {
                    return Ok(Some(OutgoingMail { to, content, id: item.id, attempts: item.attempts }));
                }
                Ok(None) => self.settle(item.id, false).await?,
                // Its lease is its pause.
                Err(error) if item.attempts < MOST_ATTEMPTS => return Err(error),
                Err(error) => {
                    tracing::error!(%error, "a mail that cannot be written is given up");
                    self.give_up(item.id).await?;
                }
            }
        }
    }

    /// Notes that a mail was handed on.
    pub async fn mail_sent(&self, mail: &OutgoingMail) -> Result<()> {
        self.settle(mail.id, true).await
    }

    /// Notes that a mail could not be sent. Answers whether it will be tried again: not where that is hopeless.
    pub async fn mail_failed(&self, mail: &OutgoingMail, is_hopeless: bool) -> Result<bool> {
        if is_hopeless || mail.attempts >= MOST_ATTEMPTS {
            self.give_up(mail.id).await?;
            return Ok(false);
        }
        let doublings = u32::try_from(mail.attempts - 1).unwrap_or(0);
        let mut tx = self.store.begin(Scope::Service(Service::Mail)).await?;
        let until = tx.now() + FIRST_PAUSE * 2_i32.saturating_pow(doublings);
        tx.outbox().postpone(mail.id, until).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn compose_mail(&self, item: &OutboxItem) -> Result<Option<(String, MailContent)>> {
        let opened = self.encryption.open(&SealedColumn::Errand.place(item.id), &item.errand)?;
        self.resolve_task(item.account_id, read(&opened)?).await
    }

    async fn settle(&self, id: Uuid, was_sent: bool) -> Result<()> {
        let mut tx = self.store.begin(Scope::Service(Service::Mail)).await?;
        tx.outbox().remove(id).await?;
        if was_sent {
            // A notice and its mail have one id; most other mails have no notice.
            tx.notices().mailed(id).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn give_up(&self, id: Uuid) -> Result<()> {
        let mut tx = self.store.begin(Scope::Service(Service::Mail)).await?;
        tx.outbox().fail(id).await?;
        Ok(tx.commit().await?)
    }
}
