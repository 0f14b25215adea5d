//! What is old enough is pruned from the trail: whole segments from one seal to the next, from the oldest on, and an
//! event tells of it. What a legal hold asks for stays, with everything after it.

use chrono::Duration;
use serde_json::json;
use storage::{Scope, Service};

use super::{Entry, subject};
use crate::events::Event;
use crate::service::Origin;
use crate::{Auth, Result};

/// Links that are pruned in one transaction; a segment has at most `AUDIT_SEAL_EVENTS` and one batch of the linker.
const MOST_LINKS: i64 = 20_000;
/// Transactions of one call.
const ROUNDS: u32 = 10;

impl Auth {
    /// Prunes what was sealed longer than `keep` ago; the newest seal that is old enough stays, for the rest begins
    /// there. One replica at a time; to be called now and then.
    pub async fn prune_audit(&self, keep: Duration) -> Result<()> {
        for _ in 0..ROUNDS {
            if !self.prune_segments(keep).await? {
                break;
            }
        }
        Ok(())
    }

    /// Records, and alerts operators, when the end of the trail was cut off under a process that had seen it, or the
    /// database was put back; to be called several times a second.
    pub async fn watch_trail(&self) -> Result<()> {
        let Some(link) = self.trail().lost_end().await? else { return Ok(()) };
        tracing::error!(link, "the audit trail was truncated or rolled back; run modelgate audit verify");
        let origin = Origin::default();
        let mut tx = self.store.begin(Scope::Service(Service::Audit)).await?;
        let entry = Entry::failure(Event::AuditCutOff, &origin).with(json!({"link": link}));
        self.record(&mut tx, entry).await?;
        tx.commit().await?;
        self.trail().told_of_lost_end();
        Ok(())
    }

    async fn prune_segments(&self, keep: Duration) -> Result<bool> {
        let mut tx = self.store.begin(Scope::Service(Service::Retention)).await?;
        tx.audit_chain().lock().await?;
        let mut below = i64::MAX;
        for account in tx.legal_holds().accounts().await? {
            let first = tx.audit_chain().first_of(account, &subject("account", account)).await?;
            below = below.min(first.unwrap_or(i64::MAX));
        }
        let before = tx.now() - keep;
        let Some(through) = tx.audit_chain().prunable(before, below, MOST_LINKS).await? else {
            return Ok(false);
        };
        tx.audit_chain().prune(through).await?;
        let origin = Origin::default();
        let detail = json!({"through": through, "sealed_before": before});
        self.record(&mut tx, Entry::success(Event::AuditPruned, &origin).with(detail)).await?;
        tx.commit().await?;
        tracing::info!(through, "the audit trail is pruned");
        Ok(true)
    }
}
