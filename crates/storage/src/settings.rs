//! Settings that change while the program runs.

use serde_json::Value;
use sqlx::types::Json;

use crate::durable::query;
use crate::{Result, Tx};

/// Queries on settings.
pub struct Settings<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl Settings<'_> {
    /// The value of a setting; none where it was never put.
    pub async fn get(&mut self, key: &str) -> Result<Option<Value>> {
        let found = query!(self.tx, value Json<Value>, "SELECT value FROM settings WHERE key = $1", key)?;
        Ok(found.map(|Json(value)| value))
    }

    /// Waits until no other transaction changes this setting, and holds others off until the end of this one.
    pub async fn lock(&mut self, key: &str) -> Result<()> {
        self.tx.lock(&format!("setting:{key}")).await
    }

    /// Sets or replaces a value.
    pub async fn put(&mut self, key: &str, value: &Value) -> Result<()> {
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "INSERT INTO settings (key, value, updated_at) VALUES ($1, $2, $3) \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
            key,
            Json(value),
            now
        )?;
        Ok(())
    }
}
