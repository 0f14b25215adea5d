//! The texts of mails: plain text, short, one link at most.

use auth::{Alert, MailContent};
use secrecy::{ExposeSecret, SecretString};

use crate::settings::PublicUrl;

/// The page below `PUBLIC_URL` where a new password is chosen.
pub const RESET_PAGE: &str = "reset-password";
/// The page where an invitation is accepted.
pub const ACCEPT_PAGE: &str = "accept-invitation";
/// The page where an address is confirmed.
const CONFIRM_PAGE: &str = "confirm-email";

/// Subject and text of an alert.
pub fn alert(alert: &Alert) -> (String, String) {
    let subject = format!("[{}] {}", alert.severity.to_uppercase(), alert.title);
    let at = alert.raised_at.format("%Y-%m-%d at %H:%M:%S UTC");
    let detail = serde_json::to_string_pretty(&alert.detail).unwrap_or_default();
    (subject, format!("{}\n\nIt happened on {at}.\n\n{detail}\n", alert.title))
}

/// Subject and text of a mail.
pub fn write(content: &MailContent, public_url: &PublicUrl) -> (String, String) {
    let link = |page: &str, token: &SecretString| public_url.link(page, token.expose_secret());
    let (subject, text) = match content {
        MailContent::Notice(kind, at) => (
            "Modelgate: a notice about your account",
            format!(
                "{}\n\nIt happened on {}. If you know of it, there is nothing to do. If you do not, change your \
                 password, end all sessions and tell your administrator.",
                kind.text(),
                at.format("%Y-%m-%d at %H:%M UTC")
            ),
        ),
        MailContent::PasswordReset(token) => (
            "Modelgate: choose a new password",
            format!(
                "Somebody asked for a new password for your account. If it was you, choose one here within an \
                 hour:\n\n{}\n\nIf it was not you, ignore this mail: nothing changes.",
                link(RESET_PAGE, token)
            ),
        ),
        MailContent::Invitation(token) => (
            "Modelgate: you are invited",
            format!(
                "An administrator made an account for you. Choose a password for it here within seven days:\n\n{}",
                link(ACCEPT_PAGE, token)
            ),
        ),
        MailContent::Confirmation(token) => (
            "Modelgate: confirm your address",
            format!(
                "Somebody gave this address for an account. If it was you, confirm it here within a day:\n\n{}\n\nIf \
                 it was not you, ignore this mail: without the link nothing happens.",
                link(CONFIRM_PAGE, token)
            ),
        ),
        MailContent::HasAccount => (
            "Modelgate: you have an account already",
            "Somebody wanted to register with this address, which has an account already. If it was you, log in, or \
             ask for a new password if you forgot yours. If it was not you, there is nothing to do."
                .to_owned(),
        ),
    };
    (subject.to_owned(), format!("{text}\n"))
}
