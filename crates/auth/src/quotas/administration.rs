//! Setting quotas, and their remaining amounts.

use chrono::{DateTime, Utc};
use serde_json::json;
use storage::{Page, PageRequest, Scope, Service};
use uuid::Uuid;

use super::book::ReachedCap;
use super::{Quota, QuotaPeriod, QuotaUnit};
use crate::audit::Entry;
use crate::callers::access::Permission;
use crate::callers::freshness::ChangeSubject;
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::limits::rules::LimitSubject;
use crate::service::Origin;
use crate::{Auth, Error, Result};

/// Whose quota it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuotaSubject {
    /// Each account of a role that has no quota of its own.
    Role(String),
    /// An account, with all its keys.
    Account(Uuid),
    /// A key, besides its account.
    Key(Uuid),
}

/// A quota to set.
#[derive(Clone, Debug)]
pub struct QuotaRequest {
    /// What is counted.
    pub unit: QuotaUnit,
    /// For how long.
    pub period: QuotaPeriod,
    /// The most of it.
    pub cap: i64,
    /// Whether what is beyond is refused.
    pub hard: bool,
}

/// How a quota of a caller stands.
#[derive(Clone, Debug)]
pub struct QuotaView {
    /// The quota.
    pub quota: Quota,
    /// What was used, in the unit.
    pub used: i64,
    /// What may still be taken, in the unit.
    pub remaining: i64,
    /// When it begins anew.
    pub resets_at: DateTime<Utc>,
}

impl QuotaSubject {
    /// The subject as limits know it.
    fn limited(&self) -> LimitSubject {
        match self {
            Self::Role(name) => LimitSubject::Role(name.clone()),
            Self::Account(id) => LimitSubject::Account(*id),
            Self::Key(id) => LimitSubject::Key(*id),
        }
    }

    fn watched(&self) -> ChangeSubject {
        match self {
            Self::Role(_) => ChangeSubject::Policy,
            Self::Account(id) => ChangeSubject::Account(*id),
            Self::Key(id) => ChangeSubject::ApiKey(*id),
        }
    }
}

impl Auth {
    /// Quotas, the newest first; of one role, account or key where one is named.
    pub async fn quotas(&self, subject: Option<&str>, page: &PageRequest) -> Result<Page<storage::Quota>> {
        let mut tx = self.store.read(Scope::Service(Service::Administration)).await?;
        Ok(tx.quotas().list(subject, page).await?)
    }

    /// Sets a quota; it holds from the next request, for what was used in this period too.
    pub async fn set_quota(
        &self,
        actor: &Principal,
        subject: &QuotaSubject,
        request: &QuotaRequest,
        origin: &Origin,
    ) -> Result<()> {
        let (mut tx, own) = self.begin_administration(actor, Permission::LimitsManage).await?;
        let limited = subject.limited();
        let account_id = limited.owner(&mut tx).await?;
        limited.refuse_more_powerful(&mut tx, own).await?;
        tx.quotas()
            .set(&storage::Quota {
                id: Uuid::now_v7(),
                scope: limited.scope().to_owned(),
                subject: limited.name(),
                account_id,
                unit: request.unit.name().to_owned(),
                period: request.period.name().to_owned(),
                cap: request.cap,
                hard: request.hard,
                updated_at: self.now(),
            })
            .await?;
        let detail = json!({
            limited.scope(): limited.name(), "unit": request.unit.name(), "period": request.period.name(),
            "limit": request.cap, "hard": request.hard,
        });
        let entry = Entry::success(Event::QuotaChanged, origin).by(actor.account).with(detail);
        self.record(&mut tx, entry).await?;
        self.commit_change(tx, &[subject.watched()]).await
    }

