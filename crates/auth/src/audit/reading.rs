//! Reading the trail: by those with `audit:read`, and each reading is in it.

use serde_json::json;
use storage::{AuditEvent, AuditFilter, Page, PageRequest, Scope, Service, Tx, named_enum};
use uuid::Uuid;

use super::{AuditStanding, Entry};
use crate::callers::access::Permission;
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::service::Origin;
use crate::{Auth, Error, Result};

named_enum! {
    /// A way in which the trail is read.
    pub enum AuditReading {
        /// A page of events.
        Page = "page",
        /// All events, as a file.
        Export = "export",
        /// Events as they come.
        Stream = "stream",
    }
}

impl Auth {
    /// Writes down that somebody reads the trail, before they do. [`Error::Forbidden`]: they may not any more.
    pub async fn record_audit_reading(
        &self,
        reader: &Principal,
        how: AuditReading,
        filter: &AuditFilter,
        origin: &Origin,
    ) -> Result<()> {
        let detail = json!({
            "how": how.name(), "action": filter.action, "actor": filter.actor, "target": filter.target,
            "outcome": filter.outcome, "request_id": filter.request_id, "from": filter.from, "to": filter.to,
        });
        let mut tx = self.begin_reading(reader, Permission::AuditRead).await?;
        let entry = Entry::success(Event::AuditRead, origin).by(reader.account).with(detail);
        self.record(&mut tx, entry).await?;
        Ok(tx.commit().await?)
    }

    /// A page of events, newest first.
    pub async fn audit_page(&self, filter: &AuditFilter, page: &PageRequest) -> Result<Page<AuditEvent>> {
        Ok(self.read_trail().await?.audit().list(page, filter).await?)
    }

    /// One event; who reads it is written down.
    pub async fn audit_event(&self, reader: &Principal, id: Uuid, origin: &Origin) -> Result<AuditEvent> {
        let mut tx = self.begin_reading(reader, Permission::AuditRead).await?;
        let event = tx.audit().find(id).await?.ok_or(Error::NotFound)?;
        let entry = Entry::success(Event::AuditRead, origin).by(reader.account).on("audit_event", id);
        self.record(&mut tx, entry.with(json!({"how": "event"}))).await?;
        tx.commit().await?;
        Ok(event)
    }

    /// Events behind an id, oldest first, `most` at most.
    pub async fn audit_events_after(
        &self,
        id: Uuid,
        filter: &AuditFilter,
        most: u32,
    ) -> Result<Vec<AuditEvent>> {
        Ok(self.read_trail().await?.audit().after(id, filter, most).await?)
    }

    /// Events whose links come behind a number, in their order, `most` at most.
    pub async fn audit_events_linked_after(
        &self,
        seq: i64,
        filter: &AuditFilter,
        most: u32,
    ) -> Result<Vec<AuditEvent>> {
        Ok(self.read_trail().await?.audit().linked_after(seq, filter, most).await?)
    }

    /// How far the chain is.
    pub async fn audit_standing(&self) -> Result<AuditStanding> {
        self.trail.standing().await
    }

    async fn read_trail(&self) -> Result<Tx> {
        Ok(self.store.read(Scope::Service(Service::Audit)).await?)
    }
}
