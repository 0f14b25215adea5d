//! Postgres: its connections, its migrations, the role that the program works as there, and how a transaction begins.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, Postgres, Transaction};

use super::{Scope, Service, tolerant};
use crate::{Error, Result};

/// Longest wait for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest a statement may run, and a transaction may idle, in milliseconds.
const STATEMENT_TIMEOUT_MS: u32 = 10_000;
/// "Permission denied" and "role does not exist" (appendix A of the manual), the answers to `SET ROLE`.
const ROLE_REFUSED: [&str; 2] = ["42501", "22023"];

/// Privileges of a Postgres role that defeat row-level security, in words that follow its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExcessPrivileges {
    /// That of `modelgate_app`, the role that every transaction works as.
    pub role: Option<String>,
    /// That of the login in the address, which a transaction could go back to.
    pub login: Option<String>,
}

/// How a connection to a Postgres address is protected on its way. None: the address cannot be read.
pub(super) fn is_protected(url: &SecretString) -> Option<bool> {
    let options: PgConnectOptions = url.expose_secret().parse().ok()?;
    let is_socket = options.get_socket().is_some() || options.get_host().starts_with('/');
    Some(is_socket || matches!(options.get_ssl_mode(), PgSslMode::VerifyFull))
}

/// Opens connections for the program's work, as a login that may take the role.
pub(super) async fn connect(url: &SecretString, max_connections: u32) -> Result<PgPool> {
    let pool = open(url, max_connections).await?;
    match begin_as_role(&pool, "READ ONLY", Scope::Service(Service::Setup)).await {
        Ok(_) => Ok(pool),
        Err(sqlx::Error::Database(refused))
            if refused.code().is_some_and(|code| ROLE_REFUSED.contains(&&*code)) =>
        {
            Err(Error::Refused(
                "the login cannot work as the role modelgate_app; let an administrator of the server GRANT modelgate_app TO it",
            ))
        }
        Err(error) => Err(error.into()),
    }
}

async fn open(url: &SecretString, max_connections: u32) -> Result<PgPool> {
    let options: PgConnectOptions = url.expose_secret().parse()?;
    let options = options.application_name("modelgate");
    let pool = PgPoolOptions::new().max_connections(max_connections.max(1)).acquire_timeout(ACQUIRE_TIMEOUT);
    match pool.connect_with(options.clone()).await {
        Ok(pool) => Ok(pool),
        // It has tried again and again and keeps the reason to itself.
        Err(timeout @ sqlx::Error::PoolTimedOut) => {
            let attempt = tokio::time::timeout(ACQUIRE_TIMEOUT, PgConnection::connect_with(&options));
            Err(attempt.await.ok().and_then(std::result::Result::err).unwrap_or(timeout).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Brings the schema up to date, as its owner. Where it is up to date nobody need be its owner.
pub(super) async fn migrate(url: &SecretString) -> Result<()> {
    let pool = open(url, 1).await?;
    let migrations = tolerant(sqlx::migrate!("../../migrations/postgres"));
    let done = bring_up_to_date(&pool, &migrations).await;
    pool.close().await;
    done
}

async fn bring_up_to_date(pool: &PgPool, migrations: &Migrator) -> Result<()> {
    let mut connection = pool.acquire().await?;
    if is_up_to_date(&mut connection, migrations).await? {
        return Ok(());
    }
    // Row-level security is forced: without a scope even an owner would change no row, and without an error.
    sqlx::query("SET modelgate.service = 'migration'").execute(&mut *connection).await?;
    Ok(migrations.run(&mut *connection).await?)
}

async fn is_up_to_date(connection: &mut PgConnection, migrations: &Migrator) -> Result<bool> {
    let begun = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";
    if !sqlx::query_scalar::<_, bool>(begun).fetch_one(&mut *connection).await? {
        return Ok(false);
    }
    let run: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations WHERE success")
            .fetch_all(connection)
            .await?;
    Ok(migrations.iter().all(|known| {
        run.iter().any(|(version, checksum)| *version == known.version && **checksum == *known.checksum)
    }))
}

/// Begins in a task of its own, which ends whether or not the caller still waits: given up half-way, the transaction
/// would stay open on its connection, and the next user of that connection would fail.
pub(super) async fn begin(
    pool: &PgPool,
    mode: &'static str,
    scope: Scope,
) -> Result<Transaction<'static, Postgres>> {
    let pool = pool.clone();
    let begun = tokio::spawn(async move { begin_as_role(&pool, mode, scope).await });
    Ok(begun.await.map_err(Error::unavailable)??)
}

/// All of it in one trip. Role and settings are local to the transaction: they cannot leak to the next one on the same
/// connection, whoever pools it. The scope is an id and a fixed word: nothing to quote.
async fn begin_as_role(
    pool: &PgPool,
    mode: &str,
    scope: Scope,
) -> std::result::Result<Transaction<'static, Postgres>, sqlx::Error> {
    let (account, service) = match scope {
        Scope::Account(id) => (id.to_string(), ""),
        Scope::Service(service) => (String::new(), service.name()),
    };
    let statements = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED {mode}; \
         SET LOCAL ROLE modelgate_app; \
         SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS}; \
         SET LOCAL idle_in_transaction_session_timeout = {STATEMENT_TIMEOUT_MS}; \
         SELECT set_config('modelgate.account_id', '{account}', true), \
         set_config('modelgate.service', '{service}', true)"
    );
    pool.begin_with(AssertSqlSafe(statements)).await
}

/// What the role and the login may do that they should not.
pub(super) async fn excess(pool: &PgPool) -> Result<ExcessPrivileges> {
    let mut transaction = begin(pool, "READ ONLY", Scope::Service(Service::Setup)).await?;
    let rows: Vec<(bool, Option<String>)> = sqlx::query_as(
        "SELECT rolname = session_user, \
         CASE WHEN rolsuper THEN 'is a superuser' \
         WHEN rolbypassrls THEN 'bypasses row-level security' \
         WHEN EXISTS (SELECT FROM pg_class WHERE relnamespace = current_schema()::regnamespace \
         AND pg_has_role(pg_roles.oid, relowner, 'MEMBER')) THEN 'owns tables' END \
         FROM pg_roles WHERE rolname IN (session_user, 'modelgate_app')",
    )
    .fetch_all(&mut *transaction)
    .await?;
    let of = |login: bool| rows.iter().find(|row| row.0 == login).and_then(|row| row.1.clone());
    Ok(ExcessPrivileges { role: of(false), login: of(true) })
}
