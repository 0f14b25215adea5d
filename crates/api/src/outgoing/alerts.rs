//! Sending the alerts that `auth` raises, in the format of each channel.

use auth::{Alert, AlertChannel, Auth};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::http::{Message, Messenger};
use super::mail::Mailer;
use crate::error::TickResult;
use crate::settings::AlertsSettings;

/// Longest short message, in characters: what one SMS holds.
const MAX_SMS: usize = 160;

/// Sends alerts.
pub struct Alerter {
    settings: AlertsSettings,
    messenger: Messenger,
}

impl Alerter {
    /// For the channels that are set up.
    pub fn new(settings: &AlertsSettings) -> Self {
        Self { settings: settings.clone(), messenger: Messenger::new(settings.allows_private_targets()) }
    }

    /// Sends every alert of a channel that is due.
    pub async fn send_due(&self, channel: AlertChannel, auth: &Auth, mailer: Option<&Mailer>) -> TickResult {
        while let Some(alert) = auth.next_alert(channel).await? {
            match self.send(channel, &alert, auth, mailer).await {
                Ok(()) => auth.alert_sent(&alert).await?,
                Err(reason) => {
                    let has_hope = auth.alert_failed(&alert).await?;
                    let then = if has_hope { "it will be tried again" } else { "it is given up" };
                    tracing::warn!(channel = channel.name(), reason, then, "an alert could not be sent");
                }
            }
        }
        Ok(())
    }

    /// Sends one alert. The error contains neither address nor secret.
    pub async fn send(
        &self,
        channel: AlertChannel,
        alert: &Alert,
        auth: &Auth,
        mailer: Option<&Mailer>,
    ) -> Result<(), String> {
        let missing = || format!("the channel {} is not set up", channel.name());
        match channel {
            AlertChannel::Webhook => self.webhook(alert, auth).ok_or_else(missing)?.await,
            AlertChannel::Slack => {
                let url = self.settings.alert_slack_url.as_ref().ok_or_else(missing)?;
                let text = format!("*{}* {}\n{}", alert.severity.to_uppercase(), alert.title, alert.detail);
                let body = json!({"text": escaped(&text)}).to_string();
                self.messenger.post(Message::json(url.expose_secret(), body)).await
            }
            AlertChannel::Email => {
                let mailer = mailer.ok_or_else(missing)?;
                self.mail(mailer, alert, auth).await
            }
            AlertChannel::Sms => {
                let url = self.settings.alert_sms_url.as_ref().ok_or_else(missing)?;
                let to = self.settings.alert_sms_to.as_deref().unwrap_or_default();
                let text = format!("{}: {}", alert.severity.to_uppercase(), alert.title);
                let text: String = text.chars().take(MAX_SMS).collect();
                let token = self.settings.alert_sms_token.as_ref().map(ExposeSecret::expose_secret);
                self.messenger
                    .post(Message::form(url.expose_secret(), &[("to", to), ("message", &text)], token))
                    .await
            }
        }
    }

    /// Mails it to each recipient. One who accepted it must not get it again because another's server did not.
    async fn mail(&self, mailer: &Mailer, alert: &Alert, auth: &Auth) -> Result<(), String> {
        let (mut taken, mut refusal) = (false, None);
        for to in &self.settings.alert_email_to {
            match mailer.send_alert(to, alert, auth.now()).await {
                Ok(()) => taken = true,
                Err(reason) => {
                    tracing::warn!(reason, alert = %alert.id, "somebody who is told of alerts could not be mailed");
                    refusal = Some(reason);
                }
            }
        }
        refusal.filter(|_| !taken).map_or(Ok(()), Err)
    }

    /// As Standard Webhooks 1.0 says; what is signed is what is sent.
    fn webhook<'a>(
        &'a self,
        alert: &Alert,
        auth: &Auth,
    ) -> Option<impl Future<Output = Result<(), String>> + 'a> {
        let url = self.settings.alert_webhook_url.as_ref()?;
        let secret: &SecretString = self.settings.alert_webhook_secret.as_ref()?;
        let (id, timestamp) = (format!("msg_{}", alert.id.simple()), auth.now().timestamp());
        let body = json!({
            "type": format!("modelgate.{}", alert.kind),
            "timestamp": alert.raised_at,
            "data": {
                "id": alert.id,
                "severity": alert.severity,
                "title": alert.title,
                "detail": alert.detail,
            },
        })
        .to_string();
        let signature = auth::sign_webhook(secret.expose_secret(), &id, timestamp, &body);
        let message = Message::json(url.expose_secret(), body)
            .with("webhook-id", id)
            .with("webhook-timestamp", timestamp.to_string())
            .with("webhook-signature", signature);
        Some(self.messenger.post(message))
    }
}

/// In Slack's texts three characters have a meaning.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
