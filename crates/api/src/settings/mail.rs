//! Mail, and the addresses in it.

use std::str::FromStr;

use actix_web::http::Uri;
use clap::{Args, ValueEnum};
use lettre::message::Mailbox;
use secrecy::SecretString;

use super::secret;

/// A switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Switched on.
    On,
    /// Switched off.
    Off,
}

/// Where this installation is reached from outside: what links begin with. It is a setting, because a request's
/// `Host` is whatever its client wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    text: String,
    /// Whether it is encrypted on its way.
    pub is_protected: bool,
}

/// Mail, and the addresses in it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Mail")]
#[group(skip)]
pub struct MailSettings {
    /// smtps://user:password@host:465, or smtp://user:password@host:587 with STARTTLS, which is insisted on unless the
    /// host is loopback or the URL ends in ?tls=none; unset: no mail, links are handed to administrators.
    #[arg(long = "SMTP_URL", value_parser = secret)]
    pub smtp_url: Option<SecretString>,
    /// The sender of mails, such as Modelgate <no-reply@example.com>.
    #[arg(long = "SMTP_FROM")]
    pub smtp_from: Option<Mailbox>,
    /// What links in mails begin with, such as https://models.example.com; never taken from a request.
    #[arg(long = "PUBLIC_URL")]
    pub public_url: Option<PublicUrl>,
    /// Whether people who register must verify their address first; unset: on where SMTP_URL is set.
    #[arg(long = "EMAIL_VERIFICATION", value_enum)]
    pub email_verification: Option<Switch>,
}

impl MailSettings {
    /// Whether people who register must verify their address first.
    pub fn verifies_addresses(&self) -> bool {
        self.email_verification.map_or(self.smtp_url.is_some(), |switch| switch == Switch::On)
    }
}

impl PublicUrl {
    /// A link to a page there. The token stands in the fragment, which no browser sends on: it comes into no server's
    /// log and no `Referer`.
    pub fn link(&self, page: &str, token: &str) -> String {
        format!("{}/{page}#token={token}", self.text)
    }
}

impl FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no address; write scheme and host, such as https://models.example.com");
        let url: Uri = text.parse().map_err(|_| wrong())?;
        let host = url.host().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
        let has_more = url.query().is_some() || text.contains('#') || text.contains('@');
        match url.scheme_str() {
            Some(scheme @ ("http" | "https")) if !has_more => Ok(Self {
                text: text.trim_end_matches('/').to_owned(),
                is_protected: scheme == "https" || storage::is_loopback(host),
            }),
            _ => Err(wrong()),
        }
    }
}
