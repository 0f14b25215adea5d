//! A signing key's life: published, active, retired, deleted; without a restart and without a refused token.
//!
//! A new key is published before it signs, so that whoever keeps a copy of the JWKS document knows it by then. The one
//! before it verifies until the last token that it signed has ended.

use chrono::{DateTime, Duration, Utc};
use serde_json::json;
use storage::{Scope, Service, SigningKey, SigningKeyState, Tx};

use super::keyring::{self, Stage};
use super::material::Material;
use super::{PURPOSE, SigningAlgorithm};
use crate::audit::Entry;
use crate::events::Event;
use crate::service::Origin;
use crate::{Auth, Error, Result, token};

/// How long a key is published before it signs: longer than the JWKS document may be kept.
pub(super) const PUBLISHED_FOR: Duration = Duration::minutes(10);
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
    /// Sees to it that there is a key of the algorithm that is set: the first one signs at once, one after a changed
    /// setting is published and takes over after ten minutes. Then signs and verifies once. To be called by a server
    /// before it answers, and by no command: its settings need not be the server's.
    pub async fn prepare_signing_keys(&self) -> Result<()> {
        let rows = keyring::stored(&self.store).await?;
        if self.wanted(&rows).is_some() {
            let material = self.first_of_its_kind(&rows).await?;
            let mut tx = self.begin_rotation().await?;
            // Another replica may have been faster.
            let rows = tx.signing_keys().list(PURPOSE).await?;
            if let Some(state) = self.wanted(&rows) {
                // One of the algorithm before that has not signed yet never will.
                for row in rows.iter().filter(|row| row.state == SigningKeyState::Published) {
                    tx.signing_keys().delete(&row.kid).await?;
                }
                keyring::store(&mut tx, &self.encryption, &material, state).await?;
                tracing::info!(
                    kid = material.kid,
                    algorithm = material.algorithm.name(),
                    ?state,
                    "a new signing key"
                );
                self.commit_rotation(tx, &material.kid, state.name()).await?;
            }
            self.keyring.load(&self.store, &self.encryption).await?;
        }
        token::prove(&self.keyring.signers(), &self.issuer, self.now())
    }

    /// Publishes a new key of the algorithm that is set; it takes over after ten minutes. Answers its id.
    pub async fn publish_signing_key(&self) -> Result<String> {
        let material = Material::fresh(self.algorithm).await?;
        let mut tx = self.begin_rotation().await?;
        let present = tx.signing_keys().list(PURPOSE).await?;
        if present.iter().any(|key| key.state == SigningKeyState::Published) {
            return Err(Error::Refused("a new key is published already and takes over within ten minutes"));
        }
        keyring::store(&mut tx, &self.encryption, &material, SigningKeyState::Published).await?;
        self.commit_rotation(tx, &material.kid, "published").await?;
        Ok(material.kid)
    }

    /// Replaces every key by a new one at once: all access tokens are refused from now on; sessions stay and can be
    /// refreshed. For a key that may have leaked. Answers the new key's id.
    pub async fn replace_signing_keys(&self) -> Result<String> {
        let material = Material::fresh(self.algorithm).await?;
        let mut tx = self.begin_rotation().await?;
        for key in tx.signing_keys().list(PURPOSE).await? {
            tx.signing_keys().delete(&key.kid).await?;
        }
        keyring::store(&mut tx, &self.encryption, &material, SigningKeyState::Active).await?;
        self.commit_rotation(tx, &material.kid, "replaced all").await?;
        Ok(material.kid)
    }

    /// Moves on the keys whose time has come; to be called now and then. Without one it costs nothing.
    pub async fn advance_signing_keys(&self) -> Result<()> {
        if self.steps(&self.keyring.stages()).is_empty() {
            return Ok(());
        }
        let mut tx = self.begin_rotation().await?;
        // Another replica may have been faster.
        let rows = tx.signing_keys().list(PURPOSE).await?;
        let stages: Vec<Stage> = rows.iter().map(Stage::of).collect();
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
            SigningKeyState::Retired if due(stage.since, self.lifetimes.access_token + RETIRED_MARGIN) => {
                Some(Step::Delete)
            }
            _ => None,
        };
        stages.iter().filter_map(|stage| Some((stage.kid.clone(), step(stage)?))).collect()
    }

    /// Where the life of a new key has to begin; none where the key that signs, or is about to, is of the algorithm
    /// that is set.
    fn wanted(&self, rows: &[SigningKey]) -> Option<SigningKeyState> {
        if !rows.iter().any(|row| row.state == SigningKeyState::Active) {
            return Some(SigningKeyState::Active);
        }
        let next = rows
            .iter()
            .find(|row| row.state == SigningKeyState::Published)
            .or_else(|| rows.iter().find(|row| row.state == SigningKeyState::Active));
        let as_set = next.is_some_and(|row| row.algorithm == self.algorithm.name());
        (!as_set).then_some(SigningKeyState::Published)
    }

    /// The first key for HS256 is what the operator gave, every other one is drawn.
    async fn first_of_its_kind(&self, rows: &[SigningKey]) -> Result<Material> {
        match &self.shared_secret {
            Some(secret)
                if self.algorithm == SigningAlgorithm::Hs256
                    && !rows.iter().any(|row| row.algorithm == self.algorithm.name()) =>
            {
                Material::shared(secret)
            }
            _ => Material::fresh(self.algorithm).await,
        }
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
