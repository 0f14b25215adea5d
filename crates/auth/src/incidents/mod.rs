//! Incidents: opened by detectors or people, worked on, answered and closed. Everything noted and done stands in a
//! timeline, and in the audit trail.

mod acts;
mod answers;
mod evidence;
mod holds;
mod kinds;
mod retention;
mod undoing;

use std::net::IpAddr;

use serde_json::{Value, json};
use storage::{Incident, IncidentEntry, IncidentUpdate, NewIncident, Page, PageRequest, Scope, Service, Tx};
use uuid::Uuid;

use answers::Actor;
pub use answers::{Answer, AnswerRequest};
pub(crate) use holds::HeldSubject;
pub use kinds::{EntryKind, IncidentKind, IncidentStatus};
pub(crate) use retention::forget_whereabouts;

use crate::alerts::{Cause, Severity};
use crate::audit::Entry;
use crate::callers::access::{Permission, Permissions};
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::limits::network_of;
use crate::service::Origin;
use crate::{Auth, Error, Result};

/// Entries of one timeline; what detectors notice beyond is counted and not linked.
const MOST_ENTRIES: i64 = 1_000;
/// What an incident is about that detectors have for all that they notice beyond those that may be open.
const OTHERS: &str = "others";
/// Accounts that one answer, or one incident, is about.
pub(crate) const MOST_ACCOUNTS: usize = 100;

/// The automatic answers and their bounds.
#[derive(Clone, Debug, Default)]
pub struct IncidentSettings {
    /// The answers to each kind, in their order.
    pub answers: Vec<(IncidentKind, Answer)>,
    /// Whether detectors may block an address by themselves.
    pub auto_block: bool,
    /// How long an address stays blocked.
    pub block_for: chrono::Duration,
    /// Incidents of one kind that detectors have open at a time.
    pub most_open: u32,
}

/// An incident that somebody opens.
#[derive(Clone, Debug)]
pub struct IncidentRequest {
    /// What kind of thing went wrong.
    pub kind: IncidentKind,
    /// How bad it is; none: as bad as its kind is as a rule.
    pub severity: Option<Severity>,
    /// What went wrong, in a line; none: as its kind says.
    pub title: Option<String>,
    /// The accounts that it is about, for the answers to it.
    pub accounts: Vec<Uuid>,
    /// The address that it is about.
    pub address: Option<IpAddr>,
}

/// What to change about an incident; what is none stays.
#[derive(Clone, Debug, Default)]
pub struct IncidentChange {
    /// How bad it is.
    pub severity: Option<Severity>,
    /// How far it is. To close one needs a resolution.
    pub status: Option<IncidentStatus>,
    /// What came out.
    pub resolution: Option<String>,
}

/// Whom an incident is about.
#[derive(Default)]
pub(crate) struct Affected {
    pub accounts: Vec<Uuid>,
    pub address: Option<IpAddr>,
}

impl Affected {
    /// Its form in an entry of a timeline.
    fn from_detail(detail: &Value) -> Self {
        Self {
            accounts: serde_json::from_value(detail["accounts"].clone()).unwrap_or_default(),
            address: serde_json::from_value(detail["address"].clone()).unwrap_or_default(),
        }
    }
}

impl Auth {
    /// Opens an incident; what answers its kind has is run within a second. `actor` is none on the command line.
    pub async fn open_incident(
        &self,
        actor: Option<&Principal>,
        request: IncidentRequest,
        origin: &Origin,
    ) -> Result<Incident> {
        let (mut tx, own) = self.begin_incident(actor).await?;
        check_accounts(&request.accounts)?;
        let IncidentRequest { kind, severity, title, accounts, address } = request;
        let incident = tx
            .incidents()
            .open(&NewIncident {
                id: Uuid::now_v7(),
                kind: kind.name().into(),
                severity: severity.unwrap_or(kind.severity()).name().into(),
                title: title.unwrap_or_else(|| kind.title().into()),
                subject: None,
                opened_by: actor.map(|actor| actor.account),
            })
            .await?;
        let affected = Affected { accounts, address };
        self.plan_answers(&mut tx, &incident, kind, &affected, Actor { by: actor, own }).await?;
        let title = format!("Modelgate: incident: {}", incident.title);
        self.announce(&mut tx, &incident, &title, actor, None, origin).await?;
        tx.commit().await?;
        Ok(incident)
    }

