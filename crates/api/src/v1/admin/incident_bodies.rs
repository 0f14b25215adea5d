//! The bodies of requests and answers about incidents.

use std::net::IpAddr;

use auth::{AnswerRequest, IncidentChange, IncidentKind, IncidentRequest, IncidentStatus};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use storage::{Incident, IncidentEntry, PageRequest};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use validator::Validate;

use crate::error::{ApiError, Result};
use crate::extract::{PageLimit, named, page};
use crate::schema_names;
use crate::v1::rules::{Checked, has_length, is_line, require};

/// Longest note or resolution, in characters.
const MAX_TEXT: usize = 2_000;
/// Longest title, in characters.
const MAX_LINE: usize = 200;
/// The part of an answer's detail that only its own route returns: it is long.
const BUNDLE: &str = "bundle";

/// An incident.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Incident)]
pub struct IncidentView {
    id: Uuid,
    #[schema(value_type = schema_names::IncidentKind)]
    kind: String,
    #[schema(value_type = schema_names::Severity)]
    severity: String,
    #[schema(value_type = schema_names::IncidentStatus)]
    status: String,
    title: String,
    /// Whom or what a detector noticed, such as `address:203.0.113.7`.
    subject: Option<String>,
    /// Who opened it; null: a detector, or the command line.
    opened_by: Option<Uuid>,
    /// How often it was noticed while it was open.
    occurrences: i64,
    opened_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    closed_at: Option<DateTime<Utc>>,
    /// The resolution.
    resolution: Option<String>,
}

impl From<Incident> for IncidentView {
    fn from(incident: Incident) -> Self {
        Self {
            id: incident.id,
            kind: incident.kind,
            severity: incident.severity,
            status: incident.status,
            title: incident.title,
            subject: incident.subject,
            opened_by: incident.opened_by,
            occurrences: incident.occurrences,
            opened_at: incident.opened_at,
            updated_at: incident.updated_at,
            closed_at: incident.closed_at,
            resolution: incident.resolution,
        }
    }
}

/// An entry of a timeline.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IncidentEntry)]
pub struct EntryView {
    id: Uuid,
    at: DateTime<Utc>,
    #[schema(value_type = schema_names::IncidentEntryKind)]
    kind: String,
    /// Who made it; null: the program.
    actor: Option<Uuid>,
    /// Its content.
    detail: Value,
    /// When the answer that it reports was undone.
    undone_at: Option<DateTime<Utc>>,
}

impl From<IncidentEntry> for EntryView {
    fn from(entry: IncidentEntry) -> Self {
        let IncidentEntry { id, at, kind, actor, mut detail, undone_at, .. } = entry;
        if let Some(members) = detail.as_object_mut() {
            members.remove(BUNDLE);
        }
        Self { id, at, kind, actor, detail, undone_at }
    }
}

/// Which incidents.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct IncidentSearch {
    /// All if none is given.
    #[param(value_type = Option<schema_names::IncidentStatus>)]
    status: Option<String>,
    /// Of one kind.
    #[param(value_type = Option<schema_names::IncidentKind>)]
    kind: Option<String>,
    /// Most items, 1 to 100; 50 if none is given.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<PageLimit>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// An incident to open.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct NewIncident {
    #[schema(value_type = schema_names::IncidentKind)]
    kind: String,
    /// What its kind has as a rule if none is given.
    #[schema(value_type = Option<schema_names::Severity>)]
    severity: Option<String>,
    /// What went wrong, in a line of 1 to 200 characters; as its kind says if none is given.
    #[validate(custom(function = check_line))]
    #[schema(min_length = 1, max_length = 200)]
    title: Option<String>,
    /// The accounts that it is about, 100 at most: those that answers are about.
    #[serde(default)]
    #[validate(length(max = 100, message = "name at most 100"))]
    accounts: Vec<Uuid>,
    /// The address that it is about.
    #[schema(value_type = Option<String>)]
    address: Option<IpAddr>,
}

/// What to change about an incident; what is missing stays.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct IncidentChanges {
    #[schema(value_type = Option<schema_names::Severity>)]
    severity: Option<String>,
    /// Closing needs a resolution, and is for good.
    #[schema(value_type = Option<schema_names::IncidentStatus>)]
    status: Option<String>,
    /// The resolution: 1 to 2000 characters.
    #[validate(custom(function = check_text))]
    #[schema(min_length = 1, max_length = 2000)]
    resolution: Option<String>,
}

/// A note.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// 1 to 2000 characters.
    #[validate(custom(function = check_text))]
    #[schema(min_length = 1, max_length = 2000)]
    pub text: String,
}

/// An event of the audit trail.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct EventLink {
    pub event_id: Uuid,
}

/// An answer to run.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct NewAnswer {
    /// `disable_accounts` or `end_sessions` (`users:manage`), `block_address` or `maintenance` (`system:manage`), or
    /// `collect_evidence` (`audit:read`).
    #[schema(value_type = schema_names::IncidentAnswer)]
    answer: String,
    /// To which accounts, 100 at most; none: those that the incident is about.
    #[serde(default)]
    #[validate(length(max = 100, message = "name at most 100"))]
    accounts: Vec<Uuid>,
    /// To which address; none: that of the incident.
    #[schema(value_type = Option<String>)]
    address: Option<IpAddr>,
}

impl IncidentSearch {
    /// The page, and what narrows it down.
    pub fn read(self) -> Result<(PageRequest, Option<IncidentStatus>, Option<IncidentKind>)> {
        let status = self.status.map(|name| named("status", &name)).transpose()?;
        let kind = self.kind.map(|name| named("kind", &name)).transpose()?;
        Ok((page(self.limit, self.cursor.as_deref())?, status, kind))
    }
}

impl TryFrom<NewIncident> for IncidentRequest {
    type Error = ApiError;

    fn try_from(new: NewIncident) -> Result<Self> {
        let NewIncident { kind, severity, title, accounts, address } = new;
        let kind = named("kind", &kind)?;
        let severity = severity.map(|name| named("severity", &name)).transpose()?;
        Ok(Self { kind, severity, title, accounts, address })
    }
}

impl TryFrom<IncidentChanges> for IncidentChange {
    type Error = ApiError;

    fn try_from(changes: IncidentChanges) -> Result<Self> {
        let IncidentChanges { severity, status, resolution } = changes;
        let severity = severity.map(|name| named("severity", &name)).transpose()?;
        let status = status.map(|name| named("status", &name)).transpose()?;
        Ok(Self { severity, status, resolution })
    }
}

impl TryFrom<NewAnswer> for AnswerRequest {
    type Error = ApiError;

    fn try_from(new: NewAnswer) -> Result<Self> {
        let NewAnswer { answer, accounts, address } = new;
        Ok(Self { answer: named("answer", &answer)?, accounts, address })
    }
}

/// Refuses a text that says nothing, or that would not be shown as it is.
pub fn check_text(text: &str) -> Checked {
    let harmless = !text.chars().any(|character| character != '\n' && character.is_control());
    let message = "use 1 to 2000 characters that say something, without control characters but line breaks";
    require(harmless && has_length(text, 1..=MAX_TEXT), "text", message)
}

/// A line, for it becomes the subject of a mail.
pub fn check_line(text: &str) -> Checked {
    let message = "use 1 to 200 characters that say something, in one line";
    require(is_line(text, 1..=MAX_LINE), "text", message)
}
