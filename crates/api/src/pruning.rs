//! What is kept for a while and no longer, so that no table grows for ever.

use std::cell::Cell;

use chrono::{DateTime, Duration, Utc};
use storage::{Scope, Service, Store};

/// How often the tables are looked through, by the injected clock.
const INTERVAL: Duration = Duration::hours(1);
/// How long a session is kept after its end, for whoever looks into what happened.
const SESSIONS_KEPT: Duration = Duration::days(30);
/// How long a change can be read; a replica that was cut off for longer starts afresh.
const CHANGES_KEPT: Duration = Duration::days(1);
/// How long a replica is known after its last sign of life.
const REPLICAS_KEPT: Duration = Duration::days(1);
/// How late a batch of usage may be sent again without being counted twice.
const USAGE_BATCHES_KEPT: Duration = Duration::days(7);
/// How long it is known what was taken of a quota.
const QUOTA_PERIODS_KEPT: Duration = Duration::days(400);
/// How long people can read what they were told.
const NOTICES_KEPT: Duration = Duration::days(365);
/// How long a mail is kept that was not sent.
const UNSENT_MAILS_KEPT: Duration = Duration::days(30);

/// When the tables were last looked through, so that it happens once an hour however often it is asked for.
#[derive(Debug, Default)]
pub struct Pruning {
    last: Cell<Option<DateTime<Utc>>>,
}

impl Pruning {
    /// Removes what has been kept long enough, when the hour is over. After a failure the next hour tries again.
    /// Answers whether it was time.
    pub async fn when_due(&self, store: &Store) -> storage::Result<bool> {
        let now = store.clock().now();
        if self.last.get().is_some_and(|last| (now - last).abs() < INTERVAL) {
            return Ok(false);
        }
        self.last.set(Some(now));
        prune(store, now).await?;
        Ok(true)
    }
}

/// One table, one transaction: SQLite has one writer, and requests wait for it. Tells how much of each was removed.
macro_rules! in_turn {
    ($store:ident, $tx:ident: $($table:ident => $prune:expr;)+) => {
        $(
            let mut $tx = $store.begin(Scope::Service(Service::Feed)).await?;
            let $table = $prune.await?;
            $tx.commit().await?;
        )+
        if [$($table),+].into_iter().any(|count| count > 0) {
            tracing::info!($($table,)+ "pruned");
        }
    };
}

async fn prune(store: &Store, now: DateTime<Utc>) -> storage::Result<()> {
    in_turn! { store, tx:
        sessions => tx.sessions().prune(now - SESSIONS_KEPT);
        changes => tx.changes().prune(now - CHANGES_KEPT);
        replicas => tx.replicas().prune(now - REPLICAS_KEPT);
        usage_batches => tx.usage().prune_batches(now - USAGE_BATCHES_KEPT);
        quota_periods => tx.quotas().prune((now - QUOTA_PERIODS_KEPT).date_naive());
        one_time_tokens => tx.one_time_tokens().prune(now);
        ended_tokens => tx.identities().prune(now);
        notices => tx.notices().prune(now - NOTICES_KEPT);
        unsent_mails => tx.outbox().prune(now - UNSENT_MAILS_KEPT);
        ip_rules => tx.ip_rules().prune(now);
    }
    Ok(())
}
