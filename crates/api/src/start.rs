//! From settings to the parts of the program, for the server and the command line alike.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use auth::{
    AlertSettings, AuditSettings, Auth, AuthSettings, Blocklist, FileSettings, IncidentSettings,
    PasswordHashing, PasswordPolicy,
};
use inference::TrialSettings;
use storage::{Clock, Durable, Ephemeral, EphemeralConfig, Store, Vault};

use crate::model_sources;
use crate::outgoing::Outgoing;
use crate::settings::{
    FilePlace, Finding, PasswordRules, PasswordSettings, Settings, SettingsError, Severity, Switch,
    audit_keys, encryption_keys, excesses, findings, shared_secret, trusted_issuers,
};

/// Windows and marks that the in-process store holds at most.
const MEMORY_ENTRIES: usize = 500_000;
/// Locked by the server that works in `DATA_DIR`; what is in it does not matter.
const LOCK_FILE: &str = "server.lock";

/// Stops a start with settings that do not go together.
pub fn check(settings: &Settings) -> Result<(), SettingsError> {
    let fatal: Vec<String> = findings(settings)
        .into_iter()
        .filter(|finding| finding.severity == Severity::Fatal)
        .map(|finding| finding.text)
        .collect();
    if fatal.is_empty() { Ok(()) } else { Err(SettingsError(fatal.join("\n"))) }
}

/// The clock: the system's, or in tests one that a file moves.
pub fn clock(settings: &Settings) -> Clock {
    settings.program.test_clock.clone().map_or_else(Clock::system, Clock::with_offset_file)
}

/// The durable store that the settings name, migrated. A Postgres on which row-level security would hold nothing back
/// is refused.
pub async fn store(settings: &Settings) -> Result<Store, String> {
    let durable = settings.stores.durable(&settings.program.data_dir);
    let place = match &durable {
        Durable::Sqlite { .. } => format!("database in DATA_DIR ({})", settings.program.data_dir.display()),
        Durable::Postgres { .. } => "database".to_owned(),
    };
    let describe = |error: storage::Error| format!("{place}: {}", storage::with_causes(&error));
    migrate(settings).await.map_err(describe)?;
    let store = Store::connect(durable, clock(settings)).await.map_err(describe)?;
    for finding in wall(settings, &store).await? {
        if finding.severity == Severity::Fatal {
            return Err(finding.text);
        }
        tracing::warn!("{}", finding.text);
    }
    Ok(store)
}

/// What the logins on Postgres may do that they should not.
pub async fn wall(settings: &Settings, store: &Store) -> Result<Vec<Finding>, String> {
    let excess =
        store.excess().await.map_err(|error| format!("database: {}", storage::with_causes(&error)))?;
    Ok(excesses(settings, &excess))
}

/// Whether there is a database already, as far as that can be said without asking it.
pub fn has_database(settings: &Settings) -> bool {
    match settings.stores.durable(&settings.program.data_dir) {
        Durable::Postgres { .. } => true,
        Durable::Sqlite { path } => path.exists(),
    }
}

