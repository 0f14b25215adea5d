//! The signing keys: made once, sealed at rest, known by `kid`, reloaded when the change feed says so.

use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use chrono::{DateTime, Utc};
use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;
use storage::{NewSigningKey, Scope, SealedColumn, Service, SigningKey, SigningKeyState, Store, Tx};

use crate::sealing::EncryptionKeys;
use crate::token::{Signer, Signers};
use crate::{Error, Result, crypto};

/// What these keys sign; other purposes get keys of their own.
pub(crate) const PURPOSE: &str = "access";
const ALGORITHM: &str = "EdDSA";

/// A key as the JWKS document shows it (RFC 8037).
#[derive(Clone, Debug, Serialize)]
pub struct PublicKey {
    /// Key type: `OKP`.
    pub kty: &'static str,
    /// Curve: `Ed25519`.
    pub crv: &'static str,
    /// Algorithm: `EdDSA`.
    pub alg: &'static str,
    /// `sig`.
    #[serde(rename = "use")]
    pub usage: &'static str,
    /// RFC 7638 thumbprint.
    pub kid: String,
    /// The public key, base64url.
    pub x: String,
}

/// One reading of the table.
#[derive(Default)]
struct Keys {
    signers: Arc<Signers>,
    public: Vec<PublicKey>,
    stages: Vec<Stage>,
}

/// Where a key is in its life, and since when.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub kid: String,
    pub state: SigningKeyState,
    pub since: DateTime<Utc>,
}

/// The keys in use; reading them takes no wait.
#[derive(Default)]
pub(crate) struct Keyring(RwLock<Keys>);

impl Keyring {
    pub fn signers(&self) -> Arc<Signers> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).signers)
    }

    pub fn public(&self) -> Vec<PublicKey> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).public.clone()
    }

    pub fn stages(&self) -> Vec<Stage> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).stages.clone()
    }

    /// Reads the keys again, making the first one where there is none.
    pub async fn load(&self, store: &Store, encryption: &EncryptionKeys) -> Result<()> {
        let mut tx = store.read(Scope::Service(Service::Setup)).await?;
        let mut rows = tx.signing_keys().list(PURPOSE).await?;
        drop(tx);
        if !rows.iter().any(|row| row.state == SigningKeyState::Active) {
            rows = create_first(store, encryption).await?;
        }
        let keys = open(&rows, encryption)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }
}

/// Two replicas may start at once: the lock lets one create and the other read.
async fn create_first(store: &Store, encryption: &EncryptionKeys) -> Result<Vec<SigningKey>> {
    let mut tx = store.begin(Scope::Service(Service::Setup)).await?;
    tx.signing_keys().lock(PURPOSE).await?;
    let present = tx.signing_keys().list(PURPOSE).await?;
    if !present.iter().any(|row| row.state == SigningKeyState::Active) {
        make(&mut tx, encryption, SigningKeyState::Active).await?;
    }
    let rows = tx.signing_keys().list(PURPOSE).await?;
    tx.commit().await?;
    Ok(rows)
}

/// Makes a key; its id.
pub(crate) async fn make(tx: &mut Tx, encryption: &EncryptionKeys, state: SigningKeyState) -> Result<String> {
    let failed = |_| Error::Internal("no signing key could be made".into());
    let document = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).map_err(failed)?;
    let pair =
        Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(|error| Error::Internal(error.to_string()))?;
    let public = pair.public_key().as_ref().to_vec();
    let kid = thumbprint(&public);
    let private = encryption.seal(&place(&kid), document.as_ref())?;
    tx.signing_keys()
        .insert(&NewSigningKey {
            kid: kid.clone(),
            algorithm: ALGORITHM.into(),
            purpose: PURPOSE.into(),
            private_key: private,
            public_key: public,
            state,
        })
        .await?;
    Ok(kid)
}

fn open(rows: &[SigningKey], encryption: &EncryptionKeys) -> Result<Keys> {
    let (mut signers, mut public, mut stages) = (Signers::default(), Vec::new(), Vec::new());
    for row in rows.iter().filter(|row| row.algorithm == ALGORITHM) {
        let private = encryption.open(&place(&row.kid), &row.private_key)?;
        let signer = Signer::ed25519(&private, &row.public_key);
        signers.add(&row.kid, signer, row.state == SigningKeyState::Active);
        stages.push(Stage { kid: row.kid.clone(), state: row.state, since: row.updated_at });
        public.push(PublicKey {
            kty: "OKP",
            crv: "Ed25519",
            alg: ALGORITHM,
            usage: "sig",
            kid: row.kid.clone(),
            x: BASE64URL_NOPAD.encode(&row.public_key),
        });
    }
    Ok(Keys { signers: Arc::new(signers), public, stages })
}

fn place(kid: &str) -> String {
    SealedColumn::SigningKey.place(kid)
}

/// RFC 7638: the digest of the required members in lexical order.
fn thumbprint(public: &[u8]) -> String {
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, BASE64URL_NOPAD.encode(public));
    BASE64URL_NOPAD.encode(&crypto::sha256(members.as_bytes()))
}
