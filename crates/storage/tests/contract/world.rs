//! A fresh store of each engine for every test, and people to put into it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use storage::{
    Clock, Durable, Ephemeral, EphemeralConfig, NewSession, NewUser, Page, PageRequest, Scope, Service,
    Store, Tx, User,
};
use tempfile::TempDir;
use uuid::Uuid;

/// Declares tests that run on both durable engines.
macro_rules! on_both_stores {
    ($(async fn $name:ident($world:ident) $body:block)+) => { $(
        async fn $name($world: &$crate::world::World) $body
        mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn postgres() {
                let world = $crate::world::World::postgres().await;
                super::$name(&world).await;
                world.end().await;
            }
            #[tokio::test(flavor = "multi_thread")]
            async fn sqlite() {
                let world = $crate::world::World::sqlite().await;
                super::$name(&world).await;
                world.end().await;
            }
        }
    )+ };
}

/// Declares tests that run on both ephemeral engines.
macro_rules! on_both_ephemerals {
    ($(async fn $name:ident($room:ident) $body:block)+) => { $(
        async fn $name($room: &$crate::world::Room) $body
        mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn redis() {
                super::$name(&$crate::world::Room::redis()).await;
            }
            #[tokio::test(flavor = "multi_thread")]
            async fn memory() {
                super::$name(&$crate::world::Room::memory()).await;
            }
        }
    )+ };
}

pub(crate) use {on_both_ephemerals, on_both_stores};

/// The scope of most tests.
pub(crate) const SERVICE: Scope = Scope::Service(Service::Administration);
const CONNECTIONS: u32 = 8;

static COUNTER: AtomicU64 = AtomicU64::new(1);

