//! Secrets that the program needs: given in production, made once in development.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use auth::EncryptionKey;
use secrecy::ExposeSecret;

use super::{Settings, SettingsError};

const KEY_FILE: &str = "encryption.key";
pub(super) const MISSING_KEY: &str =
    "ENCRYPTION_KEY is required in production; make one with: openssl rand -base64 32";
pub(super) const WEAK_KEY: &str =
    "ENCRYPTION_KEY must be 32 random bytes in base64; make one with: openssl rand -base64 32";

/// The key that seals secrets in the database. In development a missing one is made and kept in `DATA_DIR`.
pub fn encryption_key(settings: &Settings) -> Result<EncryptionKey, SettingsError> {
    let weak = || SettingsError(WEAK_KEY.into());
    match &settings.tokens.encryption_key {
        Some(key) => EncryptionKey::parse(key.expose_secret()).ok_or_else(weak),
        None if settings.program.is_production() => Err(SettingsError(MISSING_KEY.into())),
        None => kept(&settings.program.data_dir),
    }
}

fn kept(folder: &Path) -> Result<EncryptionKey, SettingsError> {
    let path = folder.join(KEY_FILE);
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
    EncryptionKey::parse(&text).ok_or_else(|| {
        SettingsError(format!(
            "{} is not a key; remove it only if nothing sealed with it is needed",
            path.display()
        ))
    })
}
