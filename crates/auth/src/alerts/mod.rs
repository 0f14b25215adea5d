//! Alerts to operators: put into an outbox in the transaction that causes them, sent by any replica, tried again with
//! growing pauses, and given up in the end. Nothing is lost with a process; an alert may go out twice when one dies,
//! and carries its id so that receivers can detect that (docs/decisions/0025).

pub(crate) mod log;

use chrono::{DateTime, Duration, Utc};
use data_encoding::{BASE64, HEXLOWER};
use serde_json::Value;
use storage::{AlertBounds, NewAlert, Scope, Service, Tx, named_enum};
use uuid::Uuid;

use crate::{Auth, Result, crypto};

/// Alerts of one channel in an hour, unless they are critical: a flood of causes must not become a flood of messages.
const MOST_PER_HOUR: i64 = 100;
/// How long an attempt may take before another replica makes one.
const LEASE: Duration = Duration::minutes(1);
/// The pause after the first failure; each later one is twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::seconds(10);
const LONGEST_PAUSE: Duration = Duration::hours(1);
/// Attempts before an alert is given up, about six hours after the first.
const MOST_ATTEMPTS: i64 = 15;

named_enum! {
    /// A channel to operators.
    pub enum AlertChannel {
        /// A signed message to an HTTP address.
        Webhook = "webhook",
        /// A message in the form that Slack and its like take.
        Slack = "slack",
        /// Mail.
        Email = "email",
        /// A short message through a gateway.
        Sms = "sms",
    }
}

named_enum! {
    /// How bad something is.
    #[derive(PartialOrd, Ord)]
    pub enum Severity {
        /// Worth knowing.
        Low = "low",
        /// Worth a look today.
        Medium = "medium",
        /// Worth a look now.
        High = "high",
        /// Everything else can wait.
        Critical = "critical",
    }
}

/// Where alerts go, and how often.
#[derive(Clone, Debug, Default)]
pub struct AlertSettings {
    /// The channels that somebody sends through.
    pub channels: Vec<AlertChannel>,
    /// How long the same alert is not sent again.
    pub dedup: Duration,
}

/// An alert on its way.
#[derive(Clone, Debug)]
pub struct Alert {
    /// Its id, the same however often it is sent.
    pub id: Uuid,
    /// What it is about, in a word.
    pub kind: String,
    /// How bad it is.
    pub severity: String,
    /// What it is about, in a line.
    pub title: String,
    /// What else is known.
    pub detail: Value,
    /// When it was raised.
    pub raised_at: DateTime<Utc>,
    attempts: i64,
}

impl Alert {
    /// One that says that alerts arrive.
    pub fn test(now: DateTime<Utc>) -> Self {
        Self {
            id: Uuid::now_v7(),
            kind: "test".into(),
            severity: Severity::Low.name().into(),
            title: "Modelgate: a test of alerts".into(),
            detail: Value::Object(serde_json::Map::new()),
            raised_at: now,
            attempts: 1,
        }
    }
}

/// An alert to raise.
pub(crate) struct Cause<'a> {
    /// What makes two of them the same.
    pub same: &'a [&'a str],
    pub kind: &'a str,
    pub severity: Severity,
    pub title: &'a str,
    pub detail: &'a Value,
}

impl Auth {
    /// Puts an alert on its way, once for each channel, unless the same one went out lately.
    pub(crate) async fn raise_alert(&self, tx: &mut Tx, cause: &Cause<'_>) -> Result<()> {
        let now = tx.now();
        let is_critical = cause.severity == Severity::Critical;
        let bounds = AlertBounds {
            same_since: now - self.alerts.dedup,
            most: if is_critical { i64::MAX } else { MOST_PER_HOUR },
            counted_since: now - Duration::hours(1),
        };
        let same = serde_json::json!([cause.kind, cause.same]).to_string();
        let new = NewAlert {
            dedup_key: &HEXLOWER.encode(&crypto::sha256(same.as_bytes())),
            kind: cause.kind,
            severity: cause.severity.name(),
            title: cause.title,
            body: &cause.detail.to_string(),
        };
        for channel in &self.alerts.channels {
            tx.alerts().add(Uuid::now_v7(), channel.name(), &new, bounds).await?;
        }
        Ok(())
    }

    /// The next alert to send through a channel, which nobody else gets for a while; none: nothing is due.
    pub async fn next_alert(&self, channel: AlertChannel) -> Result<Option<Alert>> {
        let mut tx = self.store.begin(Scope::Service(Service::Mail)).await?;
        let Some(taken) = tx.alerts().take(channel.name(), LEASE).await? else { return Ok(None) };
        tx.commit().await?;
        Ok(Some(Alert {
            id: taken.id,
            kind: taken.kind,
            severity: taken.severity,
            title: taken.title,
            detail: serde_json::from_str(&taken.body).unwrap_or_default(),
            raised_at: taken.created_at,
            attempts: taken.attempts,
        }))
    }

    /// Notes that an alert arrived.
    pub async fn alert_sent(&self, alert: &Alert) -> Result<()> {
        let mut tx = self.store.begin(Scope::Service(Service::Mail)).await?;
        tx.alerts().sent(alert.id).await?;
        Ok(tx.commit().await?)
    }

    /// Notes that an alert could not be sent. Answers whether it will be tried again.
    pub async fn alert_failed(&self, alert: &Alert) -> Result<bool> {
        let mut tx = self.store.begin(Scope::Service(Service::Mail)).await?;
        let has_hope = alert.attempts < MOST_ATTEMPTS;
        if has_hope {
            let until = tx.now() + pause(alert.attempts);
            tx.alerts().postpone(alert.id, until).await?;
        } else {
            tx.alerts().fail(alert.id).await?;
        }
        tx.commit().await?;
        Ok(has_hope)
    }
}

/// How long to wait after so many attempts.
fn pause(attempts: i64) -> Duration {
    let doublings = u32::try_from(attempts - 1).unwrap_or(u32::MAX).min(16);
    (FIRST_PAUSE * 2_i32.pow(doublings)).min(LONGEST_PAUSE)
}

/// The signature of a message over its id, its time and its body, as Standard Webhooks 1.0 writes it: `v1,` and
/// HMAC-SHA-256 in base64. A secret that begins with `whsec_` is base64 behind that, any other is taken as it is.
pub fn sign_webhook(secret: &str, id: &str, timestamp: i64, body: &str) -> String {
    let encoded = secret.strip_prefix("whsec_").and_then(|text| BASE64.decode(text.as_bytes()).ok());
    let key = encoded.unwrap_or_else(|| secret.as_bytes().to_vec());
    let mac = crypto::authenticate(&key, format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", BASE64.encode(&mac))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries.
    #[test]
    fn a_signature_is_what_the_standard_says() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let signed =
            sign_webhook(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn pauses_grow_and_have_an_end() {
        let minutes: i64 = (1..MOST_ATTEMPTS).map(|attempt| pause(attempt).num_minutes()).sum();
        assert_eq!(pause(1), FIRST_PAUSE);
        assert_eq!(pause(3), FIRST_PAUSE * 4);
        assert_eq!(pause(i64::MAX), LONGEST_PAUSE);
        assert!((300..=480).contains(&minutes), "{minutes}");
    }
}
