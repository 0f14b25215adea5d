//! What was used. Callers see their own, whoever has `usage:read` everyone's.

use chrono::{Duration, NaiveDate};
use serde_json::json;
use storage::{Scope, Service, UsageCursor, UsageFilter, UsageRow, UsageSlice};
use uuid::Uuid;

use crate::audit::Entry;
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::service::Origin;
use crate::{Auth, Result};

/// Rows that are removed in one go.
const PRUNED_AT_ONCE: u32 = 1_000;

/// Whose usage is read.
#[derive(Clone, Copy, Debug)]
pub enum UsageOf {
    /// That of one account, whatever the filter says.
    Account(Uuid),
    /// Everyone's.
    Everyone,
}

impl Auth {
    /// Removes what was used longer than `keep` ago, but nothing of an account under a legal hold, and writes down how
    /// much. To be called now and then; of several replicas one removes each row.
    pub async fn prune_usage(&self, keep: Duration) -> Result<()> {
        loop {
            let mut tx = self.store.begin(Scope::Service(Service::Audit)).await?;
            let before = (tx.now() - keep).date_naive();
            let rows = tx.usage().prune(before, PRUNED_AT_ONCE.into()).await?;
            if rows == 0 {
                return Ok(());
            }
            let origin = Origin::default();
            let detail = json!({"before": before, "rows": rows});
            self.record(&mut tx, Entry::success(Event::UsagePruned, &origin).with(detail)).await?;
            tx.commit().await?;
            tracing::info!(rows, "old usage is pruned");
        }
    }

    /// What a caller used from one day to another, both included, by day, model and credential.
    pub async fn own_usage(
        &self,
        principal: &Principal,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<Vec<UsageRow>> {
        let mut tx = self.store.read(Scope::Account(principal.account)).await?;
        Ok(tx.usage().summary(principal.account, from, to).await?)
    }

    /// What was used, added up by day or month, oldest first, `limit` rows at most; and where to go on, unless that is
    /// all.
    pub async fn usage(
        &self,
        whose: UsageOf,
        filter: &UsageFilter,
        after: Option<&UsageCursor>,
        limit: u32,
    ) -> Result<(Vec<UsageSlice>, Option<UsageCursor>)> {
        let (scope, account) = match whose {
            UsageOf::Account(account) => (Scope::Account(account), Some(account)),
            UsageOf::Everyone => (Scope::Service(Service::Administration), filter.account),
        };
        let filter = UsageFilter { account, ..filter.clone() };
        Ok(self.store.read(scope).await?.usage().slices(&filter, after, limit).await?)
    }
}
