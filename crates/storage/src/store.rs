//! The durable store: which engine, its pools, and the beginning of every unit of work.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, SqlitePool};
use uuid::Uuid;

use crate::tx::{Engine, Tx};
use crate::{Clock, Error, Result};

/// Longest wait for a connection of a pool.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest a statement may run on Postgres, and a transaction may idle there, in milliseconds.
const STATEMENT_TIMEOUT_MS: u32 = 10_000;
/// Longest wait for another process that writes to the same SQLite file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that read from SQLite side by side.
const SQLITE_READERS: u32 = 4;
/// Attempts to migrate a SQLite file: there is no lock between processes, so the loser of a race tries again
/// and finds the work done.
const SQLITE_MIGRATION_ATTEMPTS: u32 = 3;

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

/// On whose behalf a transaction works. On Postgres both settings are visible to row-level-security policies
/// as `current_setting('modelgate.account_id')` and `current_setting('modelgate.service')`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One account, for what is its own.
    Account(Uuid),
    /// A part of the program that works across accounts.
    Service(Service),
}

/// The parts of the program that work across accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Looking up who logs in.
    Login,
    /// Checking and renewing tokens.
    Token,
    /// Checking API keys.
    ApiKey,
    /// What administrators do.
    Administration,
    /// Starting the program. Background.
    Setup,
    /// Following the change feed. Background.
    Feed,
    /// Writing usage. Background.
    Metering,
    /// Writing and linking audit events outside a request. Background.
    Audit,
    /// Looking up models.
    Models,
    /// Sealing values anew under another key. Background.
    Sealing,
    /// Sending mail. Background.
    Mail,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Token => "token",
            Self::ApiKey => "api_key",
            Self::Administration => "administration",
            Self::Setup => "setup",
            Self::Feed => "feed",
            Self::Metering => "metering",
            Self::Audit => "audit",
            Self::Models => "models",
            Self::Sealing => "sealing",
            Self::Mail => "mail",
        }
    }

    fn is_background(self) -> bool {
        matches!(self, Self::Setup | Self::Feed | Self::Metering | Self::Audit | Self::Sealing | Self::Mail)
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
    /// Opens the store and checks that it answers. The schema is left as it is: see [`Store::migrate`].
    ///
    /// # Errors
    /// [`Error::Refused`] for an address or a path that cannot be used, [`Error::Unavailable`] when nothing
    /// answers.
    pub async fn connect(durable: Durable, clock: Clock) -> Result<Self> {
        let pools = match durable {
            Durable::Postgres { url, max_connections } => Pools::postgres(&url, max_connections).await?,
            Durable::Sqlite { path } => Pools::sqlite(&path).await?,
        };
        Ok(Self(Arc::new(Shared { pools, clock, request: Arc::default(), background: Arc::default() })))
    }

    /// Brings the schema up to date. A schema newer than this program is left alone, so that old and new
    /// replicas run side by side.
    pub async fn migrate(&self) -> Result<()> {
        match &self.0.pools {
            Pools::Postgres(pool) => tolerant(sqlx::migrate!("../../migrations/postgres")).run(pool).await?,
            Pools::Sqlite { writer, .. } => {
                let migrations = tolerant(sqlx::migrate!("../../migrations/sqlite"));
                let mut attempt = 1;
                while let Err(error) = migrations.run(writer).await {
                    if attempt == SQLITE_MIGRATION_ATTEMPTS {
                        return Err(error.into());
                    }
                    attempt += 1;
                }
            }
        }
        Ok(())
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
            Pools::Postgres(pool) => begin_postgres(pool, "READ WRITE", scope).await?,
            // IMMEDIATE takes the write lock at once: a transaction that reads first and writes later could
            // otherwise be refused half-way, whatever the busy timeout.
            Pools::Sqlite { writer, .. } => Engine::Sqlite(writer.begin_with("BEGIN IMMEDIATE").await?),
        };
        Ok(self.transaction(engine, scope))
    }

    /// Begins a unit of work that only reads; it waits for no writer.
    pub async fn read(&self, scope: Scope) -> Result<Tx> {
        let engine = match &self.0.pools {
            Pools::Postgres(pool) => begin_postgres(pool, "READ ONLY", scope).await?,
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

impl Pools {
    async fn postgres(url: &SecretString, max_connections: u32) -> Result<Self> {
        let options: PgConnectOptions = url.expose_secret().parse()?;
        let options = options.application_name("modelgate");
        let pool =
            PgPoolOptions::new().max_connections(max_connections.max(1)).acquire_timeout(ACQUIRE_TIMEOUT);
        match pool.connect_with(options.clone()).await {
            Ok(pool) => Ok(Self::Postgres(pool)),
            // It has tried again and again and keeps the reason to itself.
            Err(timeout @ sqlx::Error::PoolTimedOut) => {
                let attempt = tokio::time::timeout(ACQUIRE_TIMEOUT, PgConnection::connect_with(&options));
                Err(attempt.await.ok().and_then(std::result::Result::err).unwrap_or(timeout).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn sqlite(path: &Path) -> Result<Self> {
        create_private(path).map_err(Error::unavailable)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            // NORMAL could lose the last commits with the power: an acknowledged revocation would be undone.
            .synchronous(SqliteSynchronous::Full)
            // What was erased is overwritten, not merely unlinked.
            .pragma("secure_delete", "ON")
            .busy_timeout(BUSY_TIMEOUT);
        let pool = |size| SqlitePoolOptions::new().max_connections(size).acquire_timeout(ACQUIRE_TIMEOUT);
        let writer = pool(1).connect_with(options.clone()).await?;
        let readers = pool(SQLITE_READERS).connect_with(options.pragma("query_only", "ON")).await?;
        Ok(Self::Sqlite { writer, readers })
    }
}

/// Begins in a task of its own, which ends whether or not the caller still waits: given up half-way, the transaction
/// would stay open on its connection, and whoever gets that next would fail.
async fn begin_postgres(pool: &PgPool, mode: &str, scope: Scope) -> Result<Engine> {
    let (pool, statements) = (pool.clone(), postgres_begin(mode, scope));
    let begun = tokio::spawn(async move { pool.begin_with(statements).await });
    Ok(Engine::Postgres(begun.await.map_err(Error::unavailable)??))
}

/// The statements that begin a transaction on Postgres, in one trip. A setting that is local to the
/// transaction cannot leak to the next one on the same connection. The scope is an id and a fixed word:
/// nothing to quote.
fn postgres_begin(mode: &str, scope: Scope) -> AssertSqlSafe<String> {
    let (account, service) = match scope {
        Scope::Account(id) => (id.to_string(), ""),
        Scope::Service(service) => (String::new(), service.name()),
    };
    AssertSqlSafe(format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED {mode}; \
         SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS}; \
         SET LOCAL idle_in_transaction_session_timeout = {STATEMENT_TIMEOUT_MS}; \
         SELECT set_config('modelgate.account_id', '{account}', true), \
         set_config('modelgate.service', '{service}', true)"
    ))
}

fn tolerant(mut migrations: Migrator) -> Migrator {
    migrations.set_ignore_missing(true);
    migrations
}

/// Creates the file for its owner only; SQLite gives its side files the same mode. One that is there is never opened here:
/// to close it would drop the locks that SQLite holds on it in this process (POSIX, `fcntl`), and the next visitor, such
/// as the command line, would remove the write-ahead log under a running server.
fn create_private(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}
