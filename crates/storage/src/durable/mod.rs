//! The durable store: which engine, its pools, and the beginning of every unit of work.

mod postgres;
mod query;
mod sqlite;
mod tx;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use secrecy::SecretString;
use sqlx::migrate::Migrator;
use sqlx::{PgPool, SqlitePool};
use uuid::Uuid;

pub use postgres::ExcessPrivileges;
pub(crate) use query::query;
pub(crate) use tx::Engine;
pub use tx::Tx;

use crate::{Clock, Result, named_enum};

/// Where durable state lives.
#[derive(Clone, Debug)]
pub enum Durable {
    /// A Postgres server.
    Postgres {
        /// `postgres://user:password@host/database?…`; never shown.
        url: SecretString,
        /// The most connections this process opens.
        max_connections: u32,
    },
    /// A file of this machine, for one replica.
    Sqlite {
        /// The database file; it is created, readable by its owner only, where it is missing.
        path: PathBuf,
    },
}

impl Durable {
    /// Whether what is sent there stays on this machine, or goes to a server whose certificate and name are verified.
    /// None: the address cannot be read.
    pub fn is_protected(&self) -> Option<bool> {
        match self {
            Self::Postgres { url, .. } => postgres::is_protected(url),
            Self::Sqlite { .. } => Some(true),
        }
    }
}

/// On whose behalf a transaction works. On Postgres row-level security keeps it to the rows of that scope
/// (`migrations/postgres/0004_row_security.sql`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One account, for what is its own.
    Account(Uuid),
    /// A part of the program that works across accounts.
    Service(Service),
}

named_enum! {
    /// The parts of the program that work across accounts.
    pub enum Service {
        /// Looking up who logs in.
        Login = "login",
        /// Checking and renewing tokens.
        Token = "token",
        /// Checking API keys.
        ApiKey = "api_key",
        /// What administrators do.
        Administration = "administration",
        /// Starting the program. Background.
        Setup = "setup",
        /// What keeps a replica up to date: following changes, models, limits and rules, and sweeping files. The
        /// policies of the database know it as `feed`. Background.
        Upkeep = "feed",
        /// Removing what was kept long enough. Background.
        Retention = "retention",
        /// Writing usage. Background.
        Metering = "metering",
        /// Reserving of quotas for callers.
        Quota = "quota",
        /// Writing and linking audit events outside a request. Background.
        Audit = "audit",
        /// Looking up models.
        Models = "models",
        /// Sealing values anew under another key. Background.
        Sealing = "sealing",
        /// Sending mail. Background.
        Mail = "mail",
    }
}

impl Service {
    fn is_background(self) -> bool {
        matches!(
            self,
            Self::Setup
                | Self::Upkeep
                | Self::Retention
                | Self::Metering
                | Self::Audit
                | Self::Sealing
                | Self::Mail
        )
    }
}

/// Statements run since the store was connected. A transaction counts at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryCounts {
    /// Those that somebody waited for.
    pub request: u64,
    /// Those of the background services.
    pub background: u64,
}

/// Connections to the durable store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// Those that somebody works with.
    pub used: u32,
    /// Those that wait for work.
    pub idle: u32,
}

/// The durable store. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Store(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pools: Pools,
    clock: Clock,
    request: Arc<AtomicU64>,
    background: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Pools {
    Postgres(PgPool),
    /// One writer, because SQLite has one, and readers that it does not hold up.
    Sqlite {
        writer: SqlitePool,
        readers: SqlitePool,
    },
}

impl Store {
    /// Opens a store that was migrated (see [`Store::migrate`]), and checks that it answers.
    ///
    /// # Errors
    /// [`crate::Error::Refused`] for an address or a path that cannot be used, and for a Postgres login that is no
    /// member of the program's role; [`crate::Error::Unavailable`] when nothing answers.
    pub async fn connect(durable: Durable, clock: Clock) -> Result<Self> {
        let pools = match durable {
            Durable::Postgres { url, max_connections } => {
                Pools::Postgres(postgres::connect(&url, max_connections).await?)
            }
            Durable::Sqlite { path } => {
                let (writer, readers) = sqlite::connect(&path).await?;
                Pools::Sqlite { writer, readers }
            }
        };
        Ok(Self(Arc::new(Shared { pools, clock, request: Arc::default(), background: Arc::default() })))
    }

