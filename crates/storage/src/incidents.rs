//! Incidents and their timelines: notes, linked events, what was done and undone.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use crate::durable::query;
use crate::{Page, PageRequest, Result, Tx};

/// A new incident.
#[derive(Clone, Debug)]
pub struct NewIncident {
    /// A version 7 id.
    pub id: Uuid,
    /// What kind of thing went wrong.
    pub kind: String,
    /// `low`, `medium`, `high` or `critical`.
    pub severity: String,
    /// What went wrong, in a line.
    pub title: String,
    /// Whom or what it is about; of one kind and subject one incident is open at a time. None: it stands alone.
    pub subject: Option<String>,
    /// Who opened it; none: a detector, or the command line.
    pub opened_by: Option<Uuid>,
}

/// An incident.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Incident {
    /// Its id.
    pub id: Uuid,
    /// What kind of thing went wrong.
    pub kind: String,
    /// Its severity.
    pub severity: String,
    /// `open`, `contained`, `resolved` or `closed`.
    pub status: String,
    /// What went wrong, in a line.
    pub title: String,
    /// Whom or what it is about.
    pub subject: Option<String>,
    /// Who opened it; none: a detector, or the command line.
    pub opened_by: Option<Uuid>,
    /// How often it was noticed while it was open.
    pub occurrences: i64,
    /// When it was opened.
    pub opened_at: DateTime<Utc>,
    /// When something about it last changed.
    pub updated_at: DateTime<Utc>,
    /// When it was closed.
    pub closed_at: Option<DateTime<Utc>>,
    /// Its resolution.
    pub resolution: Option<String>,
}

/// What changes about an incident; what is none stays.
#[derive(Clone, Debug, Default)]
pub struct IncidentUpdate {
    /// Its severity.
    pub severity: Option<String>,
    /// Its status.
    pub status: Option<String>,
    /// Its resolution.
    pub resolution: Option<String>,
}

/// An entry of a timeline.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct IncidentEntry {
    /// Its id.
    pub id: Uuid,
    /// The incident.
    pub incident_id: Uuid,
    /// When it was made.
    pub at: DateTime<Utc>,
    /// What kind of entry it is.
    pub kind: String,
    /// Who made it; none: the program.
    pub actor: Option<Uuid>,
    /// Its content.
    #[sqlx(json)]
    pub detail: Value,
    /// When the answer that it reports was undone.
    pub undone_at: Option<DateTime<Utc>>,
}

/// The columns of an [`Incident`].
macro_rules! incident_columns {
    () => {
        "id, kind, severity, status, title, subject, opened_by, occurrences, opened_at, updated_at, closed_at, \
         resolution"
    };
}

/// The columns of an [`IncidentEntry`].
macro_rules! entry_columns {
    () => {
        "id, incident_id, at, kind, actor, detail, undone_at"
    };
}

