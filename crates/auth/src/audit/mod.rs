//! Writing to the audit trail, in the transaction that the event reports.
//!
//! The canonical bytes are JSON with sorted members and no personal data; the address stands beside them, erasable.
//! Every event carries a MAC over all its columns (`keys`), is linked (`trail`), sealed (`seal`) and can be verified
//! (`verify`).

mod keys;
mod reading;
mod retention;
mod seal;
mod trail;
mod verify;

use serde_json::{Map, Value, json};
use storage::{AuditRecord, Scope, Service, Tx};
use uuid::Uuid;

use crate::alerts::Cause;
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::limits::network_of;
use crate::service::Origin;
use crate::{Auth, Result};

pub use keys::{AuditKey, AuditKeys};
pub use reading::AuditReading;
pub use seal::{read_seal_lines, seal_line};
pub use trail::{AuditSettings, AuditStanding, AuditTrail};
pub use verify::{AuditFinding, Verification};

/// One line of the trail.
pub(crate) struct Entry<'a> {
    action: Event,
    succeeded: bool,
    /// The account that acted, if known.
    actor: Option<Uuid>,
    /// What was acted on: `kind:id`.
    target: Option<String>,
    /// Whose matter it is, where neither of these says so: the address goes with them.
    matter_of: Option<Uuid>,
    /// What else matters; no personal data, no secrets.
    detail: Value,
    origin: &'a Origin,
}

impl<'a> Entry<'a> {
    /// Something that was done.
    pub fn success(action: Event, origin: &'a Origin) -> Self {
        Self {
            action,
            succeeded: true,
            actor: None,
            target: None,
            matter_of: None,
            detail: json!({}),
            origin,
        }
    }

    /// Something that was tried.
    pub fn failure(action: Event, origin: &'a Origin) -> Self {
        Self { succeeded: false, ..Self::success(action, origin) }
    }

    pub fn by(self, actor: Uuid) -> Self {
        Self { actor: Some(actor), ..self }
    }

    pub fn on(self, kind: &str, id: Uuid) -> Self {
        Self { target: Some(subject(kind, id)), ..self }
    }

    /// Sets whose matter it is, if they are known.
    pub fn in_matter_of(self, account: Option<Uuid>) -> Self {
        Self { matter_of: account, ..self }
    }

    /// Sets the actor, if there is one.
    pub fn by_optional(self, actor: Option<&Principal>) -> Self {
        actor.map(|actor| actor.account).into_iter().fold(self, Self::by)
    }

    pub fn with(self, detail: Value) -> Self {
        Self { detail, ..self }
    }
}

impl Entry<'_> {
    pub fn detail(&self) -> &Value {
        &self.detail
    }

    pub fn origin(&self) -> &Origin {
        self.origin
    }

    /// The account that acted or was acted on.
    pub fn account(&self) -> Option<Uuid> {
        let target = self.target.as_deref().and_then(|target| target.strip_prefix("account:"));
        self.actor.or_else(|| target?.parse().ok())
    }

    /// That account, or else the one whose matter it is.
    pub fn whose(&self) -> Option<Uuid> {
        self.account().or(self.matter_of)
    }
}

/// How the trail names what was acted on.
pub(crate) fn subject(kind: &str, id: Uuid) -> String {
    format!("{kind}:{id}")
}

impl Auth {
    /// Raises the event's alert, if it has one.
    async fn alert_of(&self, tx: &mut Tx, entry: &Entry<'_>) -> Result<()> {
        let Some(severity) = entry.action.alert() else { return Ok(()) };
        let network = entry.origin.address.map(|address| network_of(address).to_string());
        // One attacker's attempts on many accounts raise one alert, and so do many counts of one attempt.
        let whom = network.as_deref().or(entry.target.as_deref()).unwrap_or_default();
        let plain = entry.detail.to_string();
        let name = entry.action.name();
        let reason = entry.detail.get("reason").and_then(Value::as_str);
        let title = match reason {
            Some(reason) => format!("Modelgate: {name}: {reason}"),
            None => format!("Modelgate: {name}"),
        };
        let detail = json!({"action": name, "actor": entry.actor, "target": entry.target, "detail": entry.detail,
            "request_id": entry.origin.request_id});
        let same = [whom, reason.unwrap_or(&plain)];
        self.raise_alert(tx, &Cause { same: &same, kind: name, severity, title: &title, detail: &detail })
            .await
    }

    /// Writes down that alerts were tested on the command line.
    pub async fn note_alert_test(&self, succeeded: bool) -> Result<()> {
        let origin = Origin::default();
        let mut tx = self.store.begin(Scope::Service(Service::Audit)).await?;
        let entry = Entry { succeeded, ..Entry::success(Event::AlertTested, &origin) };
        self.record(&mut tx, entry).await?;
        Ok(tx.commit().await?)
    }

    pub(crate) async fn record(&self, tx: &mut Tx, entry: Entry<'_>) -> Result<()> {
        self.events.count(entry.action);
        self.write(tx, entry).await
    }

    /// Writes down what was counted when it happened.
    pub(crate) async fn write(&self, tx: &mut Tx, entry: Entry<'_>) -> Result<()> {
        let occurred_at = self.now();
        let id = Uuid::now_v7();
        self.alert_of(tx, &entry).await?;
        let outcome = if entry.succeeded { "success" } else { "failure" };
        // serde_json's map sorts its members: equal events have equal bytes.
        let canonical: Map<String, Value> = [
            ("action", json!(entry.action.name())),
            ("actor", json!(entry.actor)),
            ("at", json!(occurred_at)),
            ("detail", entry.detail.clone()),
            ("id", json!(id)),
            ("outcome", json!(outcome)),
            ("request_id", json!(entry.origin.request_id)),
            ("target", json!(entry.target)),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        let mut event = AuditRecord {
            id,
            occurred_at,
            action: entry.action.name().into(),
            outcome: outcome.into(),
            actor: entry.actor,
            target: entry.target.clone(),
            request_id: entry.origin.request_id.clone(),
            canonical: Value::Object(canonical).to_string().into_bytes(),
            mac: None,
        };
        event.mac = Some(self.trail.keys().active().event_mac(&event));
        let address = entry.origin.address.map(|address| address.to_string());
        tx.audit().append(&event, address.as_deref(), entry.matter_of).await?;
        if entry.action == Event::SuspiciousActivity {
            self.open_detected(tx, id, &entry).await?;
        }
        Ok(())
    }
}