    /// Opens an incident for what a detector noticed, or notes it with the one that is open. `event` is what it wrote
    /// into the audit trail, in the same transaction.
    pub(crate) async fn open_detected(&self, tx: &mut Tx, event: Uuid, entry: &Entry<'_>) -> Result<()> {
        let reason = entry.detail().get("reason").and_then(Value::as_str).unwrap_or_default();
        let kind = IncidentKind::of_reason(reason);
        let address = entry.origin().address.map(network_of);
        let account = entry.account();
        let subject = match (account, address) {
            (Some(account), _) => format!("account:{account}"),
            (None, Some(address)) => format!("address:{address}"),
            (None, None) => "unknown".into(),
        };
        let place = self.place_among_open(tx, kind, &subject).await?;
        let new = NewIncident {
            id: Uuid::now_v7(),
            kind: kind.name().into(),
            severity: kind.severity().name().into(),
            title: kind.title().into(),
            subject: Some(place.into()),
            opened_by: None,
        };
        let incident = tx.incidents().open(&new).await?;
        if incident.occurrences <= MOST_ENTRIES {
            let detail = json!({"event_id": event, "detail": entry.detail()});
            tx.incidents().note(Uuid::now_v7(), incident.id, EntryKind::Event.name(), None, &detail).await?;
        }
        let title =
            format!("Intrusion detected: {} from {subject} - {} events", incident.kind, incident.occurrences);
        let affected = Affected { accounts: account.into_iter().collect(), address };
        if incident.occurrences > 1 {
            // The block that answered it may be over, or taken back: what is done anew is blocked anew.
            let is_full = place == OTHERS && tx.incidents().count_entries(incident.id).await? >= MOST_ENTRIES;
            if !is_full && address.is_some_and(|address| self.can_be_blocked(address)) {
                self.plan_block(tx, &incident, kind, &affected).await?;
            }
            return self.alert_of_incident(tx, &incident, &title, entry.origin()).await;
        }
        self.plan_answers(tx, &incident, kind, &affected, Actor::default()).await?;
        // An event of its own: what opened is written down like what anybody opens.
        Box::pin(self.announce(tx, &incident, &title, None, entry.whose(), entry.origin())).await
    }