/// With SQLite, makes this the only server in `DATA_DIR` for as long as the answer lives: limits, caches and models
/// in the memory of two would each go their own way. The lock ends with the process, however it ends.
pub fn lock_data(settings: &Settings) -> Result<Option<File>, String> {
    if settings.stores.database_url.is_some() {
        return Ok(None);
    }
    let folder = &settings.program.data_dir;
    let failed = |error: std::io::Error| format!("DATA_DIR {}: {error}", folder.display());
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(folder.join(LOCK_FILE)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(format!(
            "another server works in DATA_DIR {}; stop it, name another folder, or set DATABASE_URL and REDIS_URL to run several",
            folder.display()
        )),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Brings the database up to date, as its owner.
pub async fn migrate(settings: &Settings) -> storage::Result<()> {
    let stores = &settings.stores;
    Store::migrate(&stores.durable_of_owner(&settings.program.data_dir)).await
}

/// The ephemeral store that the settings name.
pub fn ephemeral(settings: &Settings) -> storage::Result<Ephemeral> {
    let config = match &settings.stores.redis_url {
        Some(url) => EphemeralConfig::Redis {
            url: url.clone(),
            timeout: Duration::from_millis(settings.stores.redis_timeout_ms),
        },
        None => EphemeralConfig::Memory { max_entries: MEMORY_ENTRIES },
    };
    Ephemeral::connect(config, clock(settings))
}

/// Identity and access for a command, on the stores that the settings name.
pub async fn command(settings: &Settings) -> Result<Arc<Auth>, String> {
    let store = store(settings).await?;
    let ephemeral =
        ephemeral(settings).map_err(|error| format!("redis: {}", storage::with_causes(&error)))?;
    auth(settings, store, ephemeral).await
}

/// Identity, access and limits on these stores.
pub async fn auth(settings: &Settings, store: Store, ephemeral: Ephemeral) -> Result<Arc<Auth>, String> {
    let encryption = encryption_keys(settings).map_err(|error| error.to_string())?;
    let (tokens, limits) = (&settings.tokens, &settings.limits);
    let auth_settings = AuthSettings {
        encryption,
        audit: audit(settings)?,
        production: settings.program.is_production(),
        algorithm: tokens.jwt_algorithm,
        shared_secret: shared_secret(settings),
        issuer: tokens.jwt_issuer.clone(),
        audience: tokens.jwt_audience.clone(),
        lifetimes: tokens.lifetimes(),
        mfa_issuer: tokens.mfa_issuer.clone(),
        mfa_required_roles: tokens.mfa_required_roles.clone(),
        trusted_issuers: trusted_issuers(settings)?,
        documents: Arc::new(Outgoing::default()),
        sends_mail: settings.mail.smtp_url.is_some(),
        alerts: AlertSettings {
            channels: settings.alerts.channels(),
            dedup: chrono::Duration::seconds(i64::from(settings.alerts.alert_dedup_seconds)),
        },
        incidents: incidents(settings),
        detection: settings.detection.thresholds(),
        limits: limits.windows(),
        outage: settings.outages.policy(),
        hashing: hashing(&settings.passwords)?,
        max_in_flight: limits.max_in_flight_per_caller,
        max_sessions: limits.max_sessions_per_account,
        max_keys: limits.max_api_keys_per_account,
        files: files(settings)?,
        signature_max_age: Duration::from_secs(limits.signature_max_age_seconds.into()),
        admin_networks: settings.program.admin_allowed_ips.iter().map(|network| network.0).collect(),
        max_ip_rules: limits.max_ip_rules,
    };
    Auth::start(store, ephemeral, auth_settings).await.map_err(|error| storage::with_causes(&error))
}

/// How the audit trail is kept.
pub fn audit(settings: &Settings) -> Result<AuditSettings, String> {
    Ok(AuditSettings {
        keys: audit_keys(settings).map_err(|error| error.to_string())?,
        seal_every: settings.audit.audit_seal_events,
        seal_after: chrono::Duration::seconds(i64::from(settings.audit.audit_seal_seconds)),
    })
}

/// What happens by itself when something goes wrong.
fn incidents(settings: &Settings) -> IncidentSettings {
    let detection = &settings.detection;
    let auto_block =
        detection.auto_block.map_or(settings.program.is_production(), |switch| switch == Switch::On);
    IncidentSettings {
        answers: detection.answers(),
        auto_block,
        block_for: chrono::Duration::seconds(i64::from(detection.block_seconds)),
        most_open: detection.max_open_incidents,
    }
}

/// What is kept of files.
pub fn files(settings: &Settings) -> Result<FileSettings, String> {
    let sizes = &settings.sizes;
    let days = i64::from(sizes.file_retention_days);
    let own = settings.program.data_dir.join("files");
    let vault = match &sizes.file_dir {
        None => Vault::in_folder(own),
        Some(FilePlace::Folder(folder)) => Vault::in_folder(folder.clone()),
        Some(FilePlace::Bucket(url)) => Vault::in_bucket(&own, url, &model_sources::blob_settings(settings))
            .map_err(|error| format!("FILE_DIR: {}", storage::with_causes(&error)))?,
    };
    Ok(FileSettings {
        vault,
        most: sizes.max_files_per_account,
        most_bytes: sizes.max_file_storage_per_account_mb << 20,
        retention: (days > 0).then(|| chrono::Duration::days(days)),
    })
}

/// How passwords are judged and hashed.
fn hashing(settings: &PasswordSettings) -> Result<PasswordHashing, String> {
    let rules = match settings.password_policy {
        PasswordRules::Strict => auth::PasswordRules::Strict,
        PasswordRules::Nist => auth::PasswordRules::Nist,
    };
    let blocklist = match &settings.password_blocklist_file {
        Some(path) => Blocklist::read(path)
            .map_err(|error| format!("PASSWORD_BLOCKLIST_FILE {}: {error}", path.display()))?,
        None => Blocklist::default(),
    };
    Ok(PasswordHashing {
        policy: PasswordPolicy { rules, blocklist: Arc::new(blocklist) },
        parameters: settings.parameters(),
        threads: settings.password_hash_threads,
        queue: settings.password_hash_queue,
        ..PasswordHashing::default()
    })
}

/// How unknown models are tried: by this program, in another process.
fn trial(settings: &Settings) -> TrialSettings {
    // Goes on to name the program when its file was replaced by another one.
    let itself = PathBuf::from("/proc/self/exe");
    let program =
        if itself.exists() { itself } else { std::env::current_exe().unwrap_or_else(|_| "modelgate".into()) };
    let models = &settings.models;
    let own = || settings.program.data_dir.join("trials");
    TrialSettings {
        program,
        arguments: vec!["model".into(), "try".into()],
        folder: models.model_trial_dir.clone().unwrap_or_else(own),
        memory: models.model_trial_memory_mb << 20,
        time: Duration::from_secs(models.model_trial_seconds),
    }
}

/// The bounds of the inference crate, as the settings have them.
pub fn inference(settings: &Settings) -> inference::Settings {
    let models = &settings.models;
    let defaults = inference::Settings::default();
    let named_files = model_sources::named(settings).into_iter().map(|sourced| {
        let digests = sourced.digests();
        ((sourced.name, sourced.version), digests)
    });
    inference::Settings {
        model_dir: models.model_dir.clone(),
        trial: Some(trial(settings)),
        signing_keys: models.model_signing_keys.clone(),
        named_files: named_files.collect(),
        custom_operators: models.custom_operators.clone(),
        runtime_library: models.ort_dylib_path.clone(),
        queue_capacity: models.model_queue_capacity,
        providers: models.execution_providers.clone(),
        model_memory: models.model_memory_mb << 20,
        cache_bytes: models.model_cache_mb << 20,
        max_model_bytes: models.max_model_bytes(),
        max_image_bytes: settings.sizes.image_bytes(),
        max_image_pixels: models.max_image_pixels,
        max_decoding_pixels: models.max_decoding_pixels,
        max_image_side: models.max_image_side,
        max_images: settings.sizes.max_images_per_request,
        decode_threads: models.image_threads.map_or(defaults.decode_threads, std::num::NonZeroUsize::get),
        ..defaults
    }
}
