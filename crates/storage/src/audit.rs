//! The audit trail. Events are only ever added: the database refuses to change or remove one. The one personal detail,
//! the address, stands in a table of its own and can be erased.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::durable::query;
use crate::{AuditRecord, Page, PageRequest, Result, Tx};

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct AuditEvent {
    /// The number of its link; none while it waits for one.
    pub seq: Option<i64>,
    /// Its id.
    pub id: Uuid,
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// What was done.
    pub action: String,
    /// How it ended.
    pub outcome: String,
    /// Who did it; none: nobody known.
    pub actor: Option<Uuid>,
    /// What it was done to.
    pub target: Option<String>,
    /// The request it was done in.
    pub request_id: Option<String>,
    /// The canonical bytes that the chain's MAC covers.
    pub canonical: Vec<u8>,
    /// Where it was done from, unless erased.
    pub address: Option<String>,
}

/// Which events to select; none: all.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Those of one action.
    pub action: Option<String>,
    /// Those of one actor.
    pub actor: Option<Uuid>,
    /// Those done to one thing.
    pub target: Option<String>,
    /// Those of one outcome.
    pub outcome: Option<String>,
    /// Those of one request.
    pub request_id: Option<String>,
    /// Those from this moment on.
    pub from: Option<DateTime<Utc>>,
    /// Those before this moment.
    pub to: Option<DateTime<Utc>>,
}

/// An [`AuditEvent`] with its address and its link.
macro_rules! event_rows {
    () => {
        "SELECT audit_links.seq, audit_events.id, occurred_at, action, outcome, actor, target, request_id, canonical, address \
         FROM audit_events LEFT JOIN audit_subjects ON audit_subjects.event_id = audit_events.id \
         LEFT JOIN audit_links ON audit_links.event_id = audit_events.id WHERE "
    };
}

pub(crate) use event_rows;

/// Events at a place (`$1`) that pass a filter.
macro_rules! filtered {
    ($tx:expr, $place:literal, $order:literal, $from:expr, $filter:expr, $limit:expr) => {
        query!(
            $tx,
            all AuditEvent,
            concat!(
                event_rows!(), $place, " AND ($2 IS NULL OR action = $2) AND ($3 IS NULL OR actor = $3) \
                 AND ($4 IS NULL OR target = $4) AND ($5 IS NULL OR outcome = $5) AND ($6 IS NULL OR request_id = $6) \
                 AND ($7 IS NULL OR occurred_at >= $7) AND ($8 IS NULL OR occurred_at < $8) ORDER BY ", $order,
                " LIMIT $9"
            ),
            $from,
            $filter.action.as_deref(),
            $filter.actor,
            $filter.target.as_deref(),
            $filter.outcome.as_deref(),
            $filter.request_id.as_deref(),
            $filter.from,
            $filter.to,
            $limit
        )
    };
}

/// Queries on audit events.
pub struct Audit<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl Audit<'_> {
    /// Adds an event, in the transaction of what it reports. `address`: where it was done from, erasable. `account`: with
    /// whom it is erased, where the event names neither them as its actor nor their account as its target.
    pub async fn append(
        &mut self,
        new: &AuditRecord,
        address: Option<&str>,
        account: Option<Uuid>,
    ) -> Result<()> {
        query!(
            self.tx,
            execute,
            "INSERT INTO audit_events (id, occurred_at, action, outcome, actor, target, request_id, canonical, mac) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            new.id,
            new.occurred_at,
            &new.action,
            &new.outcome,
            new.actor,
            new.target.as_deref(),
            new.request_id.as_deref(),
            &new.canonical,
            new.mac.as_deref()
        )?;
        if let Some(address) = address {
            query!(
                self.tx,
                execute,
                "INSERT INTO audit_subjects (event_id, address, account_id) VALUES ($1, $2, $3)",
                new.id,
                address,
                account
            )?;
        }
        Ok(())
    }

    /// Events, newest first.
    pub async fn list(&mut self, page: &PageRequest, filter: &AuditFilter) -> Result<Page<AuditEvent>> {
        let events = filtered!(
            self.tx,
            "audit_events.id < $1",
            "audit_events.id DESC",
            page.below(),
            filter,
            page.rows()
        )?;
        Ok(page.page(events, |event| event.id))
    }

    /// One event.
    pub async fn find(&mut self, id: Uuid) -> Result<Option<AuditEvent>> {
        query!(self.tx, optional AuditEvent, concat!(event_rows!(), "audit_events.id = $1"), id)
    }

    /// Events behind an id, oldest first.
    pub async fn after(&mut self, id: Uuid, filter: &AuditFilter, limit: u32) -> Result<Vec<AuditEvent>> {
        filtered!(self.tx, "audit_events.id > $1", "audit_events.id", id, filter, i64::from(limit))
    }

    /// Events whose links come behind a number, in their order.
    pub async fn linked_after(
        &mut self,
        seq: i64,
        filter: &AuditFilter,
        limit: u32,
    ) -> Result<Vec<AuditEvent>> {
        filtered!(self.tx, "audit_links.seq > $1", "audit_links.seq", seq, filter, i64::from(limit))
    }

    /// Erases the addresses from which an account acted, those of nobody known in events that name it as their
    /// `target`, and those that were kept with it. Answers how many; the events stay, and so do the addresses of other
    /// actors.
    pub async fn erase_subject(&mut self, account: Uuid, target: &str) -> Result<u64> {
        query!(
            self.tx,
            execute,
            "DELETE FROM audit_subjects WHERE event_id IN (SELECT id FROM audit_events \
             WHERE actor = $1 OR (actor IS NULL AND target = $2) \
             UNION ALL SELECT event_id FROM audit_subjects WHERE account_id = $1)",
            account,
            target
        )
    }
}
