//! Sending the mail that `auth` decides on.

mod templates;

pub use templates::{ACCEPT_PAGE, RESET_PAGE};

use std::time::Duration;

use auth::{Alert, Auth, OutgoingMail};
use chrono::{DateTime, Utc};
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};
use storage::is_loopback;

use crate::error::TickResult;
use crate::settings::{MailSettings, PublicUrl};

/// How long a mail server may take for each of its answers.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a URL ends in whose mail goes in the clear on purpose.
const IN_THE_CLEAR: &str = "?tls=none";

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
        let transport = transport(url)?;
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

/// Reads `SMTP_URL`. `smtp://` insists on STARTTLS, unless the host is loopback or the URL says otherwise.
fn transport(url: &SecretString) -> Result<Transport, String> {
    let url = url.expose_secret();
    let unreadable =
        || "SMTP_URL must be smtps://user:password@host:465 or smtp://user:password@host:587".to_owned();
    let insisting = match host_of(url) {
        _ if url.starts_with("smtps://") => url.to_owned(),
        Some(_) if url.ends_with(IN_THE_CLEAR) => url.trim_end_matches(IN_THE_CLEAR).to_owned(),
        Some(host) if is_loopback(host) || url.contains("?tls=") => url.to_owned(),
        Some(_) => format!("{url}?tls=required"),
        None => return Err(unreadable()),
    };
    let builder = Transport::from_url(&insisting).map_err(|_| unreadable())?;
    Ok(builder.timeout(Some(PATIENCE)).build())
}

/// Whether mail goes through a network in the clear, as `SMTP_URL` says on purpose.
pub fn is_in_the_clear(url: &SecretString) -> bool {
    url.expose_secret().ends_with(IN_THE_CLEAR)
}

/// Whether `SMTP_URL` can be read.
pub fn is_readable(url: &SecretString) -> bool {
    transport(url).is_ok()
}

fn host_of(url: &str) -> Option<&str> {
    let authority = url.strip_prefix("smtp://")?.split(['/', '?']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
        .map_or(host, |(host, _)| host);
    Some(host).filter(|host| !host.is_empty())
}
