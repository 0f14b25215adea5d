//! What it costs to know a caller again: a token and a key that were seen before, alone, with all their limits, and
//! with a quota besides; in memory and, where one is named, over Redis.

use std::cell::Cell;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use auth::{
    AlertSettings, AuditKey, AuditKeys, AuditSettings, Auth, AuthSettings, Credentials, DetectionSettings,
    EncryptionKey, EncryptionKeys, IncidentSettings, KeyOwner, KeyRequest, LimitClass, Limits, LoginStep,
    NewUserRequest, NoDocuments, Origin, PasswordHashing, Permission, PresentedCredential, QuotaPeriod,
    QuotaRequest, QuotaSubject, QuotaUnit, Role, SigningAlgorithm,
};
use chrono::Duration;
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use storage::{Clock, Durable, Ephemeral, EphemeralConfig, Store};

use crate::figures::quantile;

/// Calls timed together, so that reading the clock does not count.
const BATCH: u32 = 1000;
/// Keys that call in turns over Redis: so many that each is asked for every time (docs/decisions/0039).
const KEYS: usize = 1000;
/// Their calls timed together.
const TRIPS: u32 = 10;
/// A limit that is never reached and never off.
const HIGH: u32 = 1_000_000_000;
const PASSWORD: &str = "Correct-horse-9";

/// How much of it.
#[derive(Args)]
pub struct Options {
    /// Batches of a thousand calls, for each figure.
    #[arg(long, default_value_t = 300)]
    batches: usize,
    /// A Redis of one's own (`redis://127.0.0.1:6379/1`) to decide in, besides memory.
    #[arg(long)]
    redis: Option<SecretString>,
}

/// Microseconds a call, median and 99th percentile over batches: `authenticate` alone, and `enter`, which is that,
/// the permission and every limit; then with a quota of the account besides, of which each call takes one and gives
/// it back. Over Redis for one caller, and for many in turns, whose calls are a trip each.
pub async fn measure(options: Options) -> Result<Value, Box<dyn Error>> {
    let mut figures = serde_json::Map::new();
    let memory = EphemeralConfig::Memory { max_entries: 100_000 };
    figures.extend(measure_on(memory, "memory", options.batches).await?);
    if let Some(url) = options.redis {
        let redis = EphemeralConfig::Redis { url, timeout: std::time::Duration::from_secs(5) };
        figures.extend(measure_on(redis, "Redis", options.batches).await?);
    }
    Ok(Value::Object(figures))
}

async fn measure_on(
    config: EphemeralConfig,
    store: &str,
    batches: usize,
) -> Result<serde_json::Map<String, Value>, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let auth = start(folder.path(), config).await?;
    let (token, keys) = credentials(&auth).await?;
    let mut figures = serde_json::Map::new();
    let in_memory = store == "memory";
    for (name, credential) in [("token", token.expose_secret()), ("key", keys[0].expose_secret())] {
        if in_memory {
            let alone = time(batches, BATCH, async || auth.authenticate(credential).await.map(drop)).await?;
            figures.insert(format!("authenticate, {name}"), alone);
        }
        let figure = time(batches, BATCH, async || enter(&auth, credential).await).await?;
        figures.insert(format!("enter, {name}, {store}"), figure);
    }
    if !in_memory {
        let turn = Cell::new(0);
        let call = async || enter(&auth, keys[turn.replace((turn.get() + 1) % KEYS)].expose_secret()).await;
        time(KEYS, 1, call).await?;
        figures.insert(format!("enter, {KEYS} keys in turns, {store}"), time(batches, TRIPS, call).await?);
    }
    say_quota(&auth, token.expose_secret()).await?;
    let figure = time(batches, BATCH, async || enter(&auth, token.expose_secret()).await).await?;
    figures.insert(format!("enter with a quota, token, {store}"), figure);
    Ok(figures)
}

async fn enter(auth: &Auth, credential: &str) -> auth::Result<()> {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let permission = Some(Permission::ModelsInfer);
    let presented = PresentedCredential::Whole(credential);
    match auth.admit(&presented, address, permission, LimitClass::Infer, Some("digits")).await {
        Ok(_) => Ok(()),
        Err(refusal) => Err(refusal.error),
    }
}

/// A quota that is never used up, said by the administrator that the caller is.
async fn say_quota(auth: &Auth, token: &str) -> auth::Result<()> {
    let principal = auth.authenticate(token).await?;
    let (unit, period) = (QuotaUnit::Requests, QuotaPeriod::Month);
    let request = QuotaRequest { unit, period, cap: HIGH.into(), hard: true };
    let subject = QuotaSubject::Account(principal.account);
    auth.set_quota(&principal, &subject, &request, &Origin::default()).await
}

