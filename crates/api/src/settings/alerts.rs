//! Alerts to operators.

use auth::AlertChannel;
use clap::Args;
use lettre::message::Mailbox;
use secrecy::SecretString;

use super::mail::Switch;
use super::secret;

/// Alerts to operators.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Alerts")]
#[group(skip)]
pub struct AlertsSettings {
    /// Address that alerts are posted to as JSON, signed as Standard Webhooks 1.0 says; needs ALERT_WEBHOOK_SECRET.
    #[arg(long = "ALERT_WEBHOOK_URL", value_parser = secret)]
    pub alert_webhook_url: Option<SecretString>,
    /// What webhooks are signed with: 32 characters or more, or whsec_ and base64 (openssl rand -base64 32).
    #[arg(long = "ALERT_WEBHOOK_SECRET", value_parser = secret)]
    pub alert_webhook_secret: Option<SecretString>,
    /// Incoming webhook of Slack, or of what takes its messages (Mattermost, Rocket.Chat, …).
    #[arg(long = "ALERT_SLACK_URL", value_parser = secret)]
    pub alert_slack_url: Option<SecretString>,
    /// Whom alerts are mailed to, separated by commas; needs SMTP_URL.
    #[arg(long = "ALERT_EMAIL_TO", value_delimiter = ',')]
    pub alert_email_to: Vec<Mailbox>,
    /// Address of an SMS gateway that takes a form with the fields to and message; needs ALERT_SMS_TO.
    #[arg(long = "ALERT_SMS_URL", value_parser = secret)]
    pub alert_sms_url: Option<SecretString>,
    /// Sent to the SMS gateway as a bearer token.
    #[arg(long = "ALERT_SMS_TOKEN", value_parser = secret)]
    pub alert_sms_token: Option<SecretString>,
    /// The number that short messages go to.
    #[arg(long = "ALERT_SMS_TO")]
    pub alert_sms_to: Option<String>,
    /// Seconds in which the same alert goes out once.
    #[arg(long = "ALERT_DEDUP_SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub alert_dedup_seconds: u32,
    /// Whether alerts may go to addresses inside: loopback, private and link-local ones.
    #[arg(long = "ALERT_PRIVATE_TARGETS", value_enum, default_value = "off")]
    pub alert_private_targets: Switch,
}

impl AlertsSettings {
    /// The channels that are set up.
    pub fn channels(&self) -> Vec<AlertChannel> {
        [
            (self.alert_webhook_url.is_some(), AlertChannel::Webhook),
            (self.alert_slack_url.is_some(), AlertChannel::Slack),
            (!self.alert_email_to.is_empty(), AlertChannel::Email),
            (self.alert_sms_url.is_some(), AlertChannel::Sms),
        ]
        .into_iter()
        .filter_map(|(is_set, channel)| is_set.then_some(channel))
        .collect()
    }

    /// The addresses that messages are posted to, with the names of their settings.
    pub fn targets(&self) -> impl Iterator<Item = (&'static str, &SecretString)> {
        [
            ("ALERT_WEBHOOK_URL", &self.alert_webhook_url),
            ("ALERT_SLACK_URL", &self.alert_slack_url),
            ("ALERT_SMS_URL", &self.alert_sms_url),
        ]
        .into_iter()
        .filter_map(|(name, url)| Some((name, url.as_ref()?)))
    }

    /// Whether alerts may go to addresses inside.
    pub fn allows_private_targets(&self) -> bool {
        self.alert_private_targets == Switch::On
    }
}
