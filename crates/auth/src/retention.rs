//! Retention: prunes records that are old enough, so that no table grows for ever. What is under a legal hold stays.

use chrono::Duration;
use serde_json::json;
use storage::{Scope, Service, Tx};

use crate::audit::Entry;
use crate::events::Event;
use crate::service::Origin;
use crate::{Auth, Result};

/// How long a session is kept after its end, for investigations.
const SESSIONS_KEPT: Duration = Duration::days(30);
/// How long people can read their notices.
const NOTICES_KEPT: Duration = Duration::days(365);
/// How long a mail is kept that was not sent.
const UNSENT_MAILS_KEPT: Duration = Duration::days(30);
/// How long an alert is kept, sent or not.
const ALERTS_KEPT: Duration = Duration::days(90);
/// How long the use of quotas is kept.
const QUOTA_PERIODS_KEPT: Duration = Duration::days(400);
/// How long a change can be read; a replica that was cut off for longer starts afresh.
const CHANGES_KEPT: Duration = Duration::days(1);
/// How long a replica is known after its last sign of life.
const REPLICAS_KEPT: Duration = Duration::days(1);
/// How late a batch of usage may be sent again without being counted twice.
const USAGE_BATCHES_KEPT: Duration = Duration::days(7);

impl Auth {
    /// Removes what was kept long enough, part after part, each in a transaction of its own; of what tells of people an
    /// event says how much. Of what was erased no log of the database keeps a copy either. Usage is kept for `usage_kept`;
    /// none: for ever. Of several replicas one removes each row. To be called now and then.
    ///
    /// # Errors
    ///
    /// When the database fails; what was removed before stays removed.
    pub async fn prune(&self, usage_kept: Option<Duration>) -> Result<()> {
        let now = self.store.clock().now();
        let day = |kept: Duration| (now - kept).date_naive();
        let (sent_again, people) = (now - USAGE_BATCHES_KEPT, Some(Event::RecordsPruned));
        // One kind that fails keeps no other.
        let pruned = [
            self.prune_all("changes", None, async |tx| tx.changes().prune(now - CHANGES_KEPT).await).await,
            self.prune_all("replicas", None, async |tx| tx.replicas().prune(now - REPLICAS_KEPT).await).await,
            self.prune_all("usage_batches", None, async |tx| tx.usage().prune_batches(sent_again).await)
                .await,
            self.prune_all("one_time_tokens", None, async |tx| tx.one_time_tokens().prune(now).await).await,
            self.prune_all("ended_tokens", None, async |tx| tx.identities().prune(now).await).await,
            self.prune_all("sessions", people, async |tx| tx.sessions().prune(now - SESSIONS_KEPT).await)
                .await,
            self.prune_all("notices", people, async |tx| tx.notices().prune(now - NOTICES_KEPT).await).await,
            self.prune_all("unsent_mails", people, async |tx| {
                tx.outbox().prune(now - UNSENT_MAILS_KEPT).await
            })
            .await,
            self.prune_all("alerts", people, async |tx| tx.alerts().prune(now - ALERTS_KEPT).await).await,
            self.prune_all("ip_rules", people, async |tx| tx.ip_rules().prune(now).await).await,
            self.prune_all("quota_periods", people, async |tx| {
                tx.quotas().prune(day(QUOTA_PERIODS_KEPT)).await
            })
            .await,
        ];
        let usage = match usage_kept {
            Some(kept) => self.prune_all("usage", people, async |tx| tx.usage().prune(day(kept)).await).await,
            None => Ok(()),
        };
        let emptied = self.store.empty_log().await;
        pruned.into_iter().collect::<Result<()>>().and(usage)?;
        Ok(emptied?)
    }

    /// Removes one kind of records, part after part. `event` tells of each part; none where the program noted them for
    /// itself, and nobody asks what became of them.
    async fn prune_all(
        &self,
        records: &str,
        event: Option<Event>,
        remove: impl AsyncFn(&mut Tx) -> storage::Result<u64>,
    ) -> Result<()> {
        loop {
            let mut tx = self.store.begin(Scope::Service(Service::Retention)).await?;
            let rows = remove(&mut tx).await?;
            if rows == 0 {
                return Ok(());
            }
            if let Some(event) = event {
                let (origin, detail) = (Origin::default(), json!({"records": records, "rows": rows}));
                self.record(&mut tx, Entry::success(event, &origin).with(detail)).await?;
            }
            tx.commit().await?;
            tracing::info!(records, rows, "old records are pruned");
        }
    }
}