/// A number that no other test of any run has.
pub(crate) fn unique() -> String {
    format!("{}_{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// An id above every id before.
pub(crate) fn next_id() -> Uuid {
    Uuid::from_u128(u128::from(COUNTER.fetch_add(1, Ordering::Relaxed)))
}

fn required(variable: &str) -> String {
    match std::env::var(variable) {
        Ok(value) if !value.is_empty() => value,
        _ => panic!("{variable} is not set: run ./scripts/test, which starts what the tests need"),
    }
}

pub(crate) fn start_of_time() -> DateTime<Utc> {
    "2026-03-01T12:00:00.000001Z".parse().unwrap()
}

/// A store of its own, with its clock.
pub(crate) struct World {
    pub store: Store,
    pub clock: Clock,
    place: Place,
}

enum Place {
    Postgres { admin: String, name: String },
    Sqlite { folder: TempDir },
}

impl World {
    pub async fn postgres() -> Self {
        let admin = required("TEST_DATABASE_URL");
        let name = format!("contract_{}", unique());
        let mut connection = PgConnection::connect(&admin).await.unwrap();
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::query(create).execute(&mut connection).await.unwrap();
        Self::build(Place::Postgres { admin, name }).await
    }

    pub async fn sqlite() -> Self {
        Self::build(Place::Sqlite { folder: tempfile::tempdir().unwrap() }).await
    }

    async fn build(place: Place) -> Self {
        let clock = Clock::manual(start_of_time());
        Store::migrate(&place.durable()).await.unwrap();
        let store = Store::connect(place.durable(), clock.clone()).await.unwrap();
        let world = Self { store, clock, place };
        let mut tx = world.begin().await;
        tx.roles().sync_built_in(&[("user", &["models:read"]), ("admin", &["users:manage"])]).await.unwrap();
        tx.commit().await.unwrap();
        world
    }

    pub fn durable(&self) -> Durable {
        self.place.durable()
    }

    pub async fn begin(&self) -> Tx {
        self.store.begin(SERVICE).await.unwrap()
    }

    pub async fn begin_as(&self, service: Service) -> Tx {
        self.store.begin(Scope::Service(service)).await.unwrap()
    }

    pub async fn read(&self) -> Tx {
        self.store.read(SERVICE).await.unwrap()
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub fn in_hours(&self, hours: i64) -> DateTime<Utc> {
        self.now() + chrono::TimeDelta::hours(hours)
    }

    /// A session of an account, from nowhere in particular, that ends in an hour unless it is used and in three anyway.
    pub fn new_session(&self, account_id: Uuid) -> NewSession {
        NewSession {
            id: next_id(),
            account_id,
            family_key: b"old".to_vec(),
            address: None,
            network: None,
            user_agent: None,
            authenticated_at: self.now(),
            methods: "password".into(),
            idle_expires_at: self.in_hours(1),
            expires_at: self.in_hours(3),
        }
    }

    pub async fn person(&self, name: &str, role: &str) -> User {
        let mut tx = self.begin().await;
        let user = tx.users().create(&new_user(name, role)).await.unwrap();
        tx.commit().await.unwrap();
        user
    }

    /// Runs SQL behind the store's back.
    pub async fn raw(&self, sql: &str) -> Result<u64, sqlx::Error> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match &self.place {
            Place::Postgres { .. } => {
                let mut connection = PgConnection::connect(&self.place.url()).await?;
                sql.execute(&mut connection).await.map(|done| done.rows_affected())
            }
            Place::Sqlite { .. } => {
                let mut connection = SqliteConnection::connect(&self.place.url()).await?;
                sql.execute(&mut connection).await.map(|done| done.rows_affected())
            }
        }
    }

    /// A connection behind the store's back, as the tests' superuser.
    pub async fn postgres_connection(&self) -> PgConnection {
        PgConnection::connect(&self.place.url()).await.unwrap()
    }

    /// The address of this Postgres database for another login.
    pub fn url_as(&self, login: &str) -> String {
        self.place.url().replacen("//postgres@", &format!("//{login}@"), 1)
    }

    pub async fn end(self) {
        self.store.close().await;
        if let Place::Postgres { admin, name } = &self.place {
            let mut connection = PgConnection::connect(admin).await.unwrap();
            let drop = AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"));
            sqlx::query(drop).execute(&mut connection).await.unwrap();
        }
    }
}

impl Place {
    fn durable(&self) -> Durable {
        match self {
            Self::Postgres { .. } => {
                Durable::Postgres { url: self.url().into(), max_connections: CONNECTIONS }
            }
            Self::Sqlite { .. } => Durable::Sqlite { path: self.url().into() },
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Postgres { admin, name } => {
                let (address, options) = admin.split_once('?').unwrap_or((admin, ""));
                let (server, _) = address.rsplit_once('/').unwrap();
                format!("{server}/{name}?{options}")
            }
            Self::Sqlite { folder } => {
                let path: PathBuf = folder.path().join("deep/modelgate.db");
                path.to_str().unwrap().to_owned()
            }
        }
    }
}

pub(crate) fn new_user(name: &str, role: &str) -> NewUser {
    let email = format!("{name}@example.org");
    NewUser {
        id: next_id(),
        email_lookup: email.to_lowercase(),
        email: email.into_bytes(),
        name: name.into(),
        role: role.to_owned(),
    }
}

pub(crate) fn page_after<T>(limit: u32, page: &Page<T>) -> PageRequest {
    let cursor = page.next_cursor.as_deref().map(|text| storage::Cursor::parse(text).unwrap());
    PageRequest { limit, cursor }
}

/// An ephemeral store, with its clock and keys of its own.
pub(crate) struct Room {
    pub store: Ephemeral,
    pub clock: Clock,
    name: String,
}

impl Room {
    pub fn redis() -> Self {
        let url = required("TEST_REDIS_URL").into();
        Self::build(EphemeralConfig::Redis { url, timeout: Duration::from_secs(5) })
    }

    pub fn memory() -> Self {
        Self::build(EphemeralConfig::Memory { max_entries: 10_000 })
    }

    fn build(config: EphemeralConfig) -> Self {
        let clock = Clock::manual(start_of_time());
        let store = Ephemeral::connect(config, clock.clone()).unwrap();
        // The moment is part of the name, because a server may outlive a run and process ids come again.
        let moment = Clock::system().now().timestamp_micros();
        Self { store, clock, name: format!("{moment}:{}", unique()) }
    }

    pub fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.name)
    }
}

/// The address of the Redis server under test.
pub(crate) fn redis_url() -> String {
    required("TEST_REDIS_URL")
}