    /// Removes a quota.
    pub async fn remove_quota(
        &self,
        actor: &Principal,
        subject: &QuotaSubject,
        unit: QuotaUnit,
        period: QuotaPeriod,
        origin: &Origin,
    ) -> Result<()> {
        let (mut tx, own) = self.begin_administration(actor, Permission::LimitsManage).await?;
        let limited = subject.limited();
        limited.refuse_more_powerful(&mut tx, own).await?;
        let (scope, name) = (limited.scope(), limited.name());
        tx.quotas().remove(scope, &name, unit.name(), period.name()).await?.ok_or(Error::NotFound)?;
        let detail = json!({scope: name, "unit": unit.name(), "period": period.name(), "removed": true});
        let entry = Entry::success(Event::QuotaChanged, origin).by(actor.account).with(detail);
        self.record(&mut tx, entry).await?;
        self.commit_change(tx, &[subject.watched()]).await
    }

    /// How the caller's quotas stand: what admission goes by. What other replicas hold for the next seconds is not
    /// remaining.
    pub async fn own_quotas(&self, principal: &Principal) -> Result<Vec<QuotaView>> {
        let mut tx = self.store.read(Scope::Account(principal.account)).await?;
        self.standing(&mut tx, principal.account, &principal.quotas).await
    }

    /// How an account's quotas stand, for administrators.
    pub async fn quotas_of_account(&self, account: Uuid) -> Result<Vec<QuotaView>> {
        let mut tx = self.store.read(Scope::Service(Service::Administration)).await?;
        let Some(standing) = tx.accounts().standing(account).await? else { return Ok(Vec::new()) };
        let rows = tx.quotas().of_caller(account, &standing.role, None).await?;
        self.standing(&mut tx, account, &Quota::applying(account, None, &rows)).await
    }

    /// Returns unused blocks of quotas, or all of them, and records the caps that were met. To be called every second.
    pub async fn give_back_quota(&self, everything: bool) -> Result<()> {
        let mut result = self.quota_book.give_back(everything).await;
        for met in self.quota_book.take_reached_caps() {
            let recorded = self.record_reached_cap(&met).await;
            if recorded.is_err() {
                self.quota_book.return_reached_cap(met);
            }
            result = result.and(recorded);
        }
        result
    }

    /// Records that a cap was met, once in its period.
    async fn record_reached_cap(&self, ReachedCap { period, quota }: &ReachedCap) -> Result<()> {
        let mut tx = self.store.begin(Scope::Service(Service::Quota)).await?;
        if !tx.quotas().mark_exceeded(period).await? {
            return Ok(());
        }
        let detail = json!({
            "policy": quota.policy(), "limit": quota.cap, "hard": quota.hard, "period": period.starts_on,
            "subject": period.subject,
        });
        let origin = Origin::default();
        let entry = Entry::success(Event::QuotaExceeded, &origin).on("account", period.account_id);
        self.record(&mut tx, entry.with(detail)).await?;
        Ok(tx.commit().await?)
    }

    async fn standing(
        &self,
        tx: &mut storage::Tx,
        account: Uuid,
        quotas: &[Quota],
    ) -> Result<Vec<QuotaView>> {
        if quotas.is_empty() {
            return Ok(Vec::new());
        }
        let today = self.now().date_naive();
        let month = QuotaPeriod::Month.start(today);
        // Before the rows are read: what is reserved in between does not count as remaining.
        let held: Vec<i64> = quotas.iter().map(|quota| self.quota_book.held(account, quota, today)).collect();
        let rows = tx.quotas().standing(account, today, month).await?;
        let view = |(quota, held): (&Quota, i64)| {
            let starts_on = quota.period.start(today);
            let row = rows.iter().find(|row| {
                row.subject == quota.subject
                    && row.unit == quota.unit.name()
                    && row.period == quota.period.name()
            });
            let (reserved, settled) = row.map_or((0, 0), |row| (row.reserved, row.settled));
            let (cap, scale) = (quota.ledger_cap(), quota.unit.scale());
            let remaining = (cap - reserved + held).min(cap - settled).max(0);
            QuotaView {
                quota: *quota,
                used: settled / scale,
                remaining: remaining / scale,
                resets_at: quota.period.end(starts_on).and_time(chrono::NaiveTime::MIN).and_utc(),
            }
        };
        Ok(quotas.iter().zip(held).map(view).collect())
    }
}