    /// Brings the schema up to date, on connections of its own. A schema newer than this program is left alone, so that
    /// old and new replicas run side by side.
    pub async fn migrate(durable: &Durable) -> Result<()> {
        match durable {
            Durable::Postgres { url, .. } => postgres::migrate(url).await,
            Durable::Sqlite { path } => sqlite::migrate(path).await,
        }
    }

    /// What the role and the login on Postgres may do that would undo row-level security; nothing on SQLite.
    pub async fn excess(&self) -> Result<ExcessPrivileges> {
        match &self.0.pools {
            Pools::Postgres(pool) => postgres::excess(pool).await,
            Pools::Sqlite { .. } => Ok(ExcessPrivileges::default()),
        }
    }

    /// The clock that dates everything this store writes.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Whether this is the engine that several replicas can share.
    pub fn is_postgres(&self) -> bool {
        matches!(self.0.pools, Pools::Postgres(_))
    }

    /// Asks the store for a sign of life.
    pub async fn ping(&self) -> Result<()> {
        match &self.0.pools {
            Pools::Postgres(pool) => sqlx::query("SELECT 1").execute(pool).await.map(drop)?,
            Pools::Sqlite { readers, .. } => sqlx::query("SELECT 1").execute(readers).await.map(drop)?,
        }
        Ok(())
    }

    /// Begins a unit of work that may write. On SQLite it is the only one until it ends.
    pub async fn begin(&self, scope: Scope) -> Result<Tx> {
        let engine = match &self.0.pools {
            Pools::Postgres(pool) => Engine::Postgres(postgres::begin(pool, "READ WRITE", scope).await?),
            // IMMEDIATE takes the write lock at once: a transaction that reads first and writes later could
            // otherwise be refused half-way, whatever the busy timeout.
            Pools::Sqlite { writer, .. } => Engine::Sqlite(writer.begin_with("BEGIN IMMEDIATE").await?),
        };
        Ok(self.transaction(engine, scope))
    }

    /// Begins a unit of work that only reads; it waits for no writer.
    pub async fn read(&self, scope: Scope) -> Result<Tx> {
        let engine = match &self.0.pools {
            Pools::Postgres(pool) => Engine::Postgres(postgres::begin(pool, "READ ONLY", scope).await?),
            Pools::Sqlite { readers, .. } => Engine::Sqlite(readers.begin().await?),
        };
        Ok(self.transaction(engine, scope))
    }

    /// How many statements were run so far.
    pub fn queries(&self) -> QueryCounts {
        QueryCounts {
            request: self.0.request.load(Ordering::Relaxed),
            background: self.0.background.load(Ordering::Relaxed),
        }
    }

    /// The connections that are open.
    pub fn connections(&self) -> Connections {
        // sqlx counts one that is taken the moment it comes back before it counts it back, and is below zero then.
        let not_below_zero = |idle| u32::try_from(idle).unwrap_or(0);
        let (open, idle) = match &self.0.pools {
            Pools::Postgres(pool) => (pool.size(), not_below_zero(pool.num_idle())),
            Pools::Sqlite { writer, readers } => (
                writer.size() + readers.size(),
                not_below_zero(writer.num_idle()) + not_below_zero(readers.num_idle()),
            ),
        };
        // Read one after the other while they come and go.
        let idle = idle.min(open);
        Connections { used: open - idle, idle }
    }

    /// Empties SQLite's write-ahead log into its database file, so that what was erased is in neither; where somebody
    /// reads for long it stays until the next time. Postgres looks after its own.
    pub async fn empty_log(&self) -> Result<()> {
        match &self.0.pools {
            Pools::Postgres(_) => Ok(()),
            Pools::Sqlite { writer, .. } => {
                Ok(sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(writer).await.map(drop)?)
            }
        }
    }

    /// Ends every connection once it is idle; later work is refused as unavailable.
    pub async fn close(&self) {
        match &self.0.pools {
            Pools::Postgres(pool) => pool.close().await,
            Pools::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
        }
    }

    fn transaction(&self, engine: Engine, scope: Scope) -> Tx {
        let background = matches!(scope, Scope::Service(service) if service.is_background());
        let counter = if background { &self.0.background } else { &self.0.request };
        Tx::new(engine, self.0.clock.now(), Arc::clone(counter))
    }
}

/// Leaves what a newer program added alone.
fn tolerant(mut migrations: Migrator) -> Migrator {
    migrations.set_ignore_missing(true);
    migrations
}
