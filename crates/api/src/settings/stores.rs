//! The database and Redis.

use std::path::Path;

use clap::{Args, ValueEnum};
use secrecy::SecretString;
use storage::Durable;

use super::secret;

/// The embedded database, in `DATA_DIR`.
const SQLITE_FILE: &str = "modelgate.db";

/// How the connection to Postgres is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DatabaseTls {
    /// TLS with a verified certificate, unless the address is a Unix socket.
    Verify,
    /// None: an explicit choice for a private network.
    Disable,
}

/// The database and Redis.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Stores")]
#[group(skip)]
pub struct StoreSettings {
    /// postgres://user:password@host:5432/name; unset: SQLite in DATA_DIR.
    #[arg(long = "DATABASE_URL", value_parser = secret)]
    pub database_url: Option<SecretString>,
    /// The same for the database's owner, who runs the migrations; unset: DATABASE_URL.
    #[arg(long = "DATABASE_MIGRATION_URL", value_parser = secret)]
    pub database_migration_url: Option<SecretString>,
    /// Protection of the connection to Postgres.
    #[arg(long = "DATABASE_TLS", value_enum, default_value = "verify")]
    pub database_tls: DatabaseTls,
    /// Most connections to Postgres at a time.
    #[arg(long = "DATABASE_MAX_CONNECTIONS", default_value_t = 10)]
    pub database_max_connections: u32,
    /// redis://host:6379/0 or rediss://…; unset: in this process.
    #[arg(long = "REDIS_URL", value_parser = secret)]
    pub redis_url: Option<SecretString>,
    /// Milliseconds that a call to Redis may take.
    #[arg(long = "REDIS_TIMEOUT_MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub redis_timeout_ms: u64,
}

impl StoreSettings {
    /// Where the program works.
    pub fn durable(&self, data_dir: &Path) -> Durable {
        self.durable_at(self.database_url.as_ref(), data_dir)
    }

    /// The same place, as the one who migrates.
    pub fn durable_of_owner(&self, data_dir: &Path) -> Durable {
        self.durable_at(self.database_migration_url.as_ref().or(self.database_url.as_ref()), data_dir)
    }

    fn durable_at(&self, url: Option<&SecretString>, data_dir: &Path) -> Durable {
        match url {
            Some(url) => {
                Durable::Postgres { url: url.clone(), max_connections: self.database_max_connections }
            }
            None => Durable::Sqlite { path: data_dir.join(SQLITE_FILE) },
        }
    }
}
