//! Secrets that the program needs: given in production, made once in development.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use auth::{AuditKey, AuditKeys, EncryptionKey, EncryptionKeys, SharedSecret, SigningAlgorithm};
use secrecy::ExposeSecret;

use super::{Settings, SettingsError};

const KEY_FILE: &str = "encryption.key";
const AUDIT_KEY_FILE: &str = "audit.key";
pub(super) const MISSING_KEY: &str = "ENCRYPTION_KEY is required in production, which is what APP_ENV is unless it says development (as scripts/run has \
     it); make one with: openssl rand -base64 32";
pub(super) const WEAK_KEY: &str =
    "ENCRYPTION_KEY must be 32 random bytes in base64; make one with: openssl rand -base64 32";
pub(super) const WEAK_PREVIOUS: &str =
    "ENCRYPTION_KEYS_PREVIOUS must list keys that ENCRYPTION_KEY once was, separated by commas";
pub(super) const MISSING_AUDIT_KEY: &str =
    "AUDIT_KEY is required in production; make one with: openssl rand -base64 32";
pub(super) const WEAK_AUDIT_KEY: &str =
    "AUDIT_KEY must be 32 random bytes in base64; make one with: openssl rand -base64 32";
pub(super) const WEAK_AUDIT_PREVIOUS: &str =
    "AUDIT_KEYS_PREVIOUS must list keys that AUDIT_KEY once was, separated by commas";

pub(super) const MISSING_SECRET: &str =
    "JWT_SECRET_KEY is required in production with JWT_ALGORITHM=HS256; make one with: openssl rand -hex 32";
pub(super) const WEAK_SECRET: &str =
    "JWT_SECRET_KEY must be 32 random bytes or more; make one with: openssl rand -hex 32";

/// The keys that seal what is secret or personal in the database. In development a missing one is made and kept in
/// `DATA_DIR`.
pub fn encryption_keys(settings: &Settings) -> Result<EncryptionKeys, SettingsError> {
    let weak = || SettingsError(WEAK_KEY.into());
    let mut keys = match &settings.tokens.encryption_key {
        Some(key) => vec![EncryptionKey::parse(key.expose_secret()).ok_or_else(weak)?],
        None if settings.program.is_production() => return Err(SettingsError(MISSING_KEY.into())),
        None => kept(&settings.program.data_dir, KEY_FILE, EncryptionKey::parse)?,
    };
    keys.extend(previous_keys(settings).ok_or_else(|| SettingsError(WEAK_PREVIOUS.into()))?);
    let active = keys.remove(0);
    Ok(EncryptionKeys::new(active, keys))
}

/// None where one of them is no key.
pub(super) fn previous_keys(settings: &Settings) -> Option<Vec<EncryptionKey>> {
    let keys = settings.tokens.encryption_keys_previous.iter();
    keys.map(|key| EncryptionKey::parse(key.expose_secret())).collect()
}

/// The keys that vouch for the audit trail. In development a missing one is made and kept in `DATA_DIR`.
pub fn audit_keys(settings: &Settings) -> Result<AuditKeys, SettingsError> {
    let weak = || SettingsError(WEAK_AUDIT_KEY.into());
    let mut keys = match &settings.audit.audit_key {
        Some(key) => vec![AuditKey::parse(key.expose_secret()).ok_or_else(weak)?],
        None if settings.program.is_production() => return Err(SettingsError(MISSING_AUDIT_KEY.into())),
        None => kept(&settings.program.data_dir, AUDIT_KEY_FILE, AuditKey::parse)?,
    };
    keys.extend(previous_audit_keys(settings).ok_or_else(|| SettingsError(WEAK_AUDIT_PREVIOUS.into()))?);
    let active = keys.remove(0);
    Ok(AuditKeys::new(active, keys))
}

/// None where one of them is no key.
pub(super) fn previous_audit_keys(settings: &Settings) -> Option<Vec<AuditKey>> {
    let keys = settings.audit.audit_keys_previous.iter();
    keys.map(|key| AuditKey::parse(key.expose_secret())).collect()
}

/// What the first HS256 key is made of, where that is the algorithm.
pub fn shared_secret(settings: &Settings) -> Option<SharedSecret> {
    let secret = settings.tokens.jwt_secret_key.as_ref();
    secret
        .filter(|_| settings.tokens.jwt_algorithm == SigningAlgorithm::Hs256)
        .and_then(|secret| SharedSecret::parse(secret.expose_secret()))
}

/// The keys in a file of `DATA_DIR`, one a line, the active one first; at least one.
fn kept<Key>(folder: &Path, file: &str, parse: fn(&str) -> Option<Key>) -> Result<Vec<Key>, SettingsError> {
    let path = folder.join(file);
    let failed = |error: std::io::Error| SettingsError(format!("{}: {error}", path.display()));
    fs::create_dir_all(folder).map_err(failed)?;
    let fresh = EncryptionKey::generate().map_err(|error| SettingsError(error.to_string()))?;
    // Of two programs that start at once, one creates the file and both read it.
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(mut file) => file.write_all(fresh.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    let text = fs::read_to_string(&path).map_err(failed)?;
    let keys: Option<Vec<_>> = text.lines().map(parse).collect();
    keys.filter(|keys| !keys.is_empty()).ok_or_else(|| {
        SettingsError(format!(
            "{} does not hold keys, one a line; remove it only if nothing made with it is needed",
            path.display()
        ))
    })
}