    /// What an incident about this is opened for: for this, or for all others where there are as many as may be.
    /// Whoever has networks without end must not fill the database with incidents that nobody closes.
    async fn place_among_open<'a>(
        &self,
        tx: &mut Tx,
        kind: IncidentKind,
        subject: &'a str,
    ) -> Result<&'a str> {
        let fits = tx.incidents().is_open(kind.name(), subject).await?
            || tx.incidents().count_open(kind.name()).await? < i64::from(self.incidents.most_open);
        Ok(if fits { subject } else { OTHERS })
    }

    /// Incidents, newest first.
    pub async fn incidents(
        &self,
        page: &PageRequest,
        status: Option<IncidentStatus>,
        kind: Option<IncidentKind>,
    ) -> Result<Page<Incident>> {
        let mut tx = self.store.read(Scope::Service(Service::Administration)).await?;
        let (status, kind) = (status.map(IncidentStatus::name), kind.map(IncidentKind::name));
        Ok(tx.incidents().list(page, status, kind).await?)
    }

    /// One incident.
    pub async fn incident(&self, id: Uuid) -> Result<Incident> {
        let mut tx = self.store.read(Scope::Service(Service::Administration)).await?;
        tx.incidents().find(id).await?.ok_or(Error::NotFound)
    }

    /// The timeline, newest first.
    pub async fn incident_entries(&self, id: Uuid, page: &PageRequest) -> Result<Page<IncidentEntry>> {
        let mut tx = self.store.read(Scope::Service(Service::Administration)).await?;
        tx.incidents().find(id).await?.ok_or(Error::NotFound)?;
        Ok(tx.incidents().entries(id, page).await?)
    }

    /// Changes an incident that is not closed. `actor` is none on the command line.
    pub async fn change_incident(
        &self,
        actor: Option<&Principal>,
        id: Uuid,
        change: IncidentChange,
        origin: &Origin,
    ) -> Result<Incident> {
        let (mut tx, _) = self.begin_incident(actor).await?;
        let before = tx.incidents().find(id).await?.ok_or(Error::NotFound)?;
        let closes = change.status == Some(IncidentStatus::Closed);
        if closes && change.resolution.is_none() && before.resolution.is_none() {
            return Err(Error::invalid("resolution", "give a resolution before closing it"));
        }
        let update = IncidentUpdate {
            severity: change.severity.map(|severity| severity.name().into()),
            status: change.status.map(|status| status.name().into()),
            resolution: change.resolution,
        };
        let changed = tx.incidents().update(id, &update).await?.ok_or(Error::IncidentClosed)?;
        let detail = json!({"severity": update.severity, "status": update.status});
        self.record_finding(&mut tx, id, EntryKind::Changed, actor, &detail).await?;
        let entry = Entry::success(Event::IncidentChanged, origin).on("incident", id).with(detail);
        self.record(&mut tx, entry.by_optional(actor)).await?;
        tx.commit().await?;
        Ok(changed)
    }

    /// Adds a note to a timeline; to that of a closed incident, too.
    pub async fn note_incident(
        &self,
        actor: &Principal,
        id: Uuid,
        text: &str,
        origin: &Origin,
    ) -> Result<IncidentEntry> {
        let (mut tx, _) = self.begin_incident(Some(actor)).await?;
        tx.incidents().find(id).await?.ok_or(Error::NotFound)?;
        self.add_entry(tx, id, EntryKind::Note, actor, &json!({"text": text}), origin).await
    }

    /// Links an event of the audit trail.
    pub async fn link_incident(
        &self,
        actor: &Principal,
        id: Uuid,
        event: Uuid,
        origin: &Origin,
    ) -> Result<IncidentEntry> {
        let (mut tx, _) = self.begin_incident(Some(actor)).await?;
        tx.incidents().find(id).await?.ok_or(Error::NotFound)?;
        let unknown = || Error::invalid("event_id", "there is no event with this id");
        let found = tx.audit().find(event).await?.ok_or_else(unknown)?;
        let detail = json!({"event_id": event, "action": found.action, "occurred_at": found.occurred_at});
        self.add_entry(tx, id, EntryKind::Event, actor, &detail, origin).await
    }

    /// Adds a note or a link. The audit trail records that it was added; its text stands in the timeline alone.
    async fn add_entry(
        &self,
        mut tx: Tx,
        id: Uuid,
        kind: EntryKind,
        actor: &Principal,
        detail: &Value,
        origin: &Origin,
    ) -> Result<IncidentEntry> {
        let added = self.record_finding(&mut tx, id, kind, Some(actor), detail).await?;
        let entry = Entry::success(Event::IncidentChanged, origin).on("incident", id);
        let entry = entry.by(actor.account).with(json!({"added": kind.name(), "entry": added.id}));
        self.record(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(added)
    }

    /// Answers also what the actor may do; none on the command line, which may do everything.
    async fn begin_incident(&self, actor: Option<&Principal>) -> Result<(Tx, Option<Permissions>)> {
        match actor {
            Some(actor) => {
                let (tx, own) = self.begin_administration(actor, Permission::IncidentsManage).await?;
                Ok((tx, Some(own)))
            }
            None => Ok((self.begin_exclusive().await?, None)),
        }
    }

    async fn record_finding(
        &self,
        tx: &mut Tx,
        incident: Uuid,
        kind: EntryKind,
        actor: Option<&Principal>,
        detail: &Value,
    ) -> Result<IncidentEntry> {
        if tx.incidents().count_entries(incident).await? >= MOST_ENTRIES {
            return Err(Error::Refused("this timeline is full; open another incident"));
        }
        let actor = actor.map(|actor| actor.account);
        Ok(tx.incidents().note(Uuid::now_v7(), incident, kind.name(), actor, detail).await?)
    }

    /// Records that an incident was opened, by somebody or in the matter of an account, and alerts operators.
    async fn announce(
        &self,
        tx: &mut Tx,
        incident: &Incident,
        title: &str,
        actor: Option<&Principal>,
        account: Option<Uuid>,
        origin: &Origin,
    ) -> Result<()> {
        let detail = json!({"kind": incident.kind, "severity": incident.severity});
        let entry = Entry::success(Event::IncidentOpened, origin).on("incident", incident.id).with(detail);
        self.record(tx, entry.by_optional(actor).in_matter_of(account)).await?;
        self.alert_of_incident(tx, incident, title, origin).await
    }

    /// The deduplication key: one network's incidents of a kind raise one alert in a while.
    async fn alert_of_incident(
        &self,
        tx: &mut Tx,
        incident: &Incident,
        title: &str,
        origin: &Origin,
    ) -> Result<()> {
        let network = origin.address.filter(|_| incident.opened_by.is_none()).map(network_of);
        let whom = match (&incident.subject, network) {
            (None, _) => incident.id.to_string(),
            (Some(_), Some(network)) => network.to_string(),
            (Some(subject), None) => subject.clone(),
        };
        let detail = json!({
            "incident": incident.id,
            "kind": incident.kind,
            "subject": incident.subject,
            "occurrences": incident.occurrences,
            "opened_by": incident.opened_by,
        });
        let severity = incident.severity.parse().unwrap_or(Severity::High);
        let same = [incident.kind.as_str(), &whom];
        self.raise_alert(tx, &Cause { same: &same, kind: "incident", severity, title, detail: &detail }).await
    }
}

fn check_accounts(accounts: &[Uuid]) -> Result<()> {
    if accounts.len() > MOST_ACCOUNTS {
        return Err(Error::invalid("accounts", format!("name at most {MOST_ACCOUNTS}")));
    }
    Ok(())
}
