//! SQLite: a file with one writing connection, readers beside it, and its migrations.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::tolerant;
use crate::{Error, Result};

/// Longest wait for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for another process that writes to the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that read side by side.
const READERS: u32 = 4;
/// Attempts to migrate: there is no lock between processes, so the loser of a race tries again and finds the work done.
const MIGRATION_ATTEMPTS: u32 = 3;

/// Opens the one writer and the readers.
pub(super) async fn connect(path: &Path) -> Result<(SqlitePool, SqlitePool)> {
    let options = options(path)?;
    let writer = pool(1).connect_with(options.clone()).await?;
    let readers = pool(READERS).connect_with(options.pragma("query_only", "ON")).await?;
    Ok((writer, readers))
}

/// Brings the schema up to date.
pub(super) async fn migrate(path: &Path) -> Result<()> {
    let writer = pool(1).connect_with(options(path)?).await?;
    let migrations = tolerant(sqlx::migrate!("../../migrations/sqlite"));
    let mut attempt = 1;
    while let Err(error) = migrations.run(&writer).await {
        if attempt == MIGRATION_ATTEMPTS {
            return Err(error.into());
        }
        attempt += 1;
    }
    writer.close().await;
    Ok(())
}

fn options(path: &Path) -> Result<SqliteConnectOptions> {
    create_private(path).map_err(Error::unavailable)?;
    Ok(SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        // NORMAL could lose the last commits with the power: an acknowledged revocation would be undone.
        .synchronous(SqliteSynchronous::Full)
        // What was erased is overwritten, not merely unlinked.
        .pragma("secure_delete", "ON")
        .busy_timeout(BUSY_TIMEOUT))
}

fn pool(size: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new().max_connections(size).acquire_timeout(ACQUIRE_TIMEOUT)
}

/// Creates the file for its owner only; SQLite gives its side files the same mode. One that is there is never opened
/// here: to close it would drop the locks that SQLite holds on it in this process (POSIX, `fcntl`), and the next
/// visitor, such as the command line, would remove the write-ahead log under a running server.
fn create_private(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}
