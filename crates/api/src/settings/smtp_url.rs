//! What `SMTP_URL` says.

use lettre::transport::smtp::AsyncSmtpTransportBuilder;
use lettre::{AsyncSmtpTransport, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};
use storage::is_loopback;

/// What a URL ends in whose mail goes in the clear on purpose.
const IN_THE_CLEAR: &str = "?tls=none";

/// The transport that `SMTP_URL` names. `smtp://` insists on STARTTLS, unless the host is loopback or the URL says
/// otherwise.
pub fn transport(url: &SecretString) -> Result<AsyncSmtpTransportBuilder, String> {
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
    AsyncSmtpTransport::<Tokio1Executor>::from_url(&insisting).map_err(|_| unreadable())
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
