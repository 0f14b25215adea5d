//! The outbox of alerts to operators, one row for each channel: written in the transaction that causes them, sent by
//! any replica.

use chrono::{DateTime, Duration, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::durable::query;
use crate::pruning::PRUNED_AT_ONCE;
use crate::{Page, PageRequest, Result, Tx};

/// A new alert.
#[derive(Clone, Debug)]
pub struct NewAlert<'a> {
    /// Alerts with the same key are one.
    pub dedup_key: &'a str,
    /// What it is about, as one word.
    pub kind: &'a str,
    /// `low`, `medium`, `high` or `critical`.
    pub severity: &'a str,
    /// What it is about, in a line.
    pub title: &'a str,
    /// What else is known, as JSON.
    pub body: &'a str,
}

/// When a further alert of a channel is not sent.
#[derive(Clone, Copy, Debug)]
pub struct AlertBounds {
    /// Not if there is one of the same key since this time.
    pub same_since: DateTime<Utc>,
    /// Not if there are this many since `counted_since`, whatever their key.
    pub most: i64,
    /// The time from which on `most` counts.
    pub counted_since: DateTime<Utc>,
}

/// An alert to send.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Alert {
    /// Its id.
    pub id: Uuid,
    /// What it is about, as one word.
    pub kind: String,
    /// How bad it is.
    pub severity: String,
    /// What it is about, in a line.
    pub title: String,
    /// What else is known, as JSON.
    pub body: String,
    /// How often sending was tried, this time included.
    pub attempts: i64,
    /// When it was raised.
    pub created_at: DateTime<Utc>,
}

/// The delivery state of an alert, without its content.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct AlertRecord {
    /// Its id.
    pub id: Uuid,
    /// The channel it is sent through.
    pub channel: String,
    /// What it is about, as one word.
    pub kind: String,
    /// How bad it is.
    pub severity: String,
    /// What it is about, in a line.
    pub title: String,
    /// `waiting`, `sent` or `given_up`.
    pub state: String,
    /// How often sending was tried.
    pub attempts: i64,
    /// When it was raised.
    pub created_at: DateTime<Utc>,
    /// When it is tried next, while it waits.
    pub next_attempt_at: DateTime<Utc>,
    /// When its receiver accepted it.
    pub sent_at: Option<DateTime<Utc>>,
    /// When it was given up.
    pub failed_at: Option<DateTime<Utc>>,
}

/// The `state` of an alert, as SQL.
macro_rules! state {
    () => {
        "CASE WHEN sent_at IS NOT NULL THEN 'sent' WHEN failed_at IS NOT NULL THEN 'given_up' ELSE 'waiting' END"
    };
}

/// Queries on alerts.
pub struct Alerts<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl Alerts<'_> {
    /// Adds an alert for a channel, to be sent at once, unless the bounds say that there are enough. False: they do.
    pub async fn add(
        &mut self,
        id: Uuid,
        channel: &str,
        new: &NewAlert<'_>,
        bounds: AlertBounds,
    ) -> Result<bool> {
        self.tx.lock("alerts").await?;
        let now = self.tx.now();
        let added = query!(
            self.tx,
            execute,
            "INSERT INTO alerts (id, channel, dedup_key, kind, severity, title, body, attempts, created_at, next_attempt_at) \
             SELECT $1, $2, $3, $4, $5, $6, $7, 0, $8, $8 \
             WHERE NOT EXISTS (SELECT 1 FROM alerts WHERE channel = $2 AND dedup_key = $3 AND created_at > $9) \
             AND (SELECT COUNT(*) FROM alerts WHERE channel = $2 AND created_at > $10) < $11",
            id,
            channel,
            new.dedup_key,
            new.kind,
            new.severity,
            new.title,
            new.body,
            now,
            bounds.same_since,
            bounds.counted_since,
            bounds.most
        )?;
        Ok(added > 0)
    }

    /// Takes the alert of a channel that has been due for longest. Until `lease` is over nobody else gets it: one
    /// that is neither [`sent`](Self::sent) nor [`postpone`](Self::postpone)d by then is tried again.
    pub async fn take(&mut self, channel: &str, lease: Duration) -> Result<Option<Alert>> {
        let now = self.tx.now();
        query!(
            self.tx,
            optional Alert,
            "UPDATE alerts SET attempts = attempts + 1, next_attempt_at = $3 \
             WHERE id = (SELECT id FROM alerts WHERE channel = $1 AND sent_at IS NULL AND failed_at IS NULL \
                         AND next_attempt_at <= $2 ORDER BY next_attempt_at LIMIT 1) \
             AND sent_at IS NULL AND failed_at IS NULL AND next_attempt_at <= $2 \
             RETURNING id, kind, severity, title, body, attempts, created_at",
            channel,
            now,
            now + lease
        )
    }

    /// Lets an alert be tried again later.
    pub async fn postpone(&mut self, id: Uuid, until: DateTime<Utc>) -> Result<()> {
        query!(self.tx, execute, "UPDATE alerts SET next_attempt_at = $2 WHERE id = $1", id, until)?;
        Ok(())
    }

    /// Notes that an alert was accepted by its receiver.
    pub async fn sent(&mut self, id: Uuid) -> Result<()> {
        let now = self.tx.now();
        query!(self.tx, execute, "UPDATE alerts SET sent_at = $2 WHERE id = $1", id, now)?;
        Ok(())
    }

    /// Gives an alert up; the row stays as a record.
    pub async fn fail(&mut self, id: Uuid) -> Result<()> {
        let now = self.tx.now();
        query!(self.tx, execute, "UPDATE alerts SET failed_at = $2 WHERE id = $1", id, now)?;
        Ok(())
    }

    /// Alerts, newest first; those of one state where it is given.
    pub async fn list(&mut self, page: &PageRequest, state: Option<&str>) -> Result<Page<AlertRecord>> {
        let alerts = query!(
            self.tx,
            all AlertRecord,
            concat!(
                "SELECT id, channel, kind, severity, title, ", state!(), " AS state, attempts, created_at, next_attempt_at, \
                 sent_at, failed_at FROM alerts WHERE id < $1 AND ($2 IS NULL OR ", state!(), " = $2) \
                 ORDER BY id DESC LIMIT $3"
            ),
            page.below(),
            state,
            page.rows()
        )?;
        Ok(page.page(alerts, |alert| alert.id))
    }

    /// Retries an alert that was given up, at once and as if for the first time. None: there is no such alert; false:
    /// it was not given up.
    pub async fn revive(&mut self, id: Uuid) -> Result<Option<bool>> {
        let now = self.tx.now();
        let known = query!(self.tx, value Uuid, "SELECT id FROM alerts WHERE id = $1", id)?;
        if known.is_none() {
            return Ok(None);
        }
        let revived = query!(
            self.tx,
            execute,
            "UPDATE alerts SET failed_at = NULL, attempts = 0, next_attempt_at = $2 WHERE id = $1 AND failed_at IS NOT NULL",
            id,
            now
        )?;
        Ok(Some(revived > 0))
    }

    /// Removes those that were raised before a moment, sent or not. Answers how many.
    pub async fn prune(&mut self, before: DateTime<Utc>) -> Result<u64> {
        query!(
            self.tx,
            execute,
            "DELETE FROM alerts WHERE id IN (SELECT id FROM alerts WHERE created_at < $1 LIMIT $2)",
            before,
            PRUNED_AT_ONCE
        )
    }
}
