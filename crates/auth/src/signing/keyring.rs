//! The signing keys in use: sealed at rest, known by `kid`, reloaded when the change feed reports a change.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::RwLock;
use storage::{NewSigningKey, Scope, SealedColumn, Service, SigningKey, SigningKeyState, Store, Tx};

use super::material::Material;
use super::rotation::PUBLISHED_FOR;
use super::{PURPOSE, PublicKey, SigningAlgorithm};
use crate::Result;
use crate::crypto::sealing::EncryptionKeys;
use crate::token::{Signer, Signers};

/// One reading of the table.
#[derive(Default)]
struct Keys {
    signers: Arc<Signers>,
    public: Vec<PublicKey>,
    stages: Vec<Stage>,
}

/// Where a key is in its life, and since when.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    pub kid: String,
    pub state: SigningKeyState,
    pub since: DateTime<Utc>,
}

impl Stage {
    pub fn of(row: &SigningKey) -> Self {
        Self { kid: row.kid.clone(), state: row.state, since: row.updated_at }
    }
}

/// The keys in use, of one or several algorithms; reading them takes no wait.
#[derive(Default)]
pub(crate) struct Keyring(RwLock<Keys>);

impl Keyring {
    pub fn signers(&self) -> Arc<Signers> {
        Arc::clone(&self.0.read().signers)
    }

    pub fn public(&self) -> Vec<PublicKey> {
        self.0.read().public.clone()
    }

    pub(super) fn stages(&self) -> Vec<Stage> {
        self.0.read().stages.clone()
    }

    /// Reads the keys again.
    pub async fn load(&self, store: &Store, encryption: &EncryptionKeys) -> Result<()> {
        let keys = open(&stored(store).await?, encryption)?;
        *self.0.write() = keys;
        Ok(())
    }
}

/// The keys as they are in the database.
pub(super) async fn stored(store: &Store) -> Result<Vec<SigningKey>> {
    let mut tx = store.read(Scope::Service(Service::Setup)).await?;
    Ok(tx.signing_keys().list(PURPOSE).await?)
}

/// Stores a key, its private half sealed.
pub(super) async fn store(
    tx: &mut Tx,
    encryption: &EncryptionKeys,
    material: &Material,
    state: SigningKeyState,
) -> Result<()> {
    let new = NewSigningKey {
        kid: material.kid.clone(),
        algorithm: material.algorithm.name().into(),
        purpose: PURPOSE.into(),
        private_key: encryption.seal(&place(&material.kid), &material.private)?,
        public_key: material.public.clone(),
        state,
    };
    Ok(tx.signing_keys().insert(&new).await?)
}

fn open(rows: &[SigningKey], encryption: &EncryptionKeys) -> Result<Keys> {
    let (mut signers, mut public, mut stages) = (Signers::default(), Vec::new(), Vec::new());
    for row in rows {
        // One that a later version added is that version's to use.
        let Ok(algorithm) = row.algorithm.parse::<SigningAlgorithm>() else { continue };
        let private = encryption.open(&place(&row.kid), &row.private_key)?;
        let verifies_from = match row.state {
            SigningKeyState::Published => Some(row.updated_at + PUBLISHED_FOR),
            SigningKeyState::Active | SigningKeyState::Retired => None,
        };
        let signer = Signer::new(&row.kid, algorithm, &private, &row.public_key, verifies_from);
        signers.add(&row.kid, signer, row.state == SigningKeyState::Active);
        public.extend(PublicKey::of(algorithm, &row.public_key)?);
        stages.push(Stage::of(row));
    }
    Ok(Keys { signers: Arc::new(signers), public, stages })
}

fn place(kid: &str) -> String {
    SealedColumn::SigningKey.place(kid)
}
