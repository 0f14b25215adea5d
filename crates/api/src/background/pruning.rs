//! When retention runs: once an hour.

use std::cell::Cell;

use chrono::{DateTime, Duration, Utc};

use crate::app::App;

/// How often the tables are looked through, by the injected clock.
const INTERVAL: Duration = Duration::hours(1);

/// When the tables were last pruned, so that it happens once an hour however often [`when_due`](Self::when_due) is called.
#[derive(Debug, Default)]
pub struct Pruning {
    last: Cell<Option<DateTime<Utc>>>,
}

impl Pruning {
    /// Removes what has been kept long enough, when the hour is over. After a failure the next hour tries again; one kind
    /// that fails keeps no other from being removed.
    ///
    /// # Errors
    ///
    /// The first failure.
    pub async fn when_due(&self, app: &App) -> auth::Result<()> {
        let now = app.store.clock().now();
        if self.last.get().is_some_and(|last| (now - last).abs() < INTERVAL) {
            return Ok(());
        }
        self.last.set(Some(now));
        let records = app.auth.prune(app.settings.limits.usage_kept_for()).await;
        let files = app.auth.sweep_files().await;
        let incidents = app.auth.prune_incidents().await;
        let trail = match app.settings.audit.kept_for() {
            Some(time) => app.auth.prune_audit(time).await,
            None => Ok(()),
        };
        records.and(files).and(incidents).and(trail)
    }
}