/// Queries on incidents.
pub struct Incidents<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl Incidents<'_> {
    /// Opens an incident; where one of its kind and subject is open, that was noticed once more and is the answer.
    pub async fn open(&mut self, new: &NewIncident) -> Result<Incident> {
        let now = self.tx.now();
        let mut opened = query!(
            self.tx,
            all Incident,
            concat!(
                "INSERT INTO incidents (id, kind, severity, status, title, subject, opened_by, occurrences, opened_at, updated_at) \
                 VALUES ($1, $2, $3, 'open', $4, $5, $6, 1, $7, $7) \
                 ON CONFLICT (kind, subject) WHERE closed_at IS NULL \
                 DO UPDATE SET occurrences = incidents.occurrences + 1, updated_at = excluded.updated_at RETURNING ",
                incident_columns!()
            ),
            new.id,
            &new.kind,
            &new.severity,
            &new.title,
            new.subject.as_deref(),
            new.opened_by,
            now
        )?;
        opened.pop().ok_or_else(|| crate::Error::inconsistent("a new incident did not come back"))
    }

    /// Whether an incident of a kind is open that is about this.
    pub async fn is_open(&mut self, kind: &str, subject: &str) -> Result<bool> {
        query!(
            self.tx,
            one bool,
            "SELECT EXISTS (SELECT 1 FROM incidents WHERE kind = $1 AND subject = $2 AND closed_at IS NULL)",
            kind,
            subject
        )
    }

    /// How many incidents of a kind are open that are about something.
    pub async fn count_open(&mut self, kind: &str) -> Result<i64> {
        query!(
            self.tx,
            one i64,
            "SELECT COUNT(*) FROM incidents WHERE kind = $1 AND subject IS NOT NULL AND closed_at IS NULL",
            kind
        )
    }

    /// An incident.
    pub async fn find(&mut self, id: Uuid) -> Result<Option<Incident>> {
        query!(
            self.tx,
            optional Incident,
            concat!("SELECT ", incident_columns!(), " FROM incidents WHERE id = $1"),
            id
        )
    }

    /// Incidents, newest first; of one status and kind where they are given.
    pub async fn list(
        &mut self,
        page: &PageRequest,
        status: Option<&str>,
        kind: Option<&str>,
    ) -> Result<Page<Incident>> {
        let incidents = query!(
            self.tx,
            all Incident,
            concat!(
                "SELECT ", incident_columns!(), " FROM incidents WHERE id < $1 \
                 AND ($2 IS NULL OR status = $2) AND ($3 IS NULL OR kind = $3) ORDER BY id DESC LIMIT $4"
            ),
            page.below(),
            status,
            kind,
            page.rows()
        )?;
        Ok(page.page(incidents, |incident| incident.id))
    }

    /// Changes an incident, and keeps others from changing it until the end of the transaction; a closed one stays as
    /// it is.
    pub async fn update(&mut self, id: Uuid, update: &IncidentUpdate) -> Result<Option<Incident>> {
        let now = self.tx.now();
        query!(
            self.tx,
            optional Incident,
            concat!(
                "UPDATE incidents SET severity = COALESCE($2, severity), status = COALESCE($3, status), \
                 resolution = COALESCE($4, resolution), updated_at = $5, \
                 closed_at = CASE WHEN COALESCE($3, status) = 'closed' THEN $5 END \
                 WHERE id = $1 AND closed_at IS NULL RETURNING ",
                incident_columns!()
            ),
            id,
            update.severity.as_deref(),
            update.status.as_deref(),
            update.resolution.as_deref(),
            now
        )
    }

    /// Adds to a timeline.
    pub async fn note(
        &mut self,
        id: Uuid,
        incident: Uuid,
        kind: &str,
        actor: Option<Uuid>,
        detail: &Value,
    ) -> Result<IncidentEntry> {
        let now = self.tx.now();
        let mut noted = query!(
            self.tx,
            all IncidentEntry,
            concat!(
                "INSERT INTO incident_entries (id, incident_id, at, kind, actor, detail) \
                 VALUES ($1, $2, $3, $4, $5, $6) RETURNING ",
                entry_columns!()
            ),
            id,
            incident,
            now,
            kind,
            actor,
            Json(detail)
        )?;
        noted.pop().ok_or_else(|| crate::Error::inconsistent("a new entry did not come back"))
    }

    /// How many entries a timeline has.
    pub async fn count_entries(&mut self, incident: Uuid) -> Result<i64> {
        query!(self.tx, one i64, "SELECT COUNT(*) FROM incident_entries WHERE incident_id = $1", incident)
    }

    /// A timeline, newest first.
    pub async fn entries(&mut self, incident: Uuid, page: &PageRequest) -> Result<Page<IncidentEntry>> {
        let entries = query!(
            self.tx,
            all IncidentEntry,
            concat!(
                "SELECT ", entry_columns!(), " FROM incident_entries WHERE incident_id = $1 AND id < $2 \
                 ORDER BY id DESC LIMIT $3"
            ),
            incident,
            page.below(),
            page.rows()
        )?;
        Ok(page.page(entries, |entry| entry.id))
    }

    /// One entry of a timeline.
    pub async fn entry(&mut self, incident: Uuid, id: Uuid) -> Result<Option<IncidentEntry>> {
        query!(
            self.tx,
            optional IncidentEntry,
            concat!("SELECT ", entry_columns!(), " FROM incident_entries WHERE incident_id = $1 AND id = $2"),
            incident,
            id
        )
    }

    /// The oldest entry of a kind in a timeline.
    pub async fn first_of_kind(&mut self, incident: Uuid, kind: &str) -> Result<Option<IncidentEntry>> {
        query!(
            self.tx,
            optional IncidentEntry,
            concat!(
                "SELECT ", entry_columns!(), " FROM incident_entries WHERE incident_id = $1 AND kind = $2 \
                 ORDER BY id LIMIT 1"
            ),
            incident,
            kind
        )
    }

    /// Whether there is an entry of a kind, whichever incident's.
    pub async fn has_kind(&mut self, kind: &str) -> Result<bool> {
        query!(self.tx, one bool, "SELECT EXISTS (SELECT 1 FROM incident_entries WHERE kind = $1)", kind)
    }

    /// The oldest entry of a kind, whichever incident's; nobody else gets it before the end of the transaction.
    pub async fn next_of_kind(&mut self, kind: &str) -> Result<Option<IncidentEntry>> {
        self.tx.lock("incident_entries").await?;
        query!(
            self.tx,
            optional IncidentEntry,
            concat!("SELECT ", entry_columns!(), " FROM incident_entries WHERE kind = $1 ORDER BY id LIMIT 1"),
            kind
        )
    }

    /// Replaces a pending entry by its outcome.
    pub async fn settle(&mut self, id: Uuid, kind: &str, detail: &Value) -> Result<()> {
        query!(
            self.tx,
            execute,
            "UPDATE incident_entries SET kind = $2, detail = $3 WHERE id = $1",
            id,
            kind,
            Json(detail)
        )?;
        Ok(())
    }

    /// Notes that the answer of an entry was undone. False: it was before.
    pub async fn undo(&mut self, id: Uuid) -> Result<bool> {
        let now = self.tx.now();
        let undone = query!(
            self.tx,
            execute,
            "UPDATE incident_entries SET undone_at = $2 WHERE id = $1 AND undone_at IS NULL",
            id,
            now
        )?;
        Ok(undone > 0)
    }

    /// Entries whose content contains a text, from behind an id on. It reads every entry.
    pub async fn entries_naming(&mut self, text: &str, after: Uuid, most: i64) -> Result<Vec<IncidentEntry>> {
        query!(
            self.tx,
            all IncidentEntry,
            concat!(
                "SELECT ", entry_columns!(), " FROM incident_entries WHERE id > $1 \
                 AND CAST(detail AS TEXT) LIKE '%' || $2 || '%' ORDER BY id LIMIT $3"
            ),
            after,
            text,
            most
        )
    }

    /// Those that were closed before a moment, from behind an id on.
    pub async fn closed_before(
        &mut self,
        before: DateTime<Utc>,
        after: Uuid,
        most: i64,
    ) -> Result<Vec<Uuid>> {
        query!(
            self.tx,
            values Uuid,
            "SELECT id FROM incidents WHERE closed_at < $1 AND id > $2 ORDER BY id LIMIT $3",
            before,
            after,
            most
        )
    }

    /// Removes an incident with its timeline. False: there is none.
    pub async fn remove(&mut self, id: Uuid) -> Result<bool> {
        Ok(query!(self.tx, execute, "DELETE FROM incidents WHERE id = $1", id)? > 0)
    }
}