async fn time(batches: usize, batch: u32, call: impl AsyncFn() -> auth::Result<()>) -> auth::Result<Value> {
    let mut times = Vec::with_capacity(batches);
    for number in 0..=batches {
        let begun = Instant::now();
        for _ in 0..batch {
            call().await?;
        }
        // The first fills caches.
        if number > 0 {
            times.push(begun.elapsed() / batch);
        }
    }
    times.sort_unstable();
    Ok(json!({"p50 us": quantile(&times, 0.5), "p99 us": quantile(&times, 0.99)}))
}

async fn credentials(auth: &Auth) -> Result<(SecretString, Vec<SecretString>), Box<dyn Error>> {
    let (origin, password) = (Origin::default(), || SecretString::from(PASSWORD));
    let email = || "bench@example.com".to_owned();
    let wanted = NewUserRequest { email: email(), name: "Bench".to_owned(), password: password() };
    auth.create_user(wanted, Role::Admin, &origin).await?;
    let login = Credentials { email: email(), password: password(), held: None };
    let LoginStep::Opened(tokens) = auth.login(login, &origin).await? else {
        return Err("a second factor was asked for".into());
    };
    let principal = auth.authenticate(tokens.access_token.expose_secret()).await?;
    let wanted = || KeyRequest {
        require_signature: false,
        name: "bench".to_owned(),
        scopes: vec!["models:infer".to_owned()],
        models: None,
        allowed_ips: None,
        limits: None,
        expires_at: None,
    };
    let mut keys = Vec::with_capacity(KEYS);
    for _ in 0..KEYS {
        keys.push(auth.create_key(&principal, KeyOwner::Caller, wanted(), &origin).await?.text);
    }
    Ok((tokens.access_token, keys))
}

/// Identity and access on SQLite and this store, every limit high and none off.
async fn start(folder: &Path, config: EphemeralConfig) -> Result<Arc<Auth>, Box<dyn Error>> {
    let clock = Clock::system();
    let durable = Durable::Sqlite { path: folder.join("modelgate.db") };
    Store::migrate(&durable).await?;
    let store = Store::connect(durable, clock.clone()).await?;
    let ephemeral = Ephemeral::connect(config, clock)?;
    let auth = Auth::start(store, ephemeral, settings(folder)?).await?;
    auth.prepare_signing_keys().await?;
    Ok(auth)
}

fn settings(folder: &Path) -> Result<AuthSettings, Box<dyn Error>> {
    let key = EncryptionKey::parse(&EncryptionKey::generate()?).ok_or("a key of ours is not read")?;
    let audit_key = AuditKey::parse(&EncryptionKey::generate()?).ok_or("a key of ours is not read")?;
    Ok(AuthSettings {
        encryption: EncryptionKeys::new(key, Vec::new()),
        audit: AuditSettings {
            keys: AuditKeys::new(audit_key, Vec::new()),
            seal_every: 1000,
            seal_after: Duration::minutes(5),
        },
        production: true,
        algorithm: SigningAlgorithm::EdDsa,
        shared_secret: None,
        issuer: "bench".to_owned(),
        audience: "bench".to_owned(),
        lifetimes: auth::Lifetimes {
            access_token: Duration::days(1),
            session: Duration::days(30),
            idle: Duration::days(7),
            proof: Duration::days(1),
        },
        mfa_issuer: "bench".to_owned(),
        mfa_required_roles: Vec::new(),
        trusted_issuers: Vec::new(),
        documents: Arc::new(NoDocuments),
        sends_mail: false,
        alerts: AlertSettings::default(),
        incidents: IncidentSettings::default(),
        detection: DetectionSettings::default(),
        limits: high_limits(),
        outage: auth::OutagePolicy {
            replicas: 1,
            isolation: std::time::Duration::from_secs(30),
            infer_while_isolated: true,
        },
        hashing: PasswordHashing::default(),
        max_in_flight: HIGH,
        max_sessions: 100,
        max_keys: HIGH,
        files: auth::FileSettings {
            vault: storage::Vault::in_folder(folder.join("files")),
            most: 1,
            most_bytes: 0,
            retention: None,
        },
        signature_max_age: std::time::Duration::from_secs(300),
        admin_networks: Vec::new(),
        max_ip_rules: 100,
    })
}

fn high_limits() -> Limits {
    Limits {
        anonymous_per_minute: HIGH,
        infer_per_minute: HIGH,
        read_per_minute: HIGH,
        per_hour: HIGH,
        login_per_minute: HIGH,
        register_per_minute: HIGH,
        mail_per_hour: HIGH,
    }
}
