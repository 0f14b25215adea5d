//! What a server's replicas share: stores, data directory, clock, and the secrets that a test knows.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use super::process::{self, Finished, Settings};
use super::secrets::Secrets;
use super::server::{METRICS_TOKEN, Server};
use super::services::{OwnDatabase, own_redis_database};
use super::workspace;

/// Which engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pair {
    /// SQLite and memory.
    Embedded,
    /// Postgres and Redis.
    Shared,
}

/// Limits and detectors are off unless a test asks for them.
const SETTINGS: [(&str, &str); 21] = [
    ("APP_ENV", "development"),
    ("PORT", "0"),
    ("LOG_LEVEL", "info"),
    ("WORKERS", "2"),
    ("DATABASE_MAX_CONNECTIONS", "5"),
    // A busy machine must not look like an outage.
    ("REDIS_TIMEOUT_MS", "2000"),
    ("METRICS_TOKEN", METRICS_TOKEN),
    ("GUARD_PER_SECOND", "0"),
    ("RATE_LIMIT_PER_MINUTE", "0"),
    ("RATE_LIMIT_INFER_PER_MINUTE", "0"),
    ("RATE_LIMIT_READ_PER_MINUTE", "0"),
    ("RATE_LIMIT_PER_HOUR", "0"),
    ("RATE_LIMIT_LOGIN_PER_MINUTE", "0"),
    ("RATE_LIMIT_REGISTER_PER_MINUTE", "0"),
    ("RATE_LIMIT_MAIL_PER_HOUR", "0"),
    ("DETECT_REQUESTS", "0"),
    ("DETECT_UPLOADS", "0"),
    ("DETECT_ATTACKS", "0"),
    ("DETECT_SLOW", "0"),
    ("DETECT_KEY_NETWORKS", "0"),
    ("DETECT_SESSION_MOVES", "0"),
];

/// Where the tests remember which models passed their trial.
fn trials() -> PathBuf {
    workspace().join("target/trials-of-tests")
}

/// Stores of a test's own, on which any number of servers can start.
#[derive(Debug)]
pub struct World {
    settings: Settings,
    /// Seconds.
    clock: Mutex<f64>,
    folder: TempDir,
    database: Option<OwnDatabase>,
    pub(super) secrets: Secrets,
}

/// What `modelgate migrate` made of empty stores, once for all tests: a copy of them is ready sooner than what each test
/// migrates.
fn migrated(pair: Pair) -> &'static World {
    static MIGRATED: [OnceLock<Arc<World>>; 2] = [const { OnceLock::new() }; 2];
    MIGRATED[usize::from(pair == Pair::Shared)].get_or_init(|| {
        let world = World::empty(pair);
        let finished = world.run(&["migrate"], &[], "");
        assert_eq!(finished.code, Some(0), "{finished:?}");
        world
    })
}

impl World {
    /// Stores in which nothing is yet but the tables of the database.
    pub fn new(pair: Pair) -> Arc<Self> {
        let migrated = migrated(pair);
        let world = Self::on(migrated.database.as_ref().map(OwnDatabase::copy));
        if pair == Pair::Embedded {
            let data = world.folder.path().join("data");
            DirBuilder::new().mode(0o700).create(data).expect("a data folder");
            let file = |world: &Self| world.folder.path().join("data/modelgate.db");
            std::fs::copy(file(migrated), file(&world)).expect("a copy of the database");
        }
        world
    }

    /// Stores without tables: what is started first makes them.
    pub fn empty(pair: Pair) -> Arc<Self> {
        Self::on((pair == Pair::Shared).then(OwnDatabase::create))
    }

    fn on(database: Option<OwnDatabase>) -> Arc<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings: Settings = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let mut set = |name: &str, value: &Path| settings.insert(name.into(), value.display().to_string());
        set("MODEL_DIR", &workspace().join("models"));
        set("DATA_DIR", &folder.path().join("data"));
        // Tried once by all tests together: what a model is worth does not change between them.
        set("MODEL_TRIAL_DIR", &trials());
        set("TEST_CLOCK", &folder.path().join("clock"));
        if let Some(database) = &database {
            settings.insert("DATABASE_URL".into(), database.url.clone());
            settings.insert("REDIS_URL".into(), own_redis_database());
        }
        let secrets = Secrets::default();
        secrets.remember(METRICS_TOKEN);
        Arc::new(Self { settings, clock: Mutex::default(), folder, database, secrets })
    }

    /// Starts a server on these stores; later settings win, an empty value unsets one.
    #[track_caller]
    pub fn start(self: &Arc<Self>, settings: &[(&str, &str)]) -> Server {
        Server::spawn(self, self.settings(settings))
            .unwrap_or_else(|log| panic!("the server does not start:\n{log}"))
    }

    /// Runs a command to its end: one of the command line, or a `serve` that is refused.
    #[track_caller]
    pub fn run(&self, arguments: &[&str], settings: &[(&str, &str)], input: &str) -> Finished {
        process::run(process::command(arguments, &self.settings(settings), self.folder.path()), input)
    }

    /// Runs a command whose output goes into a file; its exit code.
    pub fn run_into(&self, arguments: &[&str], file: File) -> Option<i32> {
        let mut command = process::command(arguments, &self.settings(&[]), self.folder.path());
        command.stdin(Stdio::null()).stdout(file).stderr(Stdio::null());
        command.status().expect("the program starts").code()
    }

    /// Moves the clock of every server here.
    pub fn advance(&self, by: Duration) {
        self.turn(by.as_secs_f64());
    }

    /// Moves it back, as when a machine's clock is set right.
    pub fn turn_back(&self, by: Duration) {
        self.turn(-by.as_secs_f64());
    }

    fn turn(&self, seconds: f64) {
        let mut offset = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        *offset += seconds;
        // Renamed into place: a server must not read half a number.
        let (new, file) = (self.folder.path().join("clock.new"), self.folder.path().join("clock"));
        std::fs::write(&new, offset.to_string()).expect("the clock's file");
        std::fs::rename(new, file).expect("the clock's file");
    }

    /// What its servers take the time for, since 1970.
    #[expect(clippy::disallowed_methods, reason = "their clock is the machine's, moved")]
    pub fn now(&self) -> Duration {
        let offset = *self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
        Duration::from_secs_f64(now.as_secs_f64() + offset)
    }

    /// Takes one more text for a secret, which no log may tell.
    pub fn remember(&self, secret: &str) {
        self.secrets.remember(secret);
    }

    /// A folder that goes with this world.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// The address of the Postgres database, where there is one.
    pub fn database_url(&self) -> Option<&str> {
        self.database.as_ref().map(|database| database.url.as_str())
    }

    /// The address of its Redis database, where there is one.
    pub fn redis_url(&self) -> Option<&str> {
        self.settings.get("REDIS_URL").map(String::as_str)
    }

    fn settings(&self, settings: &[(&str, &str)]) -> Settings {
        let mut all = self.settings.clone();
        all.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        all
    }
}
