//! Sending the mail that `auth` decides on.

mod templates;

pub use templates::{ACCEPT_PAGE, RESET_PAGE};

use std::time::Duration;

use auth::{Alert, Auth, OutgoingMail};
use chrono::{DateTime, Utc};
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use crate::error::TickResult;
use crate::settings::{MailSettings, PublicUrl, smtp_url};

/// How long a mail server may take for each of its answers.
const PATIENCE: Duration = Duration::from_secs(10);

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// Sends mail.
pub struct Mailer {
    transport: Transport,
    from: Mailbox,
    public_url: PublicUrl,
}

/// Why a mail was not sent.
struct NotSent {
    /// The cause for the log, without the mail server's words, which may name the recipient.
    reason: String,
    is_hopeless: bool,
}

impl Mailer {
    /// A mailer, where mail is set up. The error does not contain the URL, which holds a password.
    pub fn new(settings: &MailSettings) -> Result<Option<Self>, String> {
        let Some(url) = &settings.smtp_url else { return Ok(None) };
        let transport = smtp_url::transport(url)?.timeout(Some(PATIENCE)).build();
        match (settings.smtp_from.clone(), settings.public_url.clone()) {
            (Some(from), Some(public_url)) => Ok(Some(Self { transport, from, public_url })),
            _ => Err("SMTP_URL needs SMTP_FROM and PUBLIC_URL beside it".into()),
        }
    }

    /// Sends every mail that is due.
    pub async fn send_due(&self, auth: &Auth) -> TickResult {
        while let Some(mail) = auth.next_mail().await? {
            let sent = self.send(auth, &mail).await;
            let noted = match &sent {
                Ok(()) => auth.mail_sent(&mail).await.map(|()| true),
                Err(failure) => auth.mail_failed(&mail, failure.is_hopeless).await,
            };
            let has_hope = noted?;
            if let Err(NotSent { reason, .. }) = sent {
                let then = if has_hope { "it will be tried again" } else { "it is given up" };
                tracing::warn!(reason, then, "a mail could not be sent");
            }
        }
        Ok(())
    }

    async fn send(&self, auth: &Auth, mail: &OutgoingMail) -> Result<(), NotSent> {
        let to = mail.to.parse().map_err(|_| permanent("the address cannot be written in a mail"))?;
        let (subject, body) = templates::write(&mail.content, &self.public_url);
        self.post(Mailbox::new(None, to), subject, body, auth.now()).await
    }

    /// Mails an alert to an operator.
    pub async fn send_alert(&self, to: &Mailbox, alert: &Alert, now: DateTime<Utc>) -> Result<(), String> {
        let (subject, body) = templates::alert(alert);
        self.post(to.clone(), subject, body, now).await.map_err(|failure| failure.reason)
    }

    async fn post(
        &self,
        to: Mailbox,
        subject: String,
        body: String,
        now: DateTime<Utc>,
    ) -> Result<(), NotSent> {
        let message = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(subject)
            .date(now.into())
            .header(ContentType::TEXT_PLAIN)
            .body(body)
            .map_err(|_| permanent("the mail cannot be written"))?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) => Err(NotSent { reason: reason(&error), is_hopeless: error.is_permanent() }),
        }
    }
}

fn permanent(reason: &str) -> NotSent {
    NotSent { reason: reason.into(), is_hopeless: true }
}

/// The kind of a failure, without what the server said.
fn reason(error: &lettre::transport::smtp::Error) -> String {
    match error.status() {
        Some(code) => format!("the mail server answered {code}"),
        None if error.is_timeout() => "the mail server did not answer in time".into(),
        None if error.is_tls() => "the connection to the mail server could not be encrypted".into(),
        None => "the mail server could not be reached or spoken with".into(),
    }
}
