//! `modelgate migrate`

use super::{CommandResult, print};
use crate::settings::Settings;
use crate::start;

/// Brings the database up to date, as `DATABASE_MIGRATION_URL` or `DATABASE_URL`.
pub async fn run(settings: Settings) -> CommandResult {
    start::migrate(&settings).await.map_err(|error| format!("database: {}", storage::with_causes(&error)))?;
    print("The database is up to date.");
    Ok(())
}
