//! Usage. Callers see their own, callers with `usage:read` everyone's.

use chrono::NaiveDate;
use storage::{Scope, Service, UsageCursor, UsageFilter, UsageRow, UsageSlice};
use uuid::Uuid;

use crate::callers::principal::Principal;
use crate::{Auth, Error, Result};

/// Whose usage is read.
#[derive(Clone, Copy, Debug)]
pub enum UsageScope {
    /// That of one account, whatever the filter says.
    Account(Uuid),
    /// Everyone's.
    Everyone,
}

impl Auth {
    /// What a caller used from one day to another, both included, by day, model and credential. [`Error::Invalid`]: that
    /// is too much at a time.
    pub async fn own_usage(
        &self,
        principal: &Principal,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<Vec<UsageRow>> {
        let mut tx = self.store.read(Scope::Account(principal.account)).await?;
        let (rows, are_more) = tx.usage().summary(principal.account, from, to).await?;
        if are_more {
            return Err(Error::invalid(
                "from",
                "these are too many lines; name fewer days, or use the export",
            ));
        }
        Ok(rows)
    }

    /// What was used, added up by day or month, oldest first, `limit` rows at most; and where to go on, unless that is
    /// all.
    pub async fn usage(
        &self,
        whose: UsageScope,
        filter: &UsageFilter,
        after: Option<&UsageCursor>,
        limit: u32,
    ) -> Result<(Vec<UsageSlice>, Option<UsageCursor>)> {
        let (scope, account) = match whose {
            UsageScope::Account(account) => (Scope::Account(account), Some(account)),
            UsageScope::Everyone => (Scope::Service(Service::Administration), filter.account),
        };
        let filter = UsageFilter { account, ..filter.clone() };
        Ok(self.store.read(scope).await?.usage().slices(&filter, after, limit).await?)
    }
}
