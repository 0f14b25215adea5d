//! The scoped unit of work: everything durable is read and written through one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use sqlx::{Postgres, Sqlite, Transaction};
use uuid::Uuid;

use super::query::query;
use crate::{
    Accounts, Alerts, ApiKeys, Audit, AuditChain, Changes, Error, Files, Guessing, Identities, IncidentHolds,
    Incidents, IpRules, LegalHolds, ModelSources, Models, Notices, OneTimeTokens, Outbox, PersonalData,
    Quotas, RateLimits, Replicas, Result, Roles, Sealed, SecondFactors, Secrets, ServiceAccounts, Sessions,
    Settings, SigningKeys, Usage, Users,
};

/// The engine a transaction belongs to.
pub(crate) enum Engine {
    Postgres(Transaction<'static, Postgres>),
    Sqlite(Transaction<'static, Sqlite>),
}

/// A transaction. Dropped without a [`Tx::commit`] it leaves nothing behind; after a statement that failed it
/// can only be dropped.
pub struct Tx {
    engine: Engine,
    now: DateTime<Utc>,
    counter: Arc<AtomicU64>,
    statements: u64,
    failed: bool,
}

impl Tx {
    pub(super) fn new(engine: Engine, now: DateTime<Utc>, counter: Arc<AtomicU64>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self { engine, now, counter, statements: 0, failed: false }
    }

    /// Makes everything that was done in it durable. [`Error::Unavailable`] leaves open whether it was.
    pub async fn commit(self) -> Result<()> {
        // Postgres would roll back and say nothing; SQLite would keep the half that worked.
        if self.failed {
            return Err(Error::Refused("a transaction cannot be committed after a failure"));
        }
        match self.engine {
            Engine::Postgres(transaction) => transaction.commit().await?,
            Engine::Sqlite(transaction) => transaction.commit().await?,
        }
        Ok(())
    }

    /// The moment this transaction began, by the store's clock: all it writes carries the same time.
    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }

    pub(crate) fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// A transaction counts one from its beginning, which its first statement is.
    pub(crate) fn count_statement(&mut self) {
        if self.statements > 0 {
            self.counter.fetch_add(1, Ordering::Relaxed);
        }
        self.statements += 1;
    }

    /// Notes that a statement failed, and why.
    pub(crate) fn failed(&mut self, error: sqlx::Error) -> Error {
        self.failed = true;
        error.into()
    }

    /// Waits until no other transaction holds the lock of this name, and holds it until the end of this one.
    /// A row serves as the lock because both engines have rows.
    pub(crate) async fn lock(&mut self, name: &str) -> Result<()> {
        query!(
            self,
            execute,
            "INSERT INTO locks (name) VALUES ($1) ON CONFLICT (name) DO UPDATE SET name = excluded.name",
            name
        )?;
        Ok(())
    }
}

impl Tx {
    /// Everything about one account, the newest `most` of each kind.
    pub fn personal_data(&mut self, account: Uuid, most: i64) -> PersonalData<'_> {
        PersonalData { tx: self, account, most }
    }
}

macro_rules! repositories {
    ($($(#[$meta:meta])* $accessor:ident: $repository:ident,)+) => {
        impl Tx {
            $($(#[$meta])* pub fn $accessor(&mut self) -> $repository<'_> { $repository { tx: self } })+
        }
    };
}

repositories! {
    /// Who may act: the part of people, service accounts and teams that every request asks for.
    accounts: Accounts,
    /// People and their credentials.
    users: Users,
    /// Accounts of programs.
    service_accounts: ServiceAccounts,
    /// Roles and the permissions they carry.
    roles: Roles,
    /// Attempts to guess passwords.
    guessing: Guessing,
    /// People whom another issuer vouches for.
    identities: Identities,
    /// Stored files.
    files: Files,
    /// Which addresses are let in.
    ip_rules: IpRules,
    /// Sessions, each a family of refresh tokens.
    sessions: Sessions,
    /// Keys that sign access tokens.
    signing_keys: SigningKeys,
    /// API keys and their secrets.
    api_keys: ApiKeys,
    /// The desired state of models.
    models: Models,
    /// Where versions come from.
    model_sources: ModelSources,
    /// What was used.
    usage: Usage,
    /// How much may be used, and what was taken of it.
    quotas: Quotas,
    /// Rate limits set at run time.
    rate_limits: RateLimits,
    /// What was done by whom.
    audit: Audit,
    /// Accounts of which nothing may be removed.
    legal_holds: LegalHolds,
    /// The chain over that.
    audit_chain: AuditChain,
    /// The change feed.
    changes: Changes,
    /// Settings that change while the program runs.
    settings: Settings,
    /// Who else runs on this database.
    replicas: Replicas,
    /// Secrets that the program made for itself.
    secrets: Secrets,
    /// Sealed values wherever they stand, for sealing them anew.
    sealed: Sealed,
    /// What people have besides their password.
    second_factors: SecondFactors,
    /// Tokens that are good once.
    one_time_tokens: OneTimeTokens,
    /// Notices to people about their own accounts.
    notices: Notices,
    /// Mails on their way.
    outbox: Outbox,
    /// What went wrong.
    incidents: Incidents,
    /// What answers to that hold.
    incident_holds: IncidentHolds,
    /// Alerts on their way.
    alerts: Alerts,
}
