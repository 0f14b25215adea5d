//! A signing key's life: published, active, retired, deleted; without a restart and without a refused token.
//!
//! A new key is published before it signs, so that whoever keeps a copy of the JWKS document knows it by then. The one
//! before it verifies until the last token that it signed has ended.

use chrono::{DateTime, Duration, Utc};
use serde_json::json;
use storage::{Scope, Service, SigningKeyState, Tx};

use crate::audit::Entry;
use crate::events::Event;
use crate::keyring::{self, PURPOSE, Stage};
use crate::service::Origin;
use crate::{Auth, Error, Result};

/// How long a key is published before it signs: longer than the JWKS document may be kept.
const PUBLISHED_FOR: Duration = Duration::minutes(10);
/// How much longer than its last token a retired key is kept, for clocks that differ.
const RETIRED_MARGIN: Duration = Duration::minutes(1);
/// The kind of these changes in the feed.
pub(crate) const CHANGE: &str = "signing_keys";

/// The next step of a key's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Activate,
    Delete,
}

impl Auth {
    /// Publishes a new key; it takes over after ten minutes. Answers its id.
    pub async fn publish_signing_key(&self) -> Result<String> {
        let mut tx = self.begin_rotation().await?;
        let present = tx.signing_keys().list(PURPOSE).await?;
        if present.iter().any(|key| key.state == SigningKeyState::Published) {
            return Err(Error::Refused("a new key is published already and takes over within ten minutes"));
        }
        let kid = keyring::make(&mut tx, &self.encryption, SigningKeyState::Published).await?;
        self.commit_rotation(tx, &kid, "published").await?;
        Ok(kid)
    }

    /// Replaces every key by a new one at once: all access tokens are refused from now on; sessions stay and can be
    /// refreshed. For a key that may have leaked. Answers the new key's id.
    pub async fn replace_signing_keys(&self) -> Result<String> {
        let mut tx = self.begin_rotation().await?;
        for key in tx.signing_keys().list(PURPOSE).await? {
            tx.signing_keys().delete(&key.kid).await?;
        }
        let kid = keyring::make(&mut tx, &self.encryption, SigningKeyState::Active).await?;
        self.commit_rotation(tx, &kid, "replaced all").await?;
        Ok(kid)
    }

    /// Moves on the keys whose time has come; to be called now and then. Without one it costs nothing.
    pub async fn turn_signing_keys(&self) -> Result<()> {
        if self.steps(&self.keyring.stages()).is_empty() {
            return Ok(());
        }
        let mut tx = self.begin_rotation().await?;
        // Another replica may have been faster.
        let rows = tx.signing_keys().list(PURPOSE).await?;
        let stages: Vec<Stage> = rows
            .iter()
            .map(|row| Stage { kid: row.kid.clone(), state: row.state, since: row.updated_at })
            .collect();
        let steps = self.steps(&stages);
        let Some((kid, step)) = steps.first().cloned() else {
            return self.keyring.load(&self.store, &self.encryption).await;
        };
        match step {
            Step::Delete => drop(tx.signing_keys().delete(&kid).await?),
            Step::Activate => {
                for active in stages.iter().filter(|stage| stage.state == SigningKeyState::Active) {
                    tx.signing_keys().set_state(&active.kid, SigningKeyState::Retired).await?;
                }
                tx.signing_keys().set_state(&kid, SigningKeyState::Active).await?;
            }
        }
        let what = if step == Step::Delete { "deleted" } else { "activated" };
        self.commit_rotation(tx, &kid, what).await?;
        self.keyring.load(&self.store, &self.encryption).await
    }

    fn steps(&self, stages: &[Stage]) -> Vec<(String, Step)> {
        let now = self.now();
        let due = |since: DateTime<Utc>, after: Duration| since + after <= now;
        let step = |stage: &Stage| match stage.state {
            SigningKeyState::Published if due(stage.since, PUBLISHED_FOR) => Some(Step::Activate),
            SigningKeyState::Retired if due(stage.since, self.access_lifetime + RETIRED_MARGIN) => {
                Some(Step::Delete)
            }
            _ => None,
        };
        stages.iter().filter_map(|stage| Some((stage.kid.clone(), step(stage)?))).collect()
    }

    async fn begin_rotation(&self) -> Result<Tx> {
        let mut tx = self.store.begin(Scope::Service(Service::Setup)).await?;
        tx.signing_keys().lock(PURPOSE).await?;
        Ok(tx)
    }

    async fn commit_rotation(&self, mut tx: Tx, kid: &str, what: &str) -> Result<()> {
        let origin = Origin::default();
        let entry =
            Entry::success(Event::SigningKeyChanged, &origin).with(json!({"kid": kid, "change": what}));
        self.record(&mut tx, entry).await?;
        tx.changes().append(CHANGE, kid).await?;
        Ok(tx.commit().await?)
    }
}
