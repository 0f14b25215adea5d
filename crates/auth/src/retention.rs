//! What is kept for a while and no longer, so that no table grows for ever. What a legal hold is on stays.

use chrono::Duration;
use serde_json::json;
use storage::{Scope, Service, Tx};

use crate::audit::Entry;
use crate::events::Event;
use crate::service::Origin;
use crate::{Auth, Result};

/// How long a session is kept after its end, for whoever looks into what happened.
const SESSIONS_KEPT: Duration = Duration::days(30);
/// How long people can read what they were told.
const NOTICES_KEPT: Duration = Duration::days(365);
/// How long a mail is kept that was not sent.
const UNSENT_MAILS_KEPT: Duration = Duration::days(30);
/// How long an alert is kept, sent or not.
const ALERTS_KEPT: Duration = Duration::days(90);
/// How long it is known what was taken of a quota.
const QUOTA_PERIODS_KEPT: Duration = Duration::days(400);
/// How long a change can be read; a replica that was cut off for longer starts afresh.
const CHANGES_KEPT: Duration = Duration::days(1);
/// How long a replica is known after its last sign of life.
const REPLICAS_KEPT: Duration = Duration::days(1);
/// How late a batch of usage may be sent again without being counted twice.
const USAGE_BATCHES_KEPT: Duration = Duration::days(7);

impl Auth {
    /// Removes what was kept long enough, part after part, each in a transaction of its own; of what tells of people an
    /// event says how much. Usage is kept for `usage_kept`; none: for ever. Of several replicas one removes each row. To
    /// be called now and then.
    ///
    /// # Errors
    ///
    /// When the database fails; what was removed before stays removed.
    pub async fn prune(&self, usage_kept: Option<Duration>) -> Result<()> {
        let now = self.store.clock().now();
        let day = |kept: Duration| (now - kept).date_naive();
        let sent_again = now - USAGE_BATCHES_KEPT;
        self.prune_bookkeeping("changes", async |tx| tx.changes().prune(now - CHANGES_KEPT).await).await?;
        self.prune_bookkeeping("replicas", async |tx| tx.replicas().prune(now - REPLICAS_KEPT).await).await?;
        self.prune_bookkeeping("usage_batches", async |tx| tx.usage().prune_batches(sent_again).await)
            .await?;
        self.prune_bookkeeping("one_time_tokens", async |tx| tx.one_time_tokens().prune(now).await).await?;
        self.prune_bookkeeping("ended_tokens", async |tx| tx.identities().prune(now).await).await?;
        self.prune_records("sessions", async |tx| tx.sessions().prune(now - SESSIONS_KEPT).await).await?;
        self.prune_records("notices", async |tx| tx.notices().prune(now - NOTICES_KEPT).await).await?;
        self.prune_records("unsent_mails", async |tx| tx.outbox().prune(now - UNSENT_MAILS_KEPT).await)
            .await?;
        self.prune_records("alerts", async |tx| tx.alerts().prune(now - ALERTS_KEPT).await).await?;
        self.prune_records("ip_rules", async |tx| tx.ip_rules().prune(now).await).await?;
        self.prune_records("quota_periods", async |tx| tx.quotas().prune(day(QUOTA_PERIODS_KEPT)).await)
            .await?;
        if let Some(kept) = usage_kept {
            self.prune_records("usage", async |tx| tx.usage().prune(day(kept)).await).await?;
        }
        Ok(())
    }

    /// What the program notes for itself; nobody asks what became of it.
    async fn prune_bookkeeping(
        &self,
        records: &str,
        remove: impl AsyncFn(&mut Tx) -> storage::Result<u64>,
    ) -> Result<()> {
        while self.prune_part(records, &remove, false).await? > 0 {}
        Ok(())
    }

    async fn prune_records(
        &self,
        records: &str,
        remove: impl AsyncFn(&mut Tx) -> storage::Result<u64>,
    ) -> Result<()> {
        while self.prune_part(records, &remove, true).await? > 0 {}
        Ok(())
    }

    async fn prune_part(
        &self,
        records: &str,
        remove: impl AsyncFn(&mut Tx) -> storage::Result<u64>,
        is_audited: bool,
    ) -> Result<u64> {
        let mut tx = self.store.begin(Scope::Service(Service::Retention)).await?;
        let rows = remove(&mut tx).await?;
        if rows > 0 && is_audited {
            let (origin, detail) = (Origin::default(), json!({"records": records, "rows": rows}));
            self.record(&mut tx, Entry::success(Event::RecordsPruned, &origin).with(detail)).await?;
        }
        tx.commit().await?;
        if rows > 0 {
            tracing::info!(records, rows, "old records are pruned");
        }
        Ok(rows)
    }
}
